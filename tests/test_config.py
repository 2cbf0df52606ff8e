from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from vidcli.config import (
    Config,
    builtin_recipes,
    change_clip,
    config_from_dict,
    config_to_dict,
    config_to_yaml,
    find_recipe,
    iter_settings,
    load_config,
    recipe_title,
)
from vidcli.errors import ConfigError

CHANGED = [
    "clip.size=64x112",
    "clip.sampling=dense",
    "augment.flip=off",
    "data.cache=off",
    "model.weights=some file.pth",
    "model.shift=true",
    "train.lr=3e-4",
    "train.optimizer=sgd",
]


def write_recipe(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def faults_of(*assignments: str, recipe: str | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(recipe, assignments)
    return str(caught.value).splitlines()


# --- defaults and descriptions --------------------------------------------------------------------


def test_defaults_pass_their_own_checks() -> None:
    assert config_from_dict(Config().model_dump()) == Config() == load_config()


def test_every_setting_has_a_range_and_a_sentence() -> None:
    settings = list(iter_settings())
    assert len({setting.name for setting in settings}) == len(settings) > 30
    for setting in settings:
        assert setting.default, setting
        assert setting.range, setting
        assert setting.description.endswith("."), setting
    # Names and file paths are free text; everything else says what it takes.
    free = {setting.name for setting in settings if setting.range == "text"}
    assert free == {
        *("model.backbone", "model.head", "model.weights", "train.contender"),
        *("data.background", "data.labelled_spans", "subject.boxes"),
    }


@pytest.mark.parametrize(
    ("name", "default", "shown_range"),
    [
        ("model.pretrained", "false", "true | false | motion"),
        ("clip.size", "112x112", "16 to 1024 each"),
        ("clip.sampling", "segments", "segments | dense"),
        ("train.lr", "0.001", "> 0, ≤ 10"),
        ("train.epochs", "40", "≥ 1, ≤ 10000"),
        ("model.shift", "auto", "auto | on | off"),
        ("model.weights", "none", "text"),
    ],
)
def test_settings_are_shown_as_a_recipe_would_write_them(name: str, default: str, shown_range: str) -> None:
    setting = next(setting for setting in iter_settings() if setting.name == name)
    assert (setting.default, setting.range) == (default, shown_range)


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignment", "suggestion"),
    [
        ("train.epoch=3", "train.epochs"),
        ("model.backbon=x", "model.backbone"),
        ("lr=3", "train.lr"),
        ("trian.lr=3", "train.lr"),
        ("train.lr.max=3", "train.lr"),
    ],
)
def test_unknown_settings_are_refused_with_the_nearest(assignment: str, suggestion: str) -> None:
    (fault,) = faults_of(assignment)
    assert fault.startswith(f"unknown setting {assignment.partition('=')[0]!r}.")
    assert fault.endswith(f"Did you mean {suggestion!r}?")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "clip: {length: 0, sizes: 3}\naugment: {brightness: 2}\ntrian: {lr: 1}\n")
    faults = faults_of("train.epochs=none", "train.lr", "model.hiden=1", recipe=recipe)
    expected = (
        "clip.length", "clip.sizes", "augment.brightness", "trian.lr", "train.epochs", "--set train.lr",
        "model.hiden",
    )  # fmt: skip
    assert len(faults) == len(expected)
    for name in expected:
        assert sum(name in fault.split(" (got")[0].split("Did you")[0] for fault in faults) == 1, name


@pytest.mark.parametrize(
    "assignment",
    [
        "clip.length=0",
        "clip.length=4.5",
        "clip.size=8",
        "clip.size=64x",
        "clip.fit=squash",
        "train.lr=0",
        "train.lr=nan",
        "train.grad_clip=inf",
        "train.warmup_epochs=inf",
        "train.seed=-1",
        "model.dropout=1",
        "train.accumulate=0",
        "train.ema=1",
        "train.class_balance=yes",
        "train.backbone_lr_ratio=0",
        "train.compile=auto",
        "model.shift=perhaps",
        "data.cache=drum",
        "train=5",
    ],
)
def test_values_out_of_range_are_named(assignment: str) -> None:
    name = assignment.partition("=")[0]
    assert all(fault.startswith(f"{name}:") for fault in faults_of(assignment))


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().clip.length = 3  # type: ignore[misc]


def test_saved_settings_of_another_version_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"clip\.colour"):
        config_from_dict({"clip": {"colour": "grey"}})


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("96", (96, 96)),
        ("64x112", (64, 112)),
        ("64×112", (64, 112)),
        (" 64 x 112 ", (64, 112)),
        ("[64, 112]", (64, 112)),
    ],
)
def test_sizes(given: str, expected: tuple[int, int], tmp_path: Path) -> None:
    assert load_config(None, [f"clip.size={given}"]).clip.size == expected
    assert load_config(write_recipe(tmp_path, f"clip: {{size: {given}}}")).clip.size == expected


@pytest.mark.parametrize("word", ["on", "off", "auto"])
def test_words_that_yaml_reads_as_truth_values(word: str, tmp_path: Path) -> None:
    # YAML 1.1 reads a bare `on` as true.
    recipe = write_recipe(tmp_path, f"augment:\n  flip: {word}\n")
    assert load_config(recipe).augment.flip == word
    assert load_config(None, [f"augment.flip={word}"]).augment.flip == word


