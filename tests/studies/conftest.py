"""A data set with groups, on which a training takes a second."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def grouped_data(motion_data, tmp_path_factory):
    """A manifest of two classes: 16 videos of four groups, and four test videos of a fifth."""
    rows = ["path,label,group,split"]
    for name in ("left", "right"):
        paths = sorted((motion_data / "train" / name).glob("*.mp4"))
        paths += sorted((motion_data / "val" / name).glob("*.mp4"))
        paths += sorted((motion_data / "test" / name).glob("*.mp4"))
        rows += [f"{path},{name},g{number % 4},train" for number, path in enumerate(paths)]
    for name in ("left", "right"):
        others = sorted((motion_data / "test" / ("up" if name == "left" else "down")).glob("*.mp4"))
        rows += [f"{path},{name},unseen,test" for path in others]
    manifest = tmp_path_factory.mktemp("grouped") / "grouped.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest
