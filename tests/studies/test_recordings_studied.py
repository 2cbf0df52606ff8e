"""Studies of recordings see what `train` sees: gaps as a class, in clips and in held-out spans."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vidcli.data.manifest import load_items
from vidcli.errors import ConfigError
from vidcli.studies import CrossvalPlan, Recipe, cross_validate
from vidcli.studies.folds import make_folds, read_studied
from vidcli.train import Notice, compare_heads, plan_items

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recordings(write_video, tmp_path_factory):
    """Four recordings of 8 s; from 2 to 4 s and from 5 to 6 s each shows something with a name."""
    folder = tmp_path_factory.mktemp("recordings")
    rows = ["path,label,start,end"]
    for number in range(4):
        write_video(folder / f"r{number}.mp4", num_frames=64)
        rows += [f"r{number}.mp4,a,2,4", f"r{number}.mp4,b,5,6"]
    (folder / "days.csv").write_text("\n".join(rows) + "\n")
    return folder / "days.csv"


@pytest.fixture(scope="module")
def config(small_config):
    return small_config(
        data__background="rest",
        data__val_fraction=0,
        data__test_fraction=0.25,
        data__clips_per_span=4,
        clip__sampling="dense",
        clip__stride_seconds=0.125,
    )


def test_a_study_has_the_spans_that_train_has(recordings, config):
    told = []
    items = read_studied(recordings, config, told.append, all_splits=False)
    planned = plan_items(config, recordings, lambda event: None)
    expected = [replace(item, split=None) for item in planned if item.split != "test"]
    assert list(items) == expected
    assert sum(item.label == "rest" for item in items) == 9
    assert any("that nobody labelled are rest" in event.text for event in told)


def test_a_fold_leaves_the_gaps_to_its_run(recordings, config):
    items = read_studied(recordings, config, lambda event: None, all_splits=True)
    for fold in make_folds(items, "4", 0, "rest"):
        assert (
            {item.label for item in fold.held_out}
            == {item.label for item in fold.train}
            == {"a", "b", "rest"}
        )
        assert {item.label for item in fold.manifest_items()} == {"a", "b"}
        assert fold.strange_classes == []


def test_a_cross_validation_answers_gaps_too(recordings, config, tmp_path):
    plan = CrossvalPlan(recordings, (Recipe("tiny", config),), "3")
    result = cross_validate(plan, tmp_path / "cv", CPU, lambda event: None)
    assert tuple(result.recipes[0].class_names) == ("a", "b", "rest")
    answers = result.recipes[0].answers
    assert sum(answer.item.label == "rest" for answer in answers) == 9
    clips = load_items(tmp_path / "cv" / "tiny" / "seed-0" / "fold-1" / "splits.csv")
    assert {item.label for item in clips if item.split == "train"} == {"a", "b", "rest"}


def test_recipes_with_other_gaps_are_not_compared(recordings, config):
    other = config.model_copy(update={"data": config.data.model_copy(update={"background": "none"})})
    plan = CrossvalPlan(recordings, (Recipe("one", config), Recipe("other", other)), "2")
    with pytest.raises(ConfigError, match=r"data.background: one has rest and other has none"):
        plan.check()


def test_compare_learns_from_clips_and_gaps(recordings, config, tmp_path):
    told = []
    comparison = compare_heads(config, recordings, "auto", tmp_path / "run", CPU, told.append)
    items = load_items(tmp_path / "run" / "splits.csv")
    assert {item.label for item in items} == {"a", "b", "rest"}
    assert all(item.end_seconds - item.start_seconds == pytest.approx(0.5) for item in items)
    assert comparison.num_videos == len(items) > 20
    assert any(isinstance(event, Notice) and "nobody labelled are rest" in event.text for event in told)
