"""Commands on videos, manifests and models that lie afar."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.conftest import Run
from tests.forks import Forked
from tests.storage.conftest import WebServer
from vidcli.commands import app
from vidcli.config import Config
from vidcli.data.manifest import load_items, manifest_text, read_data
from vidcli.storage import addresses
from vidcli.storage.blocks import traffic

pytest.importorskip("aiohttp")


def vidcli(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def trained(small_config: Callable[..., Config], train_run: Callable[..., Run], pair_data: Path) -> Path:
    return train_run(small_config(), pair_data).folder


@pytest.fixture
def data(web: WebServer, pair_data: Path) -> WebServer:
    """The videos, and a manifest of them whose paths are relative, over HTTPS."""
    rows = ["path,label,split"]
    for path in sorted(pair_data.rglob("*.mp4")):
        name = path.relative_to(pair_data).as_posix()
        web.files[f"/{name}"] = path.read_bytes()
        split, label, _ = name.split("/")
        rows.append(f"{name},{label},{split}")
    web.files["/data.csv"] = "\n".join(rows).encode()
    return web


def test_predict_answers_as_for_local_files(data: WebServer, trained: Path, pair_data: Path) -> None:
    names = ["test/left", "test/right"]
    videos = [path for name in names for path in sorted((pair_data / name).iterdir())]
    far = [data.path(path.relative_to(pair_data).as_posix()) for path in videos]
    data.files["/cut.mp4"] = b""
    near = vidcli("predict", *videos, "--model", trained, "--format", "json")
    told = vidcli("predict", *far, data.path("gone.mp4"), "--model", trained, "--format", "json")
    rows = [json.loads(line) for line in told.stdout.splitlines()]
    assert [row["predictions"] for row in rows[:-1]] == [
        json.loads(line)["predictions"] for line in near.stdout.splitlines()
    ]
    assert rows[0]["video"] == str(far[0])
    assert rows[-1]["error"] == "no such file"
    assert (near.exit_code, told.exit_code) == (0, 1)
    assert f"in {traffic.num_requests} requests" in told.stderr
    assert "fetched" not in near.stderr


def test_train_and_eval_read_a_manifest_afar(
    data: WebServer, small_config: Callable[..., Config], train_run: Callable[..., Run], pair_data: Path
) -> None:
    local = train_run(small_config(), pair_data, "near")
    afar = train_run(small_config(), data.path("data.csv"), "far")
    same = [(row.train_loss, row.val_loss) for row in afar.rows]
    assert same == [(row.train_loss, row.val_loss) for row in local.rows]
    assert f"{data.address}/train/left/" in (afar.folder / "splits.csv").read_text()
    scores = [json.loads(vidcli("eval", "--model", run.folder, "--json").stdout) for run in (local, afar)]
    assert scores[0]["top1"] == scores[1]["top1"]
    given = vidcli("eval", data.path("data.csv"), "--model", local.folder, "--json")
    assert json.loads(given.stdout)["confusion"] == scores[0]["confusion"]


def test_a_model_is_fetched_once(data: WebServer, trained: Path, pair_data: Path) -> None:
    for name in ("model.safetensors", "config.yaml"):
        data.files[f"/run/{name}"] = (trained / name).read_bytes()
    video = next((pair_data / "test").rglob("*.mp4"))
    answers = {
        vidcli("predict", video, "--model", model, "--format", "json").stdout
        for model in (trained, data.path("run"), data.path("run/model.safetensors"))
    }
    assert len(answers) == 1
    num_bytes = traffic.num_bytes
    vidcli("predict", video, "--model", data.path("run"))
    assert traffic.num_bytes == num_bytes
    missing = vidcli("predict", video, "--model", data.path("none.safetensors"))
    assert (missing.exit_code, "none.safetensors: no such file" in missing.stderr) == (1, True)


def test_check_opens_every_video(data: WebServer) -> None:
    data.files["/test/left/" + next(name for name in data.files if "test/left" in name)[11:]] = b"no video"
    told = vidcli("check", data.path("data.csv"), "--format", "json")
    assert told.exit_code == 1
    assert sum('"error"' in line for line in told.stdout.splitlines()) >= 1


def test_secrets_are_in_no_output(data: WebServer, trained: Path) -> None:
    name = next(name for name in data.files if name.startswith("/test/left"))
    secret = data.address.replace("https://", "https://me:hunter2@") + name + "?sig=0123abc"
    gone = secret.replace("left_", "gone_")
    told = vidcli("predict", secret, gone, "--model", trained, "--format", "json", "-v")
    text = told.stdout + told.stderr
    assert [("error" in json.loads(line)) for line in told.stdout.splitlines()] == [False, True]
    assert "hunter2" not in text
    assert "0123abc" not in text


def test_a_manifest_of_signed_addresses_is_written_without_signatures(tmp_path: Path) -> None:
    rows = [f"https://me:hunter2@h.org/{name}.mp4?sig=0123abc,x,train" for name in "abcd"]
    (tmp_path / "data.csv").write_text("\n".join(["path,label,split", *rows, "../b.mp4,x,train"]))
    items = load_items(tmp_path / "data.csv", missing_ok=True)
    assert addresses.text_of(items[0].path) == "https://me:hunter2@h.org/a.mp4?sig=0123abc"
    written = manifest_text(items)
    assert "hunter2" not in written
    assert "0123abc" not in written
    assert "https://me@h.org/d.mp4?…,x,train" in written


def test_a_million_addresses_are_not_asked_for(tmp_path: Path) -> None:
    rows = "\n".join(f"s3://bucket/day/{number:07}.mp4,a,train" for number in range(100_000))
    (tmp_path / "data.csv").write_text(f"path,label,split\n{rows}\n")
    listing = read_data(tmp_path / "data.csv")
    assert len(listing.items) == 100_000
    assert str(listing.items[99_999].path) == "s3://bucket/day/0099999.mp4"
    assert traffic.num_requests == 0


def test_a_missing_extra_is_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(addresses, "find_spec", lambda name: None if name == "s3fs" else object())
    addresses.require_extra.cache_clear()
    (tmp_path / "data.csv").write_text("path,label\ns3://bucket/a.mp4,a\ns3://bucket/b.mp4,b\n")
    for arguments in (["predict", "s3://bucket/a.mp4"], ["check", str(tmp_path / "data.csv")]):
        told = vidcli(*arguments)
        assert told.exit_code == 2
        assert told.stderr.count("s3:// needs s3fs") == 1
        assert "pip install 'vidcli[remote]'" in told.stderr
    addresses.require_extra.cache_clear()


def test_shards_are_read_where_they_lie(
    web: WebServer,
    small_config: Callable[..., Config],
    train_run: Callable[..., Run],
    tmp_path: Path,
    pair_data: Path,
) -> None:
    packed = vidcli("pack", pair_data, "-o", tmp_path / "shards", "--videos-per-shard", 6)
    assert packed.exit_code == 0, packed.stderr
    for tar in (tmp_path / "shards").glob("*.tar"):
        web.files[f"/{tar.name}"] = tar.read_bytes()
    pattern = f"{web.address}/{{000000..000002}}.tar"
    near = train_run(small_config(data__cache="off"), tmp_path / "shards", "near")
    far = train_run(small_config(data__cache="off"), Path(pattern), "far")
    assert [row.train_loss for row in far.rows] == [row.train_loss for row in near.rows]
    assert f"{web.address}/000001.tar/" in (far.folder / "splits.csv").read_text()
    assert traffic.num_bytes <= sum(map(len, web.files.values()))
    (one,) = vidcli(
        "predict", f"{web.address}/000000.tar/000003.mp4", "--model", near.folder, "--format", "json"
    ).stdout.splitlines()
    assert "predictions" in json.loads(one)


def test_ctrl_c_ends_what_is_tried_again_and_again(
    data: WebServer, trained: Path, certificate: tuple[Path, Path]
) -> None:
    data.faults.extend(["503"] * 99)
    videos = [str(data.path(name[1:])) for name in data.files if name.startswith("/train")]
    with Forked(["-m", "vidcli", "predict", *videos, "--model", trained]) as process:
        for _ in range(6000):
            if sum(method == "GET" for method, _, _ in data.requests) >= 4:
                break
            time.sleep(0.01)
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert time.monotonic() - asked < 15
