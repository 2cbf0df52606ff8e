"""Paths that are no files of their own: addresses, and members of tar files.

    s3://bucket/day/a.mp4             an address
    shards/000000.tar/a.mp4           a member of a local tar file
    s3://bucket/000000.tar/a.mp4      a member of a tar file that lies afar

Shown, an address has no password and no query that may be a signature. The whole address is asked for by
name, so that no message, manifest or model file holds a secret by accident.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vidcli.errors import ConfigError, DataError

_LIBRARIES = {
    "s3": ("fsspec", "s3fs"),
    "gs": ("fsspec", "gcsfs"),
    "az": ("fsspec", "adlfs"),
    "hf": ("fsspec", "huggingface_hub"),
    "sftp": ("fsspec", "sshfs"),
    "https": ("fsspec", "aiohttp"),
}
SCHEMES = tuple(_LIBRARIES)
_TAR_SUFFIX = ".tar"

ADDRESS_PATTERN = f"^({'|'.join(SCHEMES)})://"
"""What whole addresses begin with, as a regular expression that Arrow takes, too."""
# A shell or `Path` may have made one slash of two.
_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)}):/{{1,2}}(?=[^/])")
_USER = re.compile(r"^([^@/:]*):[^@/]*@")
_SECRET = re.compile(r"(?i)sig|token|key|auth|cred|secret|pass|policy|expires|code|session|jwt|hmac")

# The class of this system's paths; before Python 3.12 `Path` itself cannot be the base of a class.
if TYPE_CHECKING:
    _SystemPath = Path
else:
    _SystemPath = type(Path())


class StoredPath(_SystemPath):
    """A path whose bytes are read by `sources`: an address, or a member of a tar file.

    As text, an address has no secrets. Whether something lies afar is not asked before it is opened, so
    that a million addresses cost no million requests.
    """

    @property
    def address(self) -> str:
        """The whole address, with secrets; of a local path, the path."""
        return f"{self.parts[0]}//{'/'.join(self.parts[1:])}" if is_afar(self) else super().__str__()

    def __str__(self) -> str:
        return without_secrets(self.address) if is_afar(self) else super().__str__()

    def __fspath__(self) -> str:
        return str(self)

    # Secrets may tell two videos apart.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Path) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    @property
    def name(self) -> str:
        """The last part, without a query."""
        return super().name.partition("?")[0] if is_afar(self) else super().name

    @property
    def suffix(self) -> str:
        """The suffix of the last part, without a query."""
        return os.path.splitext(self.name)[1]

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return os.path.splitext(self.name)[0]

    def is_absolute(self) -> bool:
        """Tell whether the path depends on no working folder, as addresses do."""
        return is_afar(self) or super().is_absolute()

    def absolute(self) -> StoredPath:
        """Return the path from the root of the file system; an address as it is."""
        return self if is_afar(self) else StoredPath(os.path.abspath(self))

    def resolve(self, strict: bool = False) -> StoredPath:
        """Return the path without links; an address as it is."""
        return self if is_afar(self) else StoredPath(os.path.realpath(self, strict=strict))

    def exists(self, **_: bool) -> bool:
        """Tell whether a tar file is there; what lies afar counts as there until it is opened."""
        return is_afar(self) or os.path.isfile(split_member(self)[0])

    def is_file(self, **_: bool) -> bool:
        """Tell the same as `exists`."""
        return self.exists()

    def is_dir(self, **_: bool) -> bool:
        """Tell whether it is a local folder."""
        return False if is_afar(self) else os.path.isdir(self)


def path_of(text: str | os.PathLike[str], folder: Path | None = None) -> Path:
    """Return the path that a person or a manifest names: an address, a member of a tar file, or a file.

    Args:
        text: what is named.
        folder: where relative paths start; None is the working folder.

    Raises:
        ConfigError: an address, and the extra `remote` is not installed.
        DataError: an address that cannot be kept as it is.
    """
    if isinstance(text, StoredPath):
        return text
    text = os.fspath(text)
    if ":/" in text and (found := _ADDRESS.match(text)) is not None:
        rest = text[found.end() :]
        place = rest.partition("?")[0]
        if "//" in rest or "/./" in f"/{place}/" or "/../" in f"/{place}/":
            raise DataError(
                f"{without_secrets(text)}: an address with nothing, '.' or '..' between two slashes; "
                "expected a name there; rename what it names, or write %2F for a slash of a query"
            )
        require_extra(found[1])
        return StoredPath(f"{found[1]}:/{rest}")
    path = Path(text) if folder is None else folder / text
    return StoredPath(path) if f"{_TAR_SUFFIX}{os.sep}" in text or isinstance(folder, StoredPath) else path


@lru_cache
def require_extra(scheme: str) -> None:
    """Refuse addresses of a scheme whose libraries are not installed.

    Raises:
        ConfigError: names the extra that has them.
    """
    missing = [name for name in _LIBRARIES[scheme] if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{scheme}:// needs {' and '.join(missing)}, which is not installed: pip install 'vidcli[remote]'"
        )


def text_of(path: str | os.PathLike[str]) -> str:
    """Return a path as `path_of` reads it back, with the secrets of an address."""
    return path.address if isinstance(path, StoredPath) else os.fspath(path)


def is_afar(path: object) -> bool:
    """Tell whether a path is an address."""
    return isinstance(path, StoredPath) and path.parts[:1] != () and path.parts[0][:-1] in SCHEMES


def names_afar(text: str) -> bool:
    """Tell whether text is an address."""
    return ":/" in text and _ADDRESS.match(text) is not None


def without_secrets(text: str) -> str:
    """Return an address without its password, and without its query where that may hold a signature.

    Args:
        text: an address; other text is returned as it is.
    """
    has_any = ":/" in text and ("@" in text or "?" in text)  # asked of millions, nearly all without
    found = _ADDRESS.match(text) if has_any else None
    if found is None:
        return text
    rest, mark, query = _USER.sub(r"\1@", text[found.end() :]).partition("?")
    if any(_SECRET.search(part.partition("=")[0]) for part in query.split("&")):
        query = "…"
    return f"{found[1]}://{rest}{mark}{query}"


def split_member(path: Path) -> tuple[Path, str | None]:
    """Return the tar file that a path leads into, and the member's name in it; None where it leads into none.

    Args:
        path: such as `shards/000000.tar/a.mp4`.
    """
    parts = path.parts
    for place, part in enumerate(parts[:-1], 1):
        if part.endswith(_TAR_SUFFIX) and part != _TAR_SUFFIX:
            tar = type(path)(*parts[:place])
            if is_afar(path) or not os.path.isdir(tar):
                return tar, "/".join(parts[place:])
    return path, None
