"""Labels of FERAL (JSON): a class for every frame of every video, or several.

class_names   {"0": "other", "1": "run"}
labels        {"a.mp4": [0, 0, 1, 1]}, or with several classes {"a.mp4": [[1, 0], [0, 1], ...]}
splits        {"train": ["a.mp4"], "val": [], "test": [], "inference": []}
"""

from __future__ import annotations

from typing import Any

from vidcli.data.annotations.documents import as_frame, as_list, as_mapping, as_text
from vidcli.data.annotations.spans import Annotations, Recording, Span, frame_runs
from vidcli.data.items import SPLITS

FORM = "FERAL labels"


def read_feral(value: dict[str, Any]) -> Annotations:
    """Return the spans of per-frame labels; videos without any, for inference only, are passed over.

    Args:
        value: the JSON object of the file.

    Raises:
        ValueError: it is damaged, or a class has no name.
    """
    names = {
        key: as_text(name, "class_names")
        for key, name in as_mapping(value["class_names"], "class_names").items()
    }
    splits = as_mapping(value.get("splits", {}), "splits")
    split_of = {str(video): split for split in SPLITS for video in as_list(splits.get(split, []), split)}
    recordings = []
    for video, labels in as_mapping(value["labels"], "labels").items():
        rows = as_list(labels, f"labels of {video}")
        frames_of: dict[str, list[int]] = {}
        for frame, row in enumerate(rows):
            held = [number for number, one in enumerate(row) if one] if isinstance(row, list) else [row]
            for number in held:
                key = str(as_frame(number, f"{video}, frame {frame}"))
                if key not in names:
                    raise ValueError(f"{video}, frame {frame}: class {key} has no name in class_names")
                frames_of.setdefault(names[key], []).append(frame)
        spans: list[Span] = [span for name, frames in frames_of.items() for span in frame_runs(name, frames)]
        recordings.append(
            Recording(video, tuple(spans), True, split=split_of.get(video), num_frames=len(rows))
        )
    return Annotations(FORM, tuple(recordings))
