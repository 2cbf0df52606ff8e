"""Videos and models at Google, Azure and Hugging Face, from servers that fail now and then."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from tests.storage.clouds import (
    KEY,
    TOKEN,
    AmazonHandler,
    AzureHandler,
    Cloud,
    GoogleHandler,
    HuggingFaceHandler,
    serving,
)
from tests.storage.conftest import assert_listed, assert_same
from vidcli.commands import app
from vidcli.data.outputs_afar import open_output
from vidcli.errors import OutputError, WriteError
from vidcli.storage import connections
from vidcli.storage.addresses import path_of
from vidcli.storage.blocks import traffic
from vidcli.storage.connections import StorageError
from vidcli.storage.sources import open_source

pytest.importorskip("fsspec")
_LIBRARIES = {"gs": "gcsfs", "az": "adlfs", "hf": "huggingface_hub"}
_HANDLERS = {"gs": GoogleHandler, "az": AzureHandler, "hf": HuggingFaceHandler}


class Stored(NamedTuple):
    """A server, and where in it files are put."""

    cloud: Cloud
    scheme: str
    container: str

    @property
    def address(self) -> str:
        return f"{self.scheme}://{self.container}"

    def put(self, folder: Path, name: str) -> str:
        """Store the files of a folder, and return their address."""
        for path in folder.rglob("*.*"):
            whole = f"{self.container}/{name}/{path.relative_to(folder).as_posix()}"
            self.cloud.files[whole] = path.read_bytes()
        return f"{self.address}/{name}"


@pytest.fixture(params=_LIBRARIES)
def stored(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stored]:
    scheme = request.param
    pytest.importorskip(_LIBRARIES[scheme], reason=f"{scheme}:// needs {_LIBRARIES[scheme]} (extra `remote`)")
    with serving(_HANDLERS[scheme]) as cloud:
        if scheme == "gs":
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", cloud.address)
            # Whoever would tell the role of the machine is asked for it.
            monkeypatch.setenv("GCE_METADATA_IP", cloud.address.removeprefix("http://"))
        elif scheme == "az":
            about = f"DefaultEndpointsProtocol=http;AccountName=me;AccountKey={KEY};"
            monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"{about}BlobEndpoint={cloud.address}/me;")
        else:
            from huggingface_hub import constants
            from huggingface_hub.utils import logging as hub_logging

            hub_logging.set_verbosity_warning()
            # HF_ENDPOINT, which the library reads when it is imported.
            monkeypatch.setattr(constants, "ENDPOINT", cloud.address)
            pattern = f"{cloud.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
            monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", pattern)
            monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield Stored(cloud, scheme, "datasets/ORG/NAME" if scheme == "hf" else "videos")


@contextmanager
def printing_logs() -> Iterator[None]:
    """Take away pytest's handlers of what is logged: without any, Python prints warnings and errors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])
        yield


def test_frames_and_listings_are_those_of_a_folder(stored: Stored, folder: Path) -> None:
    address = stored.put(folder, "day")
    assert_same(folder, address)
    assert_listed(address)


def test_only_the_wanted_range_is_fetched(stored: Stored) -> None:
    content = bytes(range(256)) * (1 << 13)
    stored.cloud.files[f"{stored.container}/a.mp4"] = content
    with open_source(path_of(f"{stored.address}/a.mp4")) as file:
        file.seek(1_000_000)
        assert file.read(300) == content[1_000_000:1_000_300]
    assert stored.cloud.num_sent == traffic.num_bytes <= 1 << 17
    assert len(stored.cloud.requests) <= 6


