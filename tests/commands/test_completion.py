"""What the shell offers at Tab, how settings are found, and what a setting typed as an option is answered."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from vidcli.artifacts.run_folder import EXPORT_FILE, MODEL_FILE, RUNS_FOLDER
from vidcli.commands import app, completion
from vidcli.commands.completion import complete_model, complete_recipe, complete_setting, mend_bash_words
from vidcli.commands.options import name_setting
from vidcli.config import builtin_recipes, iter_settings, load_config
from vidcli.models import published_names
from vidcli.models.registry import backbone_names, head_names, network_names


def names_of(found):
    return [value for value, _ in found]


def test_names_are_those_of_the_models():
    assert [*completion.FRAME_NETWORKS] == backbone_names()
    assert [*completion.VIDEO_NETWORKS] == network_names()
    assert [*completion.HEADS] == head_names()
    assert [*completion.PUBLISHED_MODELS] == published_names()
    assert set(completion._MODEL_FILES) == {MODEL_FILE, EXPORT_FILE}
    assert str(RUNS_FOLDER) == completion._RUNS_FOLDER


def test_recipes_and_recipe_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("clip: {}\n")
    (tmp_path / "mine.txt").write_text("")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "deep.yml").write_text("")
    found = complete_recipe("")
    assert [path.stem for path in builtin_recipes()] == names_of(found)[: len(builtin_recipes())]
    assert found[0][1]
    assert names_of(complete_recipe("m"))[-2:] == ["mine.yaml", "more/"]
    assert names_of(complete_recipe("more/")) == ["more/deep.yml"]
    assert complete_recipe("nowhere/") == []


def test_settings_and_their_values():
    assert names_of(complete_setting("")) == [f"{setting.name}=" for setting in iter_settings()]
    assert names_of(complete_setting("train.warm")) == ["train.warmup_epochs=5"]
    assert names_of(complete_setting("train.optimizer=")) == [
        "train.optimizer=adamw",
        "train.optimizer=sgd",
        "train.optimizer=ridge",
    ]
    assert names_of(complete_setting("train.optimizer=s")) == ["train.optimizer=sgd"]
    assert names_of(complete_setting("model.bidirectional=")) == [
        "model.bidirectional=true",
        "model.bidirectional=false",
    ]
    assert names_of(complete_setting("model.head=att")) == [
        "model.head=attention",
        "model.head=attention_rnn",
        "model.head=attentive",
    ]
    assert complete_setting("nothing.such=") == []


def test_every_value_that_is_offered_is_taken():
    for setting in iter_settings():
        for value in names_of(complete_setting(f"{setting.name}=")):
            load_config(None, [value])


def test_models_runs_and_exports(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, (folder, name) in enumerate(
        [
            ("runs/old", MODEL_FILE),
            ("runs/new", MODEL_FILE),
            ("runs/new/export", EXPORT_FILE),
            ("out", EXPORT_FILE),
        ]
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).write_text("")
        os.utime(tmp_path / folder, (1000 + number, 1000 + number))
    os.utime(tmp_path / "runs/new", (2000, 2000))
    (tmp_path / "runs/unfinished").mkdir()
    (tmp_path / "one.safetensors").write_text("")
    found = names_of(complete_model(""))
    assert found[0] == "runs/new"
    assert {"runs/old", "runs/new/export", "out", "one.safetensors", "kinetics400"} <= set(found)
    assert "runs/unfinished" not in found
    assert len(found) == len(set(found))
    assert names_of(complete_model("runs/n")) == ["runs/new", "runs/new/export"]
    assert names_of(complete_model("kinetics400-s3")) == ["kinetics400-s3d"]


@pytest.mark.parametrize(
    ("words", "number", "mended"),
    [
        ("vidcli train --set train.optimizer = a", 5, ("vidcli train --set a", "3", "train.optimizer")),
        ("vidcli train --set train.optimizer =", 4, ("vidcli train --set", "3", "train.optimizer")),
        ("vidcli train --set train.optimizer=a", 3, None),
        ("vidcli train --set train.o", 3, None),
        ("vidcli train --set a.b = c --conf", 6, None),
        ("vidcli = x", 2, None),
    ],
)
def test_bash_takes_an_assignment_for_three_words(words, number, mended):
    given = {"_VIDCLI_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    environ = dict(given)
    mend_bash_words(environ)
    if mended is None:
        assert environ == given
    else:
        assert (environ["COMP_WORDS"], environ["COMP_CWORD"], environ["_VIDCLI_SETTING"]) == mended
    other = {**given, "_VIDCLI_COMPLETE": "complete_zsh"}
    mend_bash_words(other)
    assert "_VIDCLI_SETTING" not in other


@pytest.mark.parametrize(
    ("words", "number", "expected"),
    [
        ("vidcli train --config small-r", 3, ["small-real"]),
        (
            "vidcli train --set train.optim",
            3,
            [
                "train.optimizer=adamw",
                "train.optimizer=sgd",
                "train.optimizer=ridge",
            ],
        ),
        ("vidcli check data --set train.optimizer = s", 6, ["sgd"]),
        ("vidcli eval --split ", 3, ["train", "val", "test", "all"]),
        ("vidcli report --split t", 3, ["train", "test"]),
        ("vidcli predict --model kinetics400-mv", 3, ["kinetics400-mvit_v1_b", "kinetics400-mvit_v2_s"]),
        ("vidcli timeline --format sr", 3, ["srt"]),
        ("vidcli train --head att", 3, ["attention", "attention_rnn", "attentive"]),
        ("vidcli train --backbone simple", 3, ["simple_cnn"]),
        ("vidcli predict --device c", 3, ["cpu", "cuda"]),
    ],
)
def test_bash_is_offered(words, number, expected, tmp_path):
    script = (
        "import sys\nfrom vidcli.__main__ import main\nsys.argv = ['vidcli']\ntry:\n    main()\n"
        "finally:\n    assert 'torch' not in sys.modules and 'av' not in sys.modules, 'heavy'\n"
    )
    environ = {
        **os.environ, "_VIDCLI_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)
    }  # fmt: skip
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=tmp_path)
    assert done.stdout.split() == expected, done.stderr
    assert "heavy" not in done.stderr


def test_what_is_offered_comes_at_once():
    started = time.process_time()
    for complete in (complete_recipe, complete_setting, complete_model):
        complete("")
    assert time.process_time() - started < 0.5


# --- settings that are typed as options, and searched for ------------------------------------------


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("--epochs", ["train.epochs"]),
        ("--batch-size", ["train.batch_size"]),
        ("--batch_size=8", ["train.batch_size"]),
        ("--lr", ["train.lr"]),
        ("--learning-rate", ["train.lr"]),
        ("--backbone", ["model.backbone"]),
        ("--seed", ["train.seed"]),
        ("--train.seed", ["train.seed"]),
        ("--clip-length", ["clip.length"]),
        ("--length", ["clip.length"]),
    ],
)
def test_a_setting_that_is_typed_as_an_option(option, names):
    told = name_setting(option, {})
    assert told == f"no option {option}; the setting is " + " or ".join(f"--set {n}=VALUE" for n in names)


def test_every_setting_is_found_by_its_last_part():
    for setting in iter_settings():
        option = "--" + setting.name.partition(".")[2].replace("_", "-")
        assert f"--set {setting.name}=VALUE" in (name_setting(option, {}) or "")
    assert "the nearest setting is --set train.epochs=VALUE" in (name_setting("--epoch", {}) or "")
    assert name_setting("--zzz", {}) is None


@pytest.mark.parametrize(
    ("option", "flag"), [("--epoch", "--epochs"), ("--bs", "--batch-size"), ("--learning-rate", "--lr")]
)
def test_where_a_setting_has_a_flag_that_is_named(option, flag):
    result = CliRunner().invoke(app, ["train", "data", option, "3"])
    assert result.exit_code == 2
    assert f"setting is {flag} VALUE" in result.output


@pytest.mark.parametrize(
    "command", [["train", "data"], ["demo"], ["check", "data"], ["bench", "train"], ["train", "--resume"]]
)
def test_commands_with_settings_name_them(command):
    result = CliRunner().invoke(app, [*command, "--patience", "5"])
    assert result.exit_code == 2
    assert "no option --patience; the setting is --set train.patience=VALUE" in result.output
    unknown = CliRunner().invoke(app, [*command, "--zzz"])
    assert unknown.exit_code == 2
    assert "--zzz" in unknown.output
    assert "--set" not in unknown.output


def test_settings_are_searched():
    def listed(*patterns):
        result = CliRunner().invoke(app, ["settings", *patterns], env={"COLUMNS": "200"})
        return result, [line.split("│")[1].strip() for line in result.stdout.splitlines() if "│" in line]

    _, every = listed()
    assert {setting.name for setting in iter_settings()} <= set(every)
    _, found = listed("LR")
    assert "train.lr" in found
    assert len(found) < len(every) / 2
    _, both = listed("epochs", "warm")
    assert both == ["train.warmup_epochs"]
    _, meant = listed("learning rate")
    assert "train.lr" in meant
    result, none = listed("epocs")
    assert (result.exit_code, none) == (1, [])
    assert "no setting or recipe has 'epocs'" in result.stderr
    assert "train.epochs" in result.stderr