def test_cache_off_in_a_recipe(tmp_path: Path) -> None:
    assert load_config(write_recipe(tmp_path, "data: {cache: off}")).data.cache == "off"


@pytest.mark.parametrize("text", ["3e-4", "3E-4", "0.0003"])
def test_small_numbers_may_be_written_with_an_exponent(text: str, tmp_path: Path) -> None:
    assert load_config(None, [f"train.lr={text}"]).train.lr == 3e-4
    assert load_config(write_recipe(tmp_path, f"train: {{lr: {text}}}")).train.lr == 3e-4


def test_round_trip_through_yaml_and_plain_values(tmp_path: Path) -> None:
    config = load_config(None, CHANGED)
    assert config != Config()
    assert config_from_dict(config_to_dict(config)) == config
    assert load_config(write_recipe(tmp_path, config_to_yaml(config))) == config
    assert yaml.safe_load(config_to_yaml(config)) == config_to_dict(config)


# --- recipes --------------------------------------------------------------------------------------


def test_assignments_win_over_the_recipe_and_the_last_one_over_the_first(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "train: {lr: 0.5, epochs: 7}\n")
    config = load_config(recipe, ["train.lr=0.25", "train.lr=0.125"])
    assert (config.train.lr, config.train.epochs) == (0.125, 7)


def test_there_are_built_in_recipes() -> None:
    assert {"demo", "small-real"} <= {path.stem for path in builtin_recipes()}


@pytest.mark.parametrize("path", builtin_recipes(), ids=lambda path: path.stem)
def test_built_in_recipes_load_by_name_and_say_what_they_are_for(path: Path) -> None:
    assert load_config(path.stem) == load_config(str(path)) != Config()
    assert find_recipe(path.stem) == path
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert recipe_title(path).endswith(".")


def test_a_missing_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'dem': neither a file nor .*Did you mean 'demo'\?"):
        load_config("dem")


@pytest.mark.parametrize("text", ["- clip\n", "just words\n", "clip: [}\n", "1: 2\n"])
def test_files_that_are_no_recipes_are_refused(text: str, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, text)
    with pytest.raises(ConfigError, match=r"recipe .*recipe\.yaml: "):
        load_config(recipe)


def test_a_binary_file_is_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        load_config(str(path))


def test_an_empty_recipe_changes_nothing(tmp_path: Path) -> None:
    assert load_config(write_recipe(tmp_path, "# nothing yet\n")) == Config()


# --- values that somebody made up -----------------------------------------------------------------

ALIASES = "a: &a [x]\nb: &b [*a, *a]\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ALIASES, "holds the alias"),
        ("clip: " + "[" * 10_000, "nested more than"),
        ("train:\n  seed: " + "9" * 5000, "digits"),
        ("train:\n  epochs: 2024-13-45", "train.epochs"),
        ("train:\n  epochs: 1\ntrain:\n  epochs: 2", "'train' twice"),
        ("train:\n  epochs: 1\n  epochs: 2", "'epochs' twice"),
        ("1: 2", "no text"),
        ("train:\n  1: 2", "no text"),
        ("model:\n  backbone: !!binary aGk=", "the tag"),
        ("train:\n  seed: 0x" + "f" * 10_000, "train.seed"),
        ("clip: " + " " * 100_000, "holds more than"),
        ("".join(f"a{number}: 1\n" for number in range(5000)), "and 4980 more"),
        ("x" * 500 + ": {a: 1}", "unknown setting"),
    ],
    ids=lambda value: value[:20],
)
def test_recipes_that_are_not_plain_are_named(text: str, told: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(ConfigError, match=told) as caught:
        load_config(str(recipe))
    assert len(str(caught.value)) < 4000


@pytest.mark.parametrize(
    "value",
    [
        "[" * 10_000,
        "&a [*a]",
        "9" * 5000,
        "0x" + "f" * 10_000,
        "2024-13-45",
        "!!binary aGk=",
        "{a: 1, a: 2}",
        "x" * 100_000,
        "1e999",
    ],
    ids=lambda value: value[:12],
)
@pytest.mark.parametrize("name", ["train.epochs", "clip.size", "clip.mean", "model.shift", "train.lr"])
def test_values_of_set_that_are_not_plain_are_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        load_config(None, [f"{name}={value}"])
    assert len(str(caught.value)) < 2000


def test_clips_that_do_not_fit_in_memory_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"clip: length x size asks for 6144 MiB, where 512 MiB are the most"
    ):
        load_config(None, ["clip.length=512", "clip.size=1024"])
    clip = load_config().clip
    assert (
        change_clip(clip, views=2, crops=3).num_video_bytes == 6 * clip.num_bytes == 6 * clip.num_video_bytes
    )
    with pytest.raises(ConfigError, match="length x size x views x crops asks for 2067 MiB, where 1024"):
        change_clip(clip, views=100, crops=9)
    with pytest.raises(ConfigError, match=r"clip\.views"):
        change_clip(clip, views=101)


def test_what_is_no_regular_file_is_no_recipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(ConfigError, match="is no regular file"):
            load_config(str(path))
    with pytest.raises(ConfigError, match="neither a file nor a built-in"):
        load_config("x" * 5000)
