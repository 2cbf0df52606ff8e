"""Boxes of JSON in the manner of COCO: images with numbers of frames, annotations with boxes and tracks.

{"videos": [{"id": 1, "name": "day1"}],                                  may be left out
 "images": [{"id": 7, "video_id": 1, "frame_id": 0, "file_name": "day1/000000.jpg"}],
 "annotations": [{"image_id": 7, "track_id": 2, "bbox": [10, 20, 40, 30]}]}
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import numpy as np

from vidcli.data.annotations.documents import as_frame, as_list, as_mapping, as_number, as_text
from vidcli.data.annotations.media import parts_of
from vidcli.data.boxes.tracked import BoxFile, make_track

FORM = "COCO"
_FRAME_KEYS = ("frame_id", "frame_index", "frame_number", "frame_idx", "frame")
_TRACK_KEYS = ("track_id", "instance_id", "object_id", "track")
_VIDEO_KEYS = ("name", "file_name")
_NUM_SIDES = 4


def is_coco(value: Any) -> bool:
    """Tell whether a JSON value has images and annotations."""
    return isinstance(value, dict) and {"images", "annotations"} <= value.keys()


def read_coco(value: Any) -> BoxFile:
    """Return the tracks of a document.

    Raises:
        ValueError: it is damaged, or images have no number of a frame.
    """
    document = as_mapping(value, "the document")
    videos = {
        one.get("id"): as_text(_first(one, _VIDEO_KEYS), "a video's name")
        for one in (as_mapping(item, "videos") for item in as_list(document.get("videos", []), "videos"))
    }
    frames: dict[Any, tuple[str, int]] = {}
    for item in as_list(document["images"], "images"):
        image = as_mapping(item, "images")
        frames[image.get("id")] = _frame_of(image, videos)
    found: dict[tuple[str, str], list[tuple[int, list[float]]]] = defaultdict(list)
    for number, item in enumerate(as_list(document["annotations"], "annotations"), 1):
        what = f"annotation {number}"
        one = as_mapping(item, what)
        if one.get("image_id") not in frames:
            raise ValueError(f"{what} has the image_id {one.get('image_id')!r}, which no image has")
        sides = [as_number(side, f"{what}, bbox") for side in as_list(one.get("bbox"), f"{what}, bbox")]
        if len(sides) != _NUM_SIDES:
            raise ValueError(
                f"{what} has a bbox of {len(sides)} numbers; expected left, top, width and height"
            )
        extra = one.get("attributes")
        track = _first(one, _TRACK_KEYS)
        track = _first(extra, _TRACK_KEYS) if track is None and isinstance(extra, dict) else track
        video, frame = frames[one["image_id"]]
        name = "" if track is None else as_text(track, f"{what}, track_id")
        found[video, name].append((frame, sides))
    tracks = [
        make_track(
            video, name, np.array([f for f, _ in boxes], float), np.array([s for _, s in boxes], float), True
        )
        for (video, name), boxes in found.items()
    ]
    return BoxFile(FORM, tracks)


def _frame_of(image: dict[str, Any], videos: dict[Any, str]) -> tuple[str, int]:
    """Return the video of an image, empty where it says none, and the number of its frame."""
    file_name = image.get("file_name")
    parts = parts_of(file_name) if isinstance(file_name, str) else []
    what = f"image {image.get('id')!r}"
    if "video_id" in image and videos:
        if image["video_id"] not in videos:
            raise ValueError(f"{what} has the video_id {image['video_id']!r}, which no video has")
        video = videos[image["video_id"]]
    else:
        video = parts[-2] if len(parts) > 1 else ""
    frame = _first(image, _FRAME_KEYS)
    if frame is not None:
        return video, as_frame(frame, f"{what}, frame")
    digits = re.findall(r"\d+", parts[-1].rpartition(".")[0] or parts[-1]) if parts else []
    if not digits:
        raise ValueError(f"{what} has no frame_id, and no number in its file_name; expected one of them")
    return video, int(digits[-1])


def _first(entry: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((entry[key] for key in keys if entry.get(key) is not None), None)
