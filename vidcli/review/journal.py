"""Everything that is said of clips, on disk before it counts.

Beside the manifest lies its journal, a line of JSON for each thing said. A line is added and flushed to the
disk, then the manifest is written anew, whole; only then does the page hear that it is saved. A process that
is killed leaves at most half a line, which was never called saved, and a manifest that is one line behind,
which the next start brings up to date. One process at a time holds the journal.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vidcli.data.manifest import manifest_text
from vidcli.errors import DataError, OutputError, WriteError
from vidcli.names import visible
from vidcli.review.clips import ClipList, Verdict, labelled_items, parse_verdict
from vidcli.runtime.files import read_regular, write_text
from vidcli.runtime.locks import FileLock

_HEADER = {"vidcli": "review", "version": 1}
_MAX_BYTES = 2**30


class StaleVersion(Exception):
    """A clip was judged by somebody else since the page last saw it."""


class Journal:
    """What is said of the clips of one data set, in memory and on disk.

    Attributes:
        manifest: the file that `vidcli train` reads.
        revision: number of things said so far.
    """

    def __init__(self, clips: ClipList, manifest: Path, who: str | None = None) -> None:
        """Take up an earlier journal, or begin one.

        Args:
            clips: of the data set.
            manifest: file that is written; the journal is beside it, with the suffix `.jsonl`.
            who: noted with each thing said; None notes nobody.

        Raises:
            OutputError: another process reviews into this manifest, or the file there is not ours.
            DataError: the journal is damaged.
            WriteError: it cannot be written.
        """
        self.manifest, self._clips, self._who = manifest, clips, who
        self.path = manifest.with_suffix(".jsonl")
        self.revision = 0
        self._verdicts = [clips.given(position) for position in range(len(clips.items))]
        self._versions = [0] * len(self._verdicts)
        self._changed_at = [0] * len(self._verdicts)
        self._lock = threading.Lock()
        self._refuse_strangers()
        self._file_lock = FileLock(self.path)
        try:
            if not self._file_lock.acquire():
                raise OutputError(
                    f"{self.path}: another vidcli review writes to it; use that page, or give -o another file"
                )
            with ExitStack() as undo:
                undo.callback(self._file_lock.release)
                self._replay()
                self._write_manifest(self._text())
                undo.pop_all()
        except OSError as error:
            raise WriteError(f"{self.path}: cannot be written ({error.strerror})") from error

    def close(self) -> None:
        """Let another process take up the journal."""
        self._file_lock.release()

    def verdicts(self) -> list[Verdict]:
        """Return what is said of each clip now."""
        with self._lock:
            return list(self._verdicts)

    def states(self) -> list[tuple[int, Verdict]]:
        """Return of each clip how often something was said of it, and what is so now."""
        with self._lock:
            return list(zip(self._versions, self._verdicts, strict=True))

    def changed_since(self, revision: int) -> list[int]:
        """Return the clips of which something was said after a revision."""
        return [position for position, changed in enumerate(self._changed_at) if changed > revision]

    def say(self, position: int, version: int, verdict: Verdict) -> int:
        """Note what a person says of a clip; when this returns, it is on disk.

        Args:
            position: of the clip.
            version: of the clip that the person saw.
            verdict: what they say.

        Returns:
            The new revision.

        Raises:
            StaleVersion: something else was said of the clip meanwhile.
            WriteError: the disk does not take it; what was said before stays.
        """
        with self._lock:
            if version != self._versions[position]:
                raise StaleVersion
            before = self._verdicts[position]
            self._verdicts[position] = verdict
            text = self._text()
            item = self._clips.items[position]
            line: dict[str, Any] = {
                "path": str(item.path.absolute()),
                "start": item.start_seconds,
                "end": item.end_seconds,
                **({} if item.track is None else {"track": item.track}),
                **verdict.to_dict(),
                "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "manifest": _digest(text),
            }
            if self._who is not None:
                line["who"] = self._who
            try:
                self._append(line)
            except OSError as error:
                self._verdicts[position] = before
                raise WriteError(f"{self.path}: cannot be written ({error.strerror})") from error
            self._apply(position)
            self._write_manifest(text)
            return self.revision

    def _apply(self, position: int) -> None:
        self.revision += 1
        self._versions[position] += 1
        self._changed_at[position] = self.revision

    def _text(self) -> str:
        return manifest_text(labelled_items(self._clips, self._verdicts))

    def _write_manifest(self, text: str) -> None:
        write_text(self.manifest, text)

    def _append(self, line: dict[str, Any]) -> None:
        """Add a line and wait until the disk has it; take back what was added if it fails."""
        content = (json.dumps(line, ensure_ascii=True) + "\n").encode()
        with open(self.path, "r+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                written = file.write(content)
                if written != len(content):
                    raise OSError(28, "No space left on device")
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(end)
                raise

    def _refuse_strangers(self) -> None:
        """Refuse a manifest or journal that this command did not write, or that was changed since.

        Raises:
            OutputError: says what to do.
        """
        if self.path.suffix == self.manifest.suffix:
            raise OutputError(f"-o {self.manifest}: expected a .csv file")
        if not os.path.lexists(self.manifest):
            return
        known = [line.get("manifest") for line in self._lines()[-2:]] if self.path.exists() else []
        text = read_regular(self.manifest, _MAX_BYTES).decode("utf-8", "replace")
        if _digest(text) in known or (known and not text):
            return
        raise OutputError(
            f"{self.manifest}: is not as vidcli review wrote it, and is not replaced. Review that file "
            "itself, move it away, or give -o another file"
        )

    def _lines(self) -> list[dict[str, Any]]:
        """Return the whole lines of the journal, and cut off what a killed process left of one."""
        content = read_regular(self.path, _MAX_BYTES)
        whole = content.rfind(b"\n") + 1
        lines: list[dict[str, Any]] = []
        for number, text in enumerate(content[:whole].splitlines(), start=1):
            try:
                line = json.loads(text)
                if not isinstance(line, dict):
                    raise ValueError("no object")
            except ValueError as error:
                raise DataError(
                    f"{self.path}: line {number} is damaged ({error}); mend or remove it"
                ) from error
            lines.append(line)
        if lines and {key: lines[0].get(key) for key in _HEADER} != _HEADER:
            raise OutputError(f"{self.path}: is no journal of vidcli review; give -o another file")
        if len(content) > whole:
            with open(self.path, "r+b") as file:
                file.truncate(whole)
        return lines

    def _replay(self) -> None:
        lines = self._lines()
        if not lines:
            self._append({**_HEADER, "manifest": _digest(self._text())})
            return
        positions = {
            (str(item.path.absolute()), item.start_seconds, item.end_seconds, item.track): position
            for position, item in enumerate(self._clips.items)
        }
        for number, line in enumerate(lines[1:], start=2):
            about = str(line.get("path")), line.get("start", 0.0), line.get("end"), line.get("track")
            position = positions.get(about)
            if position is None:  # a clip that is no longer in the data set, which may come back
                continue
            try:
                self._verdicts[position] = parse_verdict(line)
            except ValueError as error:
                raise DataError(f"{self.path}: line {number}: {visible(str(error))}; mend it") from error
            self._apply(position)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def class_names(verdicts: Sequence[Verdict]) -> list[str]:
    """Return the classes that are named, in alphabetical order."""
    return sorted({label for verdict in verdicts for label in verdict.labels})