@pytest.mark.parametrize("fault", ["503", "cut"])
def test_what_fails_once_is_asked_again(
    stored: Stored, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stored.cloud.files[f"{stored.container}/a.mp4"] = b"0123456789" * 100
    stored.cloud.faults.append(fault)
    with printing_logs(), open_source(path_of(f"{stored.address}/a.mp4")) as file:
        assert file.read(10) == b"0123456789"
    assert not stored.cloud.faults
    assert capfd.readouterr().err == ""  # nor does a library tell of it
    if stored.scheme == "hf":  # whose library printed to where standard error was when it was imported
        from huggingface_hub.utils import logging as hub_logging

        assert hub_logging.get_verbosity() == logging.ERROR


@pytest.mark.parametrize(
    ("fault", "told"), [("503", "the server answers HTTP 503"), ("slow", r"no answer in 0\.3 s")]
)
def test_what_fails_again_and_again_is_told(
    stored: Stored, fault: str, told: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    num_tries = 4
    if stored.scheme == "hf":  # whose library tries six times by itself
        if fault == "slow":
            pytest.skip("its library waits for 10 s each time")
        from huggingface_hub.utils import _http

        monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
        num_tries = 2 * 6
    monkeypatch.setattr(connections, "_PATIENCE_SECONDS", 0.3)
    stored.cloud.files[f"{stored.container}/a.mp4"] = b"0123456789" * 100
    stored.cloud.faults.extend([fault] * 20)
    file = open_source(path_of(f"{stored.address}/a.mp4"))
    with printing_logs(), file, pytest.raises(StorageError, match=told):
        file.read(10)
    assert 20 - len(stored.cloud.faults) == num_tries
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("fault", "told"), [("503", "the server answers HTTP 503"), ("slow", r"no answer in 0\.3 s")]
)
def test_amazon_is_asked_four_times(fault: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    monkeypatch.setattr(connections, "_PATIENCE_SECONDS", 0.3)
    with serving(AmazonHandler) as cloud:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.address)
        cloud.files["videos/a.mp4"] = b"0123456789" * 100
        cloud.faults.extend([fault] * 3)
        with open_source(path_of("s3://videos/a.mp4")) as file:
            assert file.read(10) == b"0123456789"
        cloud.files["videos/b.mp4"] = b"0123456789" * 100
        cloud.faults.extend([fault] * 20)
        file = open_source(path_of("s3://videos/b.mp4"))
        with file, pytest.raises(StorageError, match=told):
            file.read(10)
    assert len(cloud.faults) == 16


def test_a_refusal_is_told_at_once_and_tells_no_secret(
    stored: Stored, capfd: pytest.CaptureFixture[str]
) -> None:
    stored.cloud.status = 403
    refused = r"^access is refused \(HTTP 403\); .*guide on remote videos$"
    with printing_logs(), pytest.raises(StorageError, match=refused) as caught:
        open_source(path_of(f"{stored.address}/a.mp4"))
    told = str(caught.value) + "".join(capfd.readouterr())
    assert KEY not in told
    assert TOKEN not in told
    assert stored.cloud.address not in told
    assert len(stored.cloud.requests) <= 4


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # as adlfs does
@pytest.mark.parametrize("size", [0, 7, 6 << 20])
def test_files_are_written_whole(stored: Stored, size: int) -> None:
    if stored.scheme == "hf":
        pytest.skip("a file on the hub is a commit, which vidcli does not make")
    output = open_output("--output", path_of(f"{stored.address}/out/a.bin"))
    output.write(lambda path: path.write_bytes(bytes(size)))
    assert stored.cloud.files == {f"{stored.container}/out/a.bin": bytes(size)}
    if size:
        with pytest.raises(OutputError, match=r"a\.bin: exists"):
            open_output("--output", output.named)
    open_output("--output", output.named, overwrite=True).write_text("new")
    assert stored.cloud.files == {f"{stored.container}/out/a.bin": b"new"}


def test_a_place_where_nothing_may_be_written_is_told_before_the_work(stored: Stored) -> None:
    if stored.scheme == "hf":
        pytest.skip("a file on the hub is a commit, which vidcli does not make")
    stored.cloud.is_read_only = True
    with pytest.raises(WriteError, match=r"a\.bin: cannot be written \(access is refused \(HTTP 403\)"):
        open_output("--output", path_of(f"{stored.address}/out/a.bin"))


def test_videos_and_a_model_are_used_where_they_lie(
    stored: Stored, two_classes: Path, quick_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    videos = stored.put(two_classes / "test", "test")
    model = stored.put(quick_run, "run")
    results = []
    for data, network in ((two_classes / "test", quick_run), (videos, model)):
        done = CliRunner().invoke(app, ["predict", str(data), "--model", str(network), "--format", "json"])
        assert done.exit_code == 0, done.stderr
        results.append([json.loads(line) for line in done.stdout.splitlines()])
    assert [row["video"] for row in results[1]] == [
        row["video"].replace(str(two_classes / "test"), videos) for row in results[0]
    ]
    assert [row["predictions"] for row in results[1]] == [row["predictions"] for row in results[0]]
    told = done.stderr + "".join(capfd.readouterr())
    assert "fetched" in done.stderr
    assert not any(secret in told for secret in (KEY, TOKEN, "0123abc"))
