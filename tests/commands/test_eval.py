"""`vidcli eval` in several processes, and where it leaves what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.together import start_together
from vidcli.artifacts.run_folder import EXPORT_FILE
from vidcli.commands.app import app
from vidcli.commands.eval import check_sweep
from vidcli.errors import ConfigError, PeerError
from vidcli.evaluate.measurement import evaluation_folder
from vidcli.predict import Predictor
from vidcli.runtime.processes import Group

pytestmark = pytest.mark.usefixtures("no_drawing")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(quick_run):
    return quick_run


@pytest.fixture(scope="module")
def data(motion_data, tmp_path_factory):
    """Seven test videos, of which one is broken and one comes twice as a span."""
    folder = tmp_path_factory.mktemp("some")
    videos = sorted((motion_data / "test").rglob("*.mp4"))[:6]
    (folder / "broken.mp4").write_bytes(b"no video")
    rows = ["path,label,split,start,end", *(f"{v},{v.parent.name},test,," for v in videos)]
    rows += [
        f"{videos[0]},{videos[0].parent.name},test,0.1,0.5",
        f"broken.mp4,{videos[0].parent.name},test,,",
    ]
    (folder / "some.csv").write_text("\n".join(rows))
    return folder / "some.csv"


def evaluate(*args):
    return CliRunner().invoke(app, ["eval", *map(str, args), "--device", "cpu"])


def test_three_processes_tell_what_one_tells(run, data, tmp_path):
    arguments = (data, "--model", run, "--json", "--against", run)
    command = ("eval", *arguments, "--out", tmp_path / "together", "--device", "cpu")
    together = start_together(command, tmp_path, 3)
    alone = evaluate(*arguments, "--out", tmp_path / "alone")
    assert alone.exit_code == 1, alone.stderr  # of the broken video
    codes, out, err = together.finish()
    assert codes == [1, 1, 1], err
    assert out == alone.stdout  # once, and by the main process alone
    assert json.loads(out)["num_videos"] == 8
    for name in ("predictions.csv", "eval.json"):
        assert (tmp_path / "together" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert err.count("3 processes evaluate together") == 1
    assert err.count("counted as wrong") == 1


def test_fewer_videos_than_processes(run, data, tmp_path):
    one = tmp_path / "one.csv"
    one.write_text("\n".join(data.read_text().splitlines()[:2]))
    command = ("eval", one, "--model", run, "--json", "--out", tmp_path / "out", "--device", "cpu")
    codes, out, err = start_together(command, tmp_path, 2).finish()
    assert codes == [0, 0], err
    assert json.loads(out)["num_videos"] == 1


def test_a_sweep_is_of_one_process(run):
    with pytest.raises(ConfigError, match="times one video after the other; run it in one process"):
        check_sweep(Predictor.load(run, CPU), Group(rank=0, size=2))
    with pytest.raises(PeerError):  # the main process has said so
        check_sweep(Predictor.load(run, CPU), Group(rank=1, size=2))


def test_a_published_model_writes_nothing_but_where_it_is_told(monkeypatch, run, data, in_tmp_path):
    # The name stands for a model with the classes of these videos: what it knows is not the point here.
    predictor = Predictor.load(run, CPU)
    monkeypatch.setattr(Predictor, "load", lambda *args: predictor)
    (in_tmp_path / "splits.csv").write_text("path,label,split\na.mp4,left,test\n")  # of something else
    result = evaluate(data, "--model", "kinetics400")
    assert result.exit_code == 1  # of the broken video
    assert "nothing written: a published model has no folder; --out DIR keeps all of this" in result.stderr
    assert sorted(path.name for path in in_tmp_path.iterdir()) == ["splits.csv"]
    assert evaluate(data, "--model", "kinetics400", "--out", "there").exit_code == 1
    assert (in_tmp_path / "there/eval.json").is_file()
    without = evaluate("--model", "kinetics400")
    assert without.exit_code == 1
    assert "--model kinetics400: was published without videos; name the DATA" in without.stderr


def test_what_a_model_is_decides_where_its_evaluation_goes(run, in_tmp_path):
    assert evaluation_folder(run / "model.safetensors", "val") == run / "eval-val"
    exported = in_tmp_path / "run" / "export-onnx"
    exported.mkdir(parents=True)
    (exported / EXPORT_FILE).write_text("{}")
    # Not the run's own place, where `report` looks for what the run's own model said.
    assert evaluation_folder(exported, "test") == exported / "eval-test"
    (in_tmp_path / "kinetics400").mkdir()  # a data set that is called as the model is
    assert evaluation_folder(Path("kinetics400"), "test") is None
