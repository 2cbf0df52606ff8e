"""The command line is a contract: options, streams, formats and exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import vidcli
from tests.forks import Forked, run_forked
from vidcli.commands.app import _keep_named, app
from vidcli.config import config_to_yaml, iter_settings
from vidcli.errors import CheckpointError
from vidcli.models import backbone_names, head_names

OPTIONS = {
    "train": [
        "--config",
        "--set",
        "--epochs",
        "--batch-size",
        "--lr",
        "--backbone",
        "--head",
        "--seed",
        "--minutes",
        "--boxes",
        "--out",
        "--device",
        "--resume",
        "--dry-run",
        "--compare",
        "--split",
        "--json",
    ],
    "crossval": [
        "--config",
        "--set",
        "--folds",
        "--seeds",
        "--all-splits",
        "--learning-curve",
        "--out",
        "--device",
        "--resume",
        "--json",
    ],
    "tune": [
        "--config",
        "--set",
        "--space",
        "--over",
        "--folds",
        "--trials",
        "--score",
        "--out",
        "--device",
        "--resume",
        "--json",
    ],
    "embed": [
        "--output",
        "--model",
        "--split",
        "--unlabelled",
        "--neighbours",
        "--contact-sheet",
        "--clusters",
        "--device",
        "--json",
    ],
    "eval": ["--model", "--split", "--against", "--views-sweep", "--timeline", "--window", "--out", "--json"],
    "report": ["--split", "--out", "--device"],
    "predict": [
        "--boxes",
        "--from-list",
        "--model",
        "--top-k",
        "--threshold",
        "--format",
        "--output",
        "--shard",
        "--engine",
        "--device",
        "--views",
        "--crops",
        "--save-frames",
        "--annotate",
    ],
    "timeline": [
        "--bouts",
        "--from-list",
        "--model",
        "--window",
        "--step",
        "--min-seconds",
        "--threshold",
        "--format",
        "--output",
        "--picture",
        "--annotate",
        "--device",
    ],
    "merge": ["--overwrite"],
    "pack": [
        "--out",
        "--short-side",
        "--keyframe-every",
        "--quality",
        "--videos-per-shard",
        "--config",
        "--set",
        "--overwrite",
    ],
    "live": [
        "--raw",
        "--model",
        "--window",
        "--keep-state",
        "--top-k",
        "--threshold",
        "--format",
        "--device",
    ],
    "serve": [
        "--model",
        "--host",
        "--port",
        "--token",
        "--allow",
        "--allow-host",
        "--max-upload-mib",
        "--max-waiting",
        "--timeout",
        "--threshold",
        "--device",
    ],
    "review": ["--output", "--model", "--unlabelled", "--port", "--no-browser", "--who", "--device"],
    "demo": ["--keep", "--out", "--device", "--set", "--count", "--size", "--length", "--seed"],
    "cache": ["--clear", "--json"],
    "check": ["--config", "--set", "--format", "--quarantine", "--pictures"],
    "explain": ["--model", "--label", "--maps", "--format", "--out", "--device"],
    "export": ["--model", "--format", "--int8", "--dynamic", "--max-drop", "--data", "--out", "--overwrite"],
    "import": ["--media", "--output", "--fps", "--background", "--subject", "--multi-label", "--group"],
    "export-labels": ["--format", "--output", "--media", "--fps", "--overwrite"],
    "models": ["show"],
    "settings": [],
    "bench": ["decode", "train", "infer", "predict", "start", "gpu"],
    "bench decode": ["--rounds", "--json"],
    "bench train": ["--config", "--set", "--clips", "--rounds", "--device", "--json"],
    "bench infer": ["--model", "--rounds", "--json"],
    "bench start": ["--model", "--rounds", "--json"],
    "bench predict": ["--model", "--rounds", "--device", "--json"],
    "bench gpu": ["--tiny", "--device", "--json"],
}
ESCAPE = "\x1b"


def run(*args, **environment):
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200", **environment})


def spawn(*args, **kwargs):
    """Run the command in a process of its own, for what concerns real streams and imports."""
    environment = os.environ | {"PYTHONPATH": str(Path(vidcli.__file__).parents[1])} | kwargs.pop("env", {})
    command = [sys.executable, "-m", "vidcli", *(str(arg) for arg in args)]
    return subprocess.run(command, text=True, env=environment, timeout=120, check=False, **kwargs)


@pytest.fixture(scope="module")
def workspace(motion_data, small_config, tmp_path_factory):
    """A folder with the data of two classes, a recipe, and two runs; `runs/newest` is the newer."""
    folder = tmp_path_factory.mktemp("cli")
    for split in ("train", "val", "test"):
        for name in ("left", "right"):
            shutil.copytree(motion_data / split / name, folder / "data" / split / name)
    (folder / "recipe.yaml").write_text(config_to_yaml(small_config()))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("older", "newest"):
            result = run(
                "train", "data", "--config", "recipe.yaml", "--device", "cpu", "--out", f"runs/{name}"
            )
            assert result.exit_code == 0, result.stderr
            assert result.stdout == f"runs/{name}\n"
    return folder


@pytest.fixture
def here(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    return workspace


@pytest.fixture
def video(here):
    return Path("data/test/left/left_0001.mp4")


# --- help, versions, lists ------------------------------------------------------------------------


@pytest.mark.parametrize("command", OPTIONS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_every_command(command, flag):
    result = run(*command.split(), flag)
    assert result.exit_code == 0
    for option in OPTIONS[command]:
        assert option in result.stdout


def test_help_lists_every_command_and_nothing_is_missing_here():
    result = run("--help")
    groups = {
        title: re.findall(r"^│ ([a-z][\w-]*) ", body, re.MULTILINE)
        for title, body in re.findall(r"╭─ ([A-Z][a-z ]+) ─+╮\n(.*?)╰", result.stdout, re.DOTALL)
    }
    assert list(groups) == ["Options", "Prepare", "Train", "Use", "Look inside"]
    listed = [name for names in groups.values() for name in names]
    assert sorted(listed) == sorted(command for command in OPTIONS if " " not in command)
    bare = run()
    assert "Usage" in bare.stdout + bare.stderr


def test_help_does_not_import_torch():
    code = "import sys; from vidcli.commands import app; app(['--help'], standalone_mode=False); "
    code += "print([name for name in ('torch', 'av', 'rich.progress', 'pydantic') if name in sys.modules])"
    environment = os.environ | {"PYTHONPATH": str(Path(vidcli.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True, env=environment, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_version_names_libraries_and_devices():
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"vidcli {vidcli.__version__}\n")
    for name in ("Python", "torch", "PyAV", "FFmpeg"):
        assert re.search(rf"^{name} \S+", result.stdout, re.MULTILINE), name
    assert re.search(r"^devices: .*cpu \(\d+ threads\)$", result.stdout, re.MULTILINE)


def test_models_lists_every_backbone_and_head():
    result = run("models")
    assert result.exit_code == 0
    for name in [*backbone_names(), *head_names()]:
        assert re.search(rf"│ {name} +│ +[\d,]+ +│ +[\d.]+ +│", result.stdout), name
    for name in ("dinov3_vit", "siglip", "vjepa2"):
        assert re.search(rf"│ {name} +│ (frames|clips) +│", result.stdout), name


def test_settings_lists_every_setting_and_recipe():
    result = run("settings", COLUMNS="250")
    assert result.exit_code == 0
    for setting in iter_settings():
        assert setting.name in result.stdout
        assert setting.description in result.stdout
    assert "demo" in result.stdout.partition("recipes")[2]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell):
    # Without this variable typer asks the system which shell called it, which here is none.
    undetected = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    result = spawn("--show-completion", shell, capture_output=True, env=undetected)
    assert result.returncode == 0, result.stderr
    assert "_COMPLETE" in result.stdout


def test_completion_completes():
    result = spawn(
        capture_output=True,
        env={"_VIDCLI_COMPLETE": "complete_bash", "COMP_WORDS": "vidcli tr", "COMP_CWORD": "1"},
    )
    assert result.stdout.split() == ["train"]


@pytest.mark.parametrize(
    "args",
    [
        ["trian"],
        ["train", "--sett", "a=b"],
        ["predict"],
        ["predict", "v", "--top-k", "0"],
        ["predict", "v", "--format", "xml"],
        ["demo", "--length", "1"],
    ],
)
def test_usage_errors(args):
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error" in result.stderr


# --- the newest run -------------------------------------------------------------------------------


def test_train_then_bare_eval_and_predict_use_the_newest_run(workspace, tmp_path, monkeypatch):
    shutil.copytree(workspace, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    trained = run("train", "data", "--config", "recipe.yaml", "--device", "cpu", "--set", "model.head=lstm")
    assert trained.exit_code == 0, trained.stderr
    folder = trained.stdout.strip()
    assert re.fullmatch(r"runs/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_compact_cnn_lstm", folder)
    assert "epoch 1/1  loss" in trained.stderr
    assert f"next: vidcli eval --model {folder}" in trained.stderr
    evaluated = run("eval")
    assert evaluated.exit_code == 0, evaluated.stderr
    assert f"{folder}/model.safetensors: 4 videos" in evaluated.stderr
    written = {path.name for path in Path(folder, "eval-test").iterdir()}
    outputs = {"predictions.csv", "eval.json", "confusion.png", "reliability.png"}
    assert written == {*outputs, ".vidcli-eval.json"}
    predicted = run("predict", "data/test/left/left_0001.mp4", "--verbose")
    assert predicted.exit_code == 0, predicted.stderr
    assert f"model: {folder}/model.safetensors" in predicted.stderr
    assert "left_0001.mp4" in predicted.stdout


def test_vidcli_model_comes_before_the_newest_run_and_the_option_before_both(here, video):
    for args, environment, used in [
        ([], {}, "runs/newest"),
        ([], {"VIDCLI_MODEL": "runs/older"}, "runs/older"),
        (["--model", "runs/newest"], {"VIDCLI_MODEL": "runs/older"}, "runs/newest"),
    ]:
        result = run("predict", video, "--verbose", *args, **environment)
        assert f"model: {used}/model.safetensors" in result.stderr


def test_resume_of_the_newest_run(here):
    result = run("train", "--resume", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "going on with runs/newest" in result.stderr
    assert result.stdout == "runs/newest\n"


@pytest.mark.parametrize(
    "extra", [["--set", "train.lr=1"], ["--config", "demo"], ["--out", "x"], ["--dry-run"]]
)
def test_resume_takes_nothing_else(here, extra):
    result = run("train", "--resume", "runs/newest", *extra)
    assert result.exit_code == 2
    assert "--resume takes settings and place from the run" in result.stderr


def test_dry_run_writes_nothing(here):
    before = sorted(here.rglob("*"))
    result = run("train", "data", "--config", "recipe.yaml", "--dry-run", "--set", "train.epochs=7")
    assert result.exit_code == 0, result.stderr
    assert sorted(here.rglob("*")) == before
    assert re.search(r"left +│ +4 │ +2 │ +2 ", result.stdout)
    assert "7 steps" in result.stdout
    assert "epochs: 7" in result.stdout


# --- eval -----------------------------------------------------------------------------------------


def test_eval_json_is_one_line_with_the_promised_keys(here, tmp_path):
    result = run_forked(["-m", "vidcli", "eval", "--json", "--out", tmp_path], cwd=here)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    scores = json.loads(result.stdout)
    promised = {
        "top1", "top1_interval", "top5", "balanced_accuracy", "macro_f1", "num_videos", "num_failed",
        "per_class", "confusion", "baseline_top1", "verdict",
    }  # fmt: skip
    of_one_model = {"loss", "class_names", "calibration", "risk_coverage"}
    about = {"model", "data", "split"}
    details = {"by_group", "by_duration", "by_resolution", "worst", "most_confused"}
    assert set(scores) == promised | of_one_model | details | about
    assert (scores["num_videos"], scores["num_failed"], scores["top5"]) == (4, 0, None)
    assert scores["top1_interval"][0] <= scores["top1"] <= scores["top1_interval"][1]
    assert [row["label"] for row in scores["per_class"]] == scores["class_names"] == ["left", "right"]
    assert sum(map(sum, scores["confusion"])) == 4
    assert json.loads((tmp_path / "eval.json").read_text()) == scores
    for name in ("confusion.png", "reliability.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_eval_shows_metrics_classes_and_confusions(here, tmp_path):
    result = run("eval", "data", "--split", "all", "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    for text in (
        "top-1 accuracy", "95% interval", "balanced accuracy", "macro F1", "precision", "predicted",
        "fitted on 4 validation videos", "risk-coverage", "least decided",
    ):  # fmt: skip
        assert text in result.stdout
    assert re.search(r"videos \(all\) +16\n", result.stdout)


def test_eval_counts_a_broken_video_as_wrong_and_names_it(here, tmp_path):
    shutil.copytree("data/test", tmp_path / "data")
    broken = tmp_path / "data" / "left" / "left_0001.mp4"
    broken.write_bytes(b"no video")
    result = run("eval", tmp_path / "data", "--json", "--out", tmp_path / "out")
    assert result.exit_code == 1
    scores = json.loads(result.stdout)
    assert (scores["num_videos"], scores["num_failed"], sum(map(sum, scores["confusion"]))) == (4, 1, 3)
    assert f"counted as wrong: {broken}: is not a video that can be opened" in result.stderr
    with open(tmp_path / "out" / "predictions.csv", newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["video"] == str(broken))
    assert (row["predicted"], row["correct"], row["left"]) == ("", "false", "")
    assert row["error"].startswith("is not a video")


def test_eval_against_itself_and_against_another_model(here, tmp_path):
    result = run("eval", "--against", "runs/older", "--json", "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    scores = json.loads(result.stdout)
    against = scores["against"]
    assert against["model"] == "runs/older/model.safetensors"
    # Two runs with the same seed and data are the same model.
    assert (against["top1"], against["top1_against"], against["p_value"]) == (scores["top1"],) * 2 + (1.0,)
    assert against["only_model"] == against["only_against"] == 0
    shown = run("eval", "--against", "runs/older", "--out", tmp_path)
    assert "McNemar's test" in shown.stdout
    assert "p = 1, exact" in shown.stdout
    missing = run("eval", "--against", "nowhere", "--out", tmp_path)
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "nowhere: no such run directory" in missing.stderr


def test_eval_views_sweep(here, tmp_path):
    result = run("eval", "--views-sweep", "--json", "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    scores = json.loads(result.stdout)
    rows = scores["views_sweep"]
    assert [(row["views"], row["frames"]) for row in rows] == [(n, 4 * n) for n in (1, 2, 3, 5, 10)]
    assert (rows[0]["top1"], rows[0]["loss"]) == (scores["top1"], scores["loss"])
    assert len({row["loss"] for row in rows}) == 5
    assert all(row["seconds_per_video"] > 0 for row in rows)
    assert "tunes on the test split" in result.stderr
    shown = run("eval", "--views-sweep", "--split", "val", "--out", tmp_path)
    assert "ms a video" in shown.stdout
    assert "tunes on the test split" not in shown.stderr


def test_eval_says_when_a_model_has_learnt_from_these_videos(here, tmp_path):
    clean = run("eval", "data", "--split", "test", "--against", "runs/older", "--out", tmp_path)
    assert "learnt from" not in clean.stderr
    leaky = run("eval", "data", "--split", "all", "--out", tmp_path)
    assert re.search(r"12 of these 16 videos are among those that \S+ learnt from", leaky.stderr)


# --- predict --------------------------------------------------------------------------------------


def test_predict_json(here, video):
    result = run("predict", "data/test", "--format", "json", "--top-k", "1")
    assert result.exit_code == 0
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["video"] for answer in answers] == sorted(
        str(path) for path in Path("data/test").rglob("*.mp4")
    )
    for answer in answers:
        assert set(answer) == {"video", "predictions"}
        (best,) = answer["predictions"]
        assert best["label"] in ("left", "right")
        assert 0.5 <= best["probability"] <= 1


def test_predict_csv(here, video):
    result = run("predict", video, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["rank"] for row in rows] == ["1", "2"]  # all classes there are, though --top-k is 5
    assert {row["label"] for row in rows} == {"left", "right"}
    assert sum(float(row["probability"]) for row in rows) == pytest.approx(1)
    assert {row["video"] for row in rows} == {str(video)}


def test_predict_table_and_output(here, video, tmp_path):
    on_stdout = run("predict", video)
    in_file = run("predict", video, "--output", tmp_path / "table.txt")
    assert in_file.stdout == ""
    assert on_stdout.stdout.split() == (tmp_path / "table.txt").read_text().split()
    for text in (str(video), "label", "probability", "then"):
        assert text in on_stdout.stdout
    assert "then" not in run("predict", video, "--top-k", "1").stdout


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_a_failing_video_is_an_error_and_the_rest_is_finished(here, video, form):
    result = run("predict", "gone.mp4", video, "--format", form)
    assert result.exit_code == 1
    assert str(video) in result.stdout
    assert "no such file" in result.stdout
    assert "gone.mp4: no such file" in result.stderr
    if form == "json":
        assert json.loads(result.stdout.splitlines()[0]) == {"video": "gone.mp4", "error": "no such file"}


# --- streams --------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [["eval", "--json"], ["predict", "data/test"],
                                  ["train", "data", "--config", "recipe.yaml"]])  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_quiet_leaves_stderr_empty_wherever_it_stands(here, tmp_path, args, first):
    place = [] if args[0] == "predict" else ["--out", tmp_path / "out"]
    result = run(*(["--quiet", *args, *place] if first else [*args, *place, "-q"]))
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout != ""


def test_quiet_still_names_errors(here):
    result = run("predict", "data/test", "--model", "nowhere", "--quiet")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: nowhere: no such run directory or model file\n"


def test_shared_options_after_two_dashes_are_file_names(here):
    result = run("predict", "--format", "json", "--", "-q")
    assert json.loads(result.stdout) == {"video": "-q", "error": "no such file"}


def test_traceback_only_on_request(here):
    assert "Traceback" not in run("predict", "v.mp4", "--model", "nowhere").stderr
    result = run("predict", "v.mp4", "--model", "nowhere", "--traceback")
    assert isinstance(result.exception, CheckpointError)  # which python shows with its traceback


@pytest.mark.parametrize("args", [["predict", "data", "--format", "json"], ["eval", "--json"]])
def test_a_reader_that_leaves_early_is_no_error_message(here, tmp_path, args):
    read_end, write_end = os.pipe()
    os.close(read_end)
    place = ["--out", tmp_path] if args[0] == "eval" else []
    with os.fdopen(write_end, "w") as stdout:
        command = ["-m", "vidcli", *args, *place, "--quiet"]
        forked = Forked(command, cwd=here, stdout=stdout, stderr=subprocess.PIPE)
    _, told = forked.communicate()
    assert forked.returncode in (0, 141)
    assert "Traceback" not in told
    assert "BrokenPipe" not in told


def test_head_takes_one_line(here):
    command = f"{sys.executable} -m vidcli predict data --format json -q | head -1"
    environment = os.environ | {"PYTHONPATH": str(Path(vidcli.__file__).parents[1])}
    result = subprocess.run(
        command, shell=True, text=True, capture_output=True, cwd=here, env=environment, check=True
    )
    assert set(json.loads(result.stdout)) == {"video", "predictions"}
    assert result.stderr == ""


def test_colours_only_where_they_are_wanted(here, video):
    assert ESCAPE in run("predict", video, FORCE_COLOR="1").stdout
    plain = run("predict", video, "gone.mp4")
    assert ESCAPE not in plain.stdout + plain.stderr
    bare = run("predict", video, "gone.mp4", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm-256color")
    assert not re.search(r"\x1b\[[\d;]*3\d", bare.stdout + bare.stderr)


def test_no_progress_bars_where_stderr_is_no_terminal(here, tmp_path):
    result = run("train", "data", "--config", "recipe.yaml", "--out", tmp_path / "out")
    assert "clips/s" not in result.stderr
    assert "\r" not in result.stderr


def test_train_shows_speed_and_time_left_in_a_terminal(here, tmp_path):
    result = run(
        "train",
        "data",
        "--config",
        "recipe.yaml",
        "--out",
        tmp_path / "out",
        "--set",
        "train.epochs=3",
        FORCE_COLOR="1",
        TTY_COMPATIBLE="1",
    )
    assert result.exit_code == 0
    assert re.search(r"loss \d\.\d+  acc \d\.\d+  \d+ clips/s  waiting \d+%  \d+ s left", result.stderr)


def test_an_empty_folder_fails_and_the_rest_is_predicted(here, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("predict", tmp_path / "empty", "data/test/left/left_0001.mp4", "--format", "json")
    assert result.exit_code == 1
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first["video"] == str(tmp_path / "empty")
    assert "error" in first
    assert second["predictions"]


def test_control_codes_in_a_name_do_not_reach_the_terminal(here, tmp_path):
    name = tmp_path / "\x1b[31mred.mp4"
    result = run("predict", name)
    assert result.exit_code == 1
    assert "\x1b" not in result.stdout + result.stderr
    assert "\\x1b[31mred.mp4" in result.stderr


def test_bench_decode_measures_and_checks_every_frame(here, video):
    result = run("bench", "decode", video, "gone.mp4", "--rounds", "1", "--json")
    assert result.exit_code == 1  # one file is not there
    *rows, summary = (json.loads(line) for line in result.stdout.splitlines())
    assert [row["size"] for row in rows if "size" in row] == ["128", "full"]
    assert rows[-1] == {"video": "gone.mp4", "error": "no such file"}
    assert summary["exact"] is True
    assert set(summary) >= {"geomean_ratio", "geomean_full", "geomean_parallel", "worst_ratio", "exact"}
    shown = run("bench", "decode", video, "--rounds", "1")
    assert shown.exit_code == 0, shown.stderr
    assert "left_0001.mp4" in shown.stdout


@pytest.mark.parametrize(
    ("words", "commands", "num_groups"),
    [(["-q", "predict", "train"], ["predict"], 0), (["export-labels"], ["export_labels"], 0)],
)
def test_one_command_is_built_where_one_is_named(
    words: list[str], commands: list[str], num_groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
    monkeypatch.setattr(app, "registered_groups", list(app.registered_groups))
    _keep_named(words)
    assert [one.callback.__name__ for one in app.registered_commands if one.callback] == commands
    assert len(app.registered_groups) == num_groups


@pytest.mark.parametrize("words", [[], ["--help"], ["bench", "infer"], ["predct"], ["--", "x"]])
def test_all_commands_are_built_where_none_is_named(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = app.registered_commands, app.registered_groups
    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
    _keep_named(words)
    assert (app.registered_commands, app.registered_groups) == before
