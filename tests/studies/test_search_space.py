"""What `--space` and `--over` mean."""

from __future__ import annotations

import pytest

from vidcli.config import Config, load_config
from vidcli.errors import ConfigError
from vidcli.studies.search_space import PRESETS, plain_space, read_dimension, read_space, space_from_plain
from vidcli.studies.tuning_plan import change_config

CONFIG = Config()


class Asked:
    """Stands for a trial of optuna: notes what it is asked, and answers the lower end or first choice."""

    def __init__(self):
        self.told = []

    def suggest_float(self, key, low, high, log):
        self.told.append((key, low, high, log))
        return low

    def suggest_int(self, key, low, high, log):
        self.told.append((key, low, high, log))
        return low

    def suggest_categorical(self, key, choices):
        self.told.append((key, choices))
        return choices[0]


@pytest.mark.parametrize(
    ("text", "asked", "answer"),
    [
        ("train.lr=1e-4..1e-2", ("train.lr", 1e-4, 1e-2, True), "0.0001"),
        ("model.dropout=0..0.6", ("model.dropout", 0.0, 0.6, False), "0"),
        ("train.weight_decay=0.1..0.3", ("train.weight_decay", 0.1, 0.3, False), "0.1"),
        ("clip.length=4..16", ("clip.length", 4, 16, False), "4"),
        ("model.width=16..256", ("model.width", 16, 256, True), "16"),
        ("model.head=mean, gru", ("model.head", ["mean", "gru"]), "mean"),
        ("clip.length=8,16", ("clip.length", ["8", "16"]), "8"),
    ],
)
def test_a_range_or_values_are_asked_for(text, asked, answer):
    trial = Asked()
    assert read_dimension(text, CONFIG).suggest(trial) == answer
    assert trial.told == [asked]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train.lr", "expected KEY=LOW..HIGH"),
        ("train.lr=", "expected KEY=LOW..HIGH"),
        ("train.lr=1e-3", "1 value"),
        ("train.lr=a..b", "expected KEY=LOW..HIGH"),
        ("train.lr=1e-2..1e-4", "1e-2 is not below 1e-4"),
        ("train.lr=0..inf", "is not below"),
        ("train.lrr=1..2", "no such setting. Did you mean 'train.lr'"),
        ("model.head=1..2", "model.head is no number"),
        ("train.plots=0..1", "train.plots is no number"),
        ("clip.length=4..16.5", "clip.length takes whole numbers"),
        ("train.seed=0..9", "a seed that is lucky"),
        ("train.lr=1,", "expected KEY=LOW..HIGH"),
    ],
)
def test_other_texts_are_refused(text, told):
    with pytest.raises(ConfigError) as error:
        read_dimension(text, CONFIG)
    assert told in str(error.value)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_lie_within_what_settings_allow(name):
    for dimension in read_space([name], [], CONFIG):
        for value in dimension.ends:
            change_config(CONFIG, {dimension.key: value})


def test_over_comes_before_a_preset_and_alone_stands_alone():
    (alone,) = read_space([], ["train.lr=1e-3..1e-2"], CONFIG)
    assert alone.low == 1e-3
    both = {each.key: each for each in read_space(["training"], ["train.lr=1e-3..1e-2"], CONFIG)}
    assert both["train.lr"].low == 1e-3
    assert "model.dropout" in both
    assert [each.key for each in read_space([], [], CONFIG)] == [
        t.partition("=")[0] for t in PRESETS["training"]
    ]
    with pytest.raises(ConfigError, match="is named twice"):
        read_space([], ["train.lr=1e-3..1e-2", "train.lr=1..2"], CONFIG)
    with pytest.raises(ConfigError, match=r"--space trainig: expected training, .* Did you mean 'training'"):
        read_space(["trainig"], [], CONFIG)


def test_the_present_values_are_known_where_they_lie_in_the_space():
    config = load_config(None, ["train.lr=0.002", "model.head=gru", "train.plots=false"])
    assert read_dimension("train.lr=1e-3..1e-2", config).present(config) == 0.002
    assert read_dimension("train.lr=1e-4..1e-3", config).present(config) is None
    assert read_dimension("model.head=mean,gru", config).present(config) == "gru"
    assert read_dimension("model.head=mean,rnn", config).present(config) is None
    assert read_dimension("train.plots=true,false", config).present(config) == "false"


def test_a_space_survives_the_file_of_the_study():
    space = read_space(["clip", "training"], ["clip.length=4..32"], CONFIG)
    assert space_from_plain(plain_space(space), CONFIG) == space


def test_settings_are_changed_as_set_does():
    changed = change_config(CONFIG, {"train.lr": "3e-4", "model.head": "lstm", "train.plots": "false"})
    assert changed == load_config(None, ["train.lr=3e-4", "model.head=lstm", "train.plots=false"])
    with pytest.raises(ConfigError, match=r"--over train\.lr: .*less than or equal to 10"):
        change_config(CONFIG, {"train.lr": "99"})
