"""What `vidcli predict --camera` does."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from vidcli.artifacts.run_folder import find_model
from vidcli.commands.timeline import window_of
from vidcli.console import Terminal
from vidcli.console.live import LiveAnswer, open_live_view
from vidcli.console.text import count_noun
from vidcli.data.frames import decode_limits
from vidcli.errors import ConfigError
from vidcli.predict import Predictor
from vidcli.predict.inputs import STDIN
from vidcli.predict.live import LiveSession, can_keep_state, open_session
from vidcli.runtime.devices import choose_device
from vidcli.video import LiveFrame, LiveFrames, parse_raw

_SILENCE_SECONDS = 5.0
_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class LiveOptions:
    """What the command line of `vidcli predict --camera` says.

    Attributes:
        camera: number, device or name of a camera; `-` for a video on standard input.
        raw: of a pipe without a container, the size, rate and kind of its pictures.
        window_seconds: time of a window; None takes that of the clips the model was trained on.
        keeps_state: let a one-way model go on from all that it has seen.
        form: table or json; None is a table on a terminal, else json.
        threshold: the probability below which an answer is unknown.
    """

    camera: str
    raw: str | None
    window_seconds: float | None
    keeps_state: bool
    model: Path | None
    device: str
    form: str | None
    top_k: int
    threshold: float | None


def predict_live(terminal: Terminal, options: LiveOptions) -> int:
    """Run `vidcli predict --camera` until the video ends; return the exit code.

    Raises:
        VideoError: the camera or pipe cannot be read.
        KeyboardInterrupt: whoever watches has seen enough.
    """
    raw = parse_raw(options.raw) if options.raw is not None else None
    if raw is not None and options.camera != STDIN:
        raise ConfigError("--raw: describes pictures that are piped in; use it with --camera -")
    form = options.form or ("table" if sys.stdout.isatty() else "json")
    if form not in ("table", "json"):
        raise ConfigError(f"--format {form}: --camera shows a table or prints json")
    model_file = find_model(options.model)
    predictor = Predictor.load(model_file, choose_device(options.device)).with_views(1, 1)
    predictor.abstain_below(options.threshold)
    if options.keeps_state and not can_keep_state(predictor):
        raise ConfigError(
            "--keep-state: this model has no state that goes on from picture to picture, which takes a head "
            "rnn, lstm or gru, model.bidirectional=false and model.shift=off; leave it out"
        )
    session = open_session(predictor, options.keeps_state)
    window = options.window_seconds or window_of(predictor, model_file)
    spacing = window / predictor.config.clip.length
    source = LiveFrames(
        options.camera,
        spacing,
        predictor.decode_size,
        session.capacity,
        raw,
        decode_limits(predictor.config.data),
    )
    terminal.say(
        f"{source.name}: a picture every {spacing:.3g} s, "
        + ("answers of all seen so far" if options.keeps_state else f"answers of the last {window:.3g} s")
        + "; Ctrl-C ends"
    )
    _warm_up(predictor)
    count = 0
    try:
        with source, open_live_view(terminal, form, options.top_k, predictor) as view:
            for answer in _answers(terminal, predictor, session, source):
                count += 1
                view.show(answer)
    finally:
        dropped = f", {count_noun(source.num_dropped, 'picture')} dropped since the model was busy"
        damaged = f", {count_noun(source.num_damaged, 'packet')} damaged"
        if count:
            terminal.say(
                f"{source.name}: {count_noun(count, 'answer')}"
                + (dropped if source.num_dropped else "")
                + (damaged if source.num_damaged else "")
            )
    return 0


def _answers(
    terminal: Terminal, predictor: Predictor, session: LiveSession, source: LiveFrames
) -> Iterator[LiveAnswer]:
    """Yield an answer a picture, from the first full clip on; at the end at least one."""
    last: LiveFrame | None = None
    has_answered = False
    heard = time.monotonic()
    while (frames := source.take(_WAIT_SECONDS)) is not None:
        if not frames:
            if time.monotonic() - heard > _SILENCE_SECONDS:
                terminal.warn(f"{source.name}: no picture for {_SILENCE_SECONDS:g} s; still waiting")
                heard = float("inf")
            continue
        session.push(frames)
        last, heard = frames[-1], time.monotonic()
        if session.is_full:
            has_answered = True
            yield _answer(predictor, session, source, last)
    if last is not None and not has_answered:
        session.fill()
        yield _answer(predictor, session, source, last)


def _answer(predictor: Predictor, session: LiveSession, source: LiveFrames, frame: LiveFrame) -> LiveAnswer:
    prediction = predictor.answer_of(source.name, session.answer())
    return LiveAnswer(prediction, frame.seconds, time.monotonic() - frame.arrival, source.num_dropped)


def _warm_up(predictor: Predictor) -> None:
    """Compute once before pictures come: the first time takes many times longer."""
    clip = predictor.config.clip
    predictor.classify(torch.zeros(1, clip.length, 3, *clip.size))
