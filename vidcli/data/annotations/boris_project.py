"""Projects of BORIS (`.boris`), as its versions 7 to 9 save them: JSON, read and written.

observations    by name: media by player, events [seconds, subject, code, modifier, comment, frame]
behaviors_conf  the ethogram: whether a code is a state (a start and a stop) or a point
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from vidcli.data.annotations.boris_events import (
    Event,
    Kind,
    events_of_spans,
    kinds_of_spans,
    pair_events,
    place_in_queue,
    read_score,
    score_comment,
)
from vidcli.data.annotations.documents import as_list, as_mapping, as_number, as_text
from vidcli.data.annotations.spans import Annotations, Recording, name_counts

FORM = "BORIS project"
_PLAYERS = tuple("12345678")
_DATE = "2000-01-01T00:00:00"
"""BORIS wants a date; one that changed would make two exports of the same differ."""

_KEYS = "abcdefghijklmnopqrstuvwxyz0123456789"


def read_boris_project(project: dict[str, Any]) -> Annotations:
    """Return the spans of a BORIS project.

    Args:
        project: the JSON object of the file.

    Raises:
        ValueError: it is damaged, or a stop has no start.
    """
    ethogram = _kinds_of(as_mapping(project["behaviors_conf"], "behaviors_conf"))
    recordings: list[Recording] = []
    passed: list[str] = []
    others: list[str] = []
    modified: list[str] = []
    for name, value in as_mapping(project["observations"], "observations").items():
        what = f"observation {name!r}"
        observation = as_mapping(value, what)
        if str(observation.get("type", "MEDIA")).upper() != "MEDIA":
            passed.append(name)
            continue
        if observation.get("media_creation_date_as_offset"):
            raise ValueError(
                f"{what}: counts its times from the creation of its media; switch that off in BORIS"
            )
        players = as_mapping(observation.get("file", {}), f"{what}, file")
        media = [as_text(path, f"{what}, file") for path in as_list(players.get("1", []), f"{what}, file")]
        if not media:
            passed.append(name)
            continue
        others += [str(p) for player in _PLAYERS[1:] for p in as_list(players.get(player) or [], "file")]
        events = as_list(observation.get("events", []), f"{what}, events")
        read = [_read_event(event, ethogram, f"{what}, event {n}") for n, event in enumerate(events, 1)]
        modified += [event.label for event in read if event.modifier]
        try:
            about = as_mapping(observation.get("media_info") or {}, "media_info")
            stated = as_mapping(about.get("length") or {}, "media_info, length")
            lengths = [as_number(stated[one], "length") if one in stated else None for one in media]
            offset = as_number(observation.get("time offset") or 0.0, "time offset")
            recordings += place_in_queue(pair_events(read), media, lengths, offset)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from error
    kinds = (
        (passed, "observations without media, such as live ones, are passed over"),
        (others, "media of further players show the same events and are not used"),
        (modified, "events have modifiers, which are left out"),
    )
    notes = [f"{len(names)} {text}: {name_counts(names)}" for names, text in kinds if names]
    return Annotations(FORM, tuple(recordings), notes)


def _kinds_of(ethogram: dict[str, Any]) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for key, value in ethogram.items():
        behaviour = as_mapping(value, f"behaviors_conf {key!r}")
        is_point = as_text(behaviour.get("type", "State event"), "type").casefold().startswith("point")
        kinds[as_text(behaviour.get("code"), f"behaviors_conf {key!r}, code")] = (
            "point" if is_point else "state"
        )
    return kinds


def _read_event(value: Any, ethogram: dict[str, Kind], what: str) -> Event:
    fields = as_list(value, what)
    if len(fields) < 3:
        raise ValueError(f"{what}: {len(fields)} fields; expected a time, a subject and a behaviour")
    code = as_text(fields[2], what)
    if code not in ethogram:
        raise ValueError(f"{what}: behaviour {code!r} is not in the ethogram; add it in BORIS and save again")
    modifier = as_text(fields[3] or "", what) if len(fields) > 3 else ""
    return Event(
        as_number(fields[0], what),
        ethogram[code],
        code,
        as_text(fields[1] or "", what),
        "" if modifier.strip("|") in ("", "None") else modifier,
        read_score(str(fields[4])) if len(fields) > 4 else None,
    )


def boris_project_text(
    recordings: Sequence[Recording], lengths: Sequence[float], rates: Sequence[float | None]
) -> str:
    """Return recordings as a BORIS project that can be opened, corrected and read back.

    Args:
        recordings: in seconds; each becomes an observation.
        lengths: seconds of each video.
        rates: frames a second of each video; None where they are not known.

    Raises:
        ValueError: BORIS cannot hold the spans.
    """
    spans = [span for recording in recordings for span in recording.spans]
    observations: dict[str, Any] = {}
    for recording, length, rate in zip(recordings, lengths, rates, strict=True):
        stem = PurePosixPath(recording.media).stem
        name = next(n for n in _numbered(stem) if n not in observations)
        observations[name] = _observation(recording, length, rate)
    project = {
        "time_format": "hh:mm:ss",
        "project_date": _DATE,
        "project_name": "vidcli",
        "project_description": "",
        "project_format_version": "7.0",
        "subjects_conf": {
            str(n): {"key": "", "name": name, "description": ""}
            for n, name in enumerate(sorted({span.subject for span in spans} - {""}))
        },
        "behaviors_conf": {
            str(n): {
                "type": "Point event" if kind == "point" else "State event",
                "key": _KEYS[n] if n < len(_KEYS) else "",
                "code": label,
                "description": "",
                "color": "",
                "category": "",
                "modifiers": "",
                "excluded": "",
                "coding map": "",
            }
            for n, (label, kind) in enumerate(kinds_of_spans(spans).items())
        },
        "observations": observations,
        "behavioral_categories": [],
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    return json.dumps(project, indent=1, ensure_ascii=False) + "\n"


def _observation(recording: Recording, length: float, rate: float | None) -> dict[str, Any]:
    media = recording.media
    events = [
        [event.seconds, event.subject, event.label, "", score_comment(event.score)]
        + ([round(event.seconds * rate)] if rate else [])
        for event in events_of_spans(recording)
    ]
    return {
        "file": {player: [media] if player == "1" else [] for player in _PLAYERS},
        "type": "MEDIA",
        "date": _DATE,
        "description": "",
        "time offset": 0.0,
        "events": events,
        "observation time interval": [0, 0],
        "independent_variables": {},
        "visualize_spectrogram": False,
        "visualize_waveform": False,
        "media_creation_date_as_offset": False,
        "media_scan_sampling_duration": 0,
        "image_display_duration": 1,
        "close_behaviors_between_videos": False,
        "media_info": {
            "length": {media: length},
            "fps": {media: rate or 0.0},
            "hasVideo": {media: True},
            "hasAudio": {media: False},
            "offset": {"1": 0.0},
        },
    }


def _numbered(name: str) -> Iterator[str]:
    """Yield a name, and then the same with a number behind it."""
    yield name
    for number in itertools.count(2):
        yield f"{name}-{number}"
