"""Real files that break tools, and a real data set. None of them belongs to the project."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest
import torch

from vidcli.config import DataConfig
from vidcli.data.manifest import load_items
from vidcli.data.splits import assign_splits, of_split
from vidcli.models import build_model
from vidcli.predict import Predictor

pytestmark = pytest.mark.data

FOLDER = Path(os.environ.get("VIDCLI_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
ODD_FILES = sorted(path for path in (FOLDER / "odd").rglob("*") if path.is_file())


@pytest.fixture(autouse=True)
def _data_is_there():
    if not (FOLDER / "odd").is_dir():
        pytest.skip(f"needs real videos: no folder {FOLDER / 'odd'} (VIDCLI_TEST_DATA names another)")


@pytest.fixture(scope="module")
def predictor(small_config):
    torch.manual_seed(0)
    config = small_config(clip__length=8)
    return Predictor(build_model(config.model, 3), config, ("a", "b", "c"), torch.device("cpu"))


def test_there_are_files():
    assert len(ODD_FILES) > 10


@pytest.mark.parametrize("path", ODD_FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_odd_file_is_classified_or_refused_with_a_reason(predictor, path):
    prediction = predictor.predict(path)
    if prediction.error is None:
        assert prediction.probabilities.sum() == pytest.approx(1)
        assert (prediction.probabilities > 0).all()
    else:
        assert prediction.error
        assert str(path) not in prediction.error  # the reason alone, said of the path


def test_real_data_set_keeps_its_recordings_apart():
    if not (FOLDER / "rodent").is_dir():
        pytest.skip(f"no folder {FOLDER / 'rodent'}")
    items = load_items(FOLDER / "rodent" / "manifest.csv")
    assert [len(of_split(items, split)) for split in ("train", "val", "test")] == [234, 0, 108]
    assigned = assign_splits(items, DataConfig())
    assert of_split(assigned, "test") == of_split(items, "test")
    assert len(of_split(assigned, "train")) + len(of_split(assigned, "val")) == 234
    assert 0.05 < len(of_split(assigned, "val")) / 234 < 0.3
    assert {item.label for item in of_split(assigned, "train")} == {item.label for item in items}
    splits_of = defaultdict(set)
    for item in assigned:
        splits_of[item.group].add(item.split)
    assert len(splits_of) > 3
    assert all(len(splits) == 1 for splits in splits_of.values())
