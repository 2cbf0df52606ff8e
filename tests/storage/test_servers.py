"""The same frames and the same model from real servers: S3 (moto), OpenSSH, nginx."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.storage.conftest import Bucket, assert_listed, assert_same
from vidcli.data.outputs_afar import open_output
from vidcli.errors import OutputError, VideoError, WriteError
from vidcli.storage.addresses import StoredPath, path_of
from vidcli.storage.connections import StorageError
from vidcli.storage.file_systems import list_afar
from vidcli.storage.sources import open_source
from vidcli.video import decode_frames

pytest.importorskip("fsspec")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """Start a server and wait until it listens."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            for _ in range(200):
                with socket.socket() as one:
                    if one.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if process.poll() is not None:
                    assert process.stderr is not None
                    pytest.skip(f"{command[0]} does not start: {process.stderr.read()}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


@pytest.fixture
def bucket(s3: Bucket, folder: Path) -> str:
    """The address of a folder of an S3 bucket that holds the videos."""
    return s3.put_folder(folder, "day")


def test_s3(bucket: str, folder: Path) -> None:
    assert_same(folder, bucket)
    assert_listed(bucket)


def test_s3_without_credentials_says_where_they_are_looked_for(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(VideoError, match=r"access is refused .*guide on remote videos"):
        decode_frames(path_of(f"{bucket}/a.mp4"))


@pytest.fixture
def ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """OpenSSH's server with its sftp-server, which knows the user's key and whose key is known."""
    pytest.importorskip("sshfs")
    sshd, sftp = shutil.which("sshd", path="/usr/sbin:/usr/bin"), Path("/usr/lib/openssh/sftp-server")
    if sshd is None or not sftp.exists() or not Path("/run/sshd").is_dir():
        pytest.skip("there is no OpenSSH server")
    home, port = tmp_path / "home", free_port()
    keys = home / ".ssh"
    keys.mkdir(parents=True, mode=0o700)
    for name in ("host", "id_ed25519"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
    shutil.copy(keys / "id_ed25519.pub", keys / "authorized_keys")
    public = (keys / "host.pub").read_text().split()[:2]
    (keys / "known_hosts").write_text(f"[localhost]:{port} {' '.join(public)}\n")
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": keys / "host",
        "UsePAM": "no",
        "AuthorizedKeysFile": keys / "authorized_keys",
        "PasswordAuthentication": "no",
        "StrictModes": "no",
        "PidFile": "none",
        "Subsystem": f"sftp {sftp}",
    }
    (home / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    monkeypatch.setenv("HOME", str(home))
    with running([sshd, "-D", "-e", "-f", str(home / "sshd_config")], port):
        yield f"sftp://{getpass.getuser()}@localhost:{port}"


def test_sftp(ssh: str, folder: Path) -> None:
    assert_same(folder, f"{ssh}{folder}")
    assert_listed(f"{ssh}{folder}")


def test_files_are_written_over_sftp(ssh: str, tmp_path: Path) -> None:
    place = path_of(f"{ssh}{tmp_path}/new/out/r.csv")
    open_output("--output", place).write_text("a")
    with pytest.raises(OutputError, match=r"r\.csv: exists; choose another file"):
        open_output("--output", place)
    open_output("--output", place, overwrite=True).write_text("b")
    written = list((tmp_path / "new" / "out").iterdir())
    assert [(path.name, path.read_text()) for path in written] == [("r.csv", "b")]


def test_sftp_says_where_it_cannot_write(ssh: str) -> None:
    with pytest.raises(WriteError, match=r"r\.csv: there is no such bucket, container or folder"):
        open_output("--output", path_of(f"{ssh}/proc/none/r.csv"))


def test_sftp_goes_on_with_a_new_connection(ssh: str, folder: Path) -> None:
    path = path_of(f"{ssh}{folder}/a.mp4")
    content = (folder / "a.mp4").read_bytes()
    with open_source(path) as file:
        assert isinstance(path, StoredPath)
        from vidcli.storage import connections

        (system,) = connections._systems.values()
        system.client.abort()
        assert file.read() == content


def test_sftp_refuses_a_server_that_is_not_known(ssh: str, folder: Path) -> None:
    (Path(os.environ["HOME"]) / ".ssh" / "known_hosts").write_text("")
    with pytest.raises(VideoError, match=r"access is refused .*[Hh]ost key"):
        decode_frames(path_of(f"{ssh}{folder}/a.mp4"))


def test_nginx(
    folder: Path, tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if nginx is None:
        pytest.skip("there is no nginx")
    port = free_port()
    settings = tmp_path / "nginx.conf"
    settings.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr; master_process off;\n"
        "events {}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}; proxy_temp_path {tmp_path};\n"
        f"fastcgi_temp_path {tmp_path}; uwsgi_temp_path {tmp_path}; scgi_temp_path {tmp_path};\n"
        f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certificate[0]};\n"
        f"ssl_certificate_key {certificate[1]}; root {folder}; }} }}\n"
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with running([nginx, "-c", str(settings)], port):
        assert_same(folder, f"https://localhost:{port}")
        with pytest.raises(StorageError, match="cannot be listed over https"):
            list_afar(path_of(f"https://localhost:{port}"))  # type: ignore[arg-type]
