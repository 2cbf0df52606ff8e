"""Outputs replace nothing that is not this program's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vidcli.errors import OutputError, WriteError
from vidcli.runtime.outputs import OutputFile, OutputFolder, choose_folder

# --- one output file ------------------------------------------------------------------------------


def test_an_output_file_is_new_or_said_to_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.csv"
    OutputFile("--output", path).write_text("one")
    with pytest.raises(OutputError, match=r"--output .*x\.csv: exists"):
        OutputFile("--output", path)
    OutputFile("--output", path, overwrite=True).write_text("two")
    assert path.read_text() == "two"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_text_goes_to_devices_too() -> None:
    OutputFile("--output", Path("/dev/null")).write_text("one")
    with pytest.raises(WriteError, match="--output /dev/full: cannot be written"):
        OutputFile("--output", Path("/dev/full")).write_text("one")


@pytest.mark.parametrize("overwrite", [False, True])
def test_no_input_is_replaced_by_whatever_name(overwrite: bool, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.mp4").write_text("video")
    (tmp_path / "link.mp4").symlink_to(data / "a.mp4")
    os.link(data / "a.mp4", tmp_path / "hard.mp4")
    (tmp_path / "folder").symlink_to(data)
    for name in ("data/a.mp4", "link.mp4", "hard.mp4", "folder/a.mp4", "data/../data/a.mp4", "data"):
        for inputs in ([data / "a.mp4", data], [tmp_path / "folder", data / "a.mp4"]):
            with pytest.raises(OutputError):
                OutputFile("--out", tmp_path / name, inputs, overwrite)
    with pytest.raises(OutputError, match="model or the data"):
        OutputFile("--out", data / "a.mp4", [data], overwrite)
    OutputFile("--out", data / "new.csv", [data], overwrite).write_text("new")
    assert (data / "a.mp4").read_text() == "video"


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("link", "dangling"):
        with pytest.raises(OutputError, match="is a link"):
            OutputFile("--out", tmp_path / name)
        OutputFile("--out", tmp_path / name, overwrite=True).write_text("ours")
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "target").read_text() == "theirs"
    assert not (tmp_path / "nowhere").exists()


def test_an_empty_file_has_nothing_to_lose(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    OutputFile("--out", tmp_path / "x").write_text("ours")
    assert (tmp_path / "x").read_text() == "ours"
    (tmp_path / "x").write_text("")
    with pytest.raises(OutputError, match="is an input"):
        OutputFile("--out", tmp_path / "x", [tmp_path / "x"])


@pytest.mark.parametrize("before", [None, "", "theirs"])
def test_a_file_is_opened_for_what_comes_bit_by_bit(before: str | None, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if before is not None:
        path.write_text(before)
    output = OutputFile("--out", path, overwrite=before == "theirs")
    with output.open() as file:
        file.write(b"one")
        assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_to_as_it_is() -> None:
    with OutputFile("--out", Path("/dev/null")).open() as file:
        file.write(b"one")
    assert not Path("/dev/null").is_file()


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    output = OutputFile("--out", tmp_path / "x")
    (tmp_path / "x").write_text("theirs")
    with pytest.raises(WriteError, match="exists"):
        output.write_text("ours")
    assert (tmp_path / "x").read_text() == "theirs"


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (Path("/proc/nothing/x"), tmp_path / "file" / "x"):
        with pytest.raises(WriteError, match="cannot be written"):
            OutputFile("--out", place)
    with pytest.raises(OutputError, match="is a folder"):
        OutputFile("--out", tmp_path, overwrite=True)


# --- a folder of outputs --------------------------------------------------------------------------

NAMES = ("a.txt", "b.txt")


def fill(folder: Path, subject: str = "", *, overwrite: bool = False, names: tuple[str, ...] = NAMES) -> None:
    with OutputFolder(folder, "eval", NAMES, subject=subject, overwrite=overwrite) as out:
        for name in names:
            out.write_text(name, f"ours {subject}")
        out.remove_earlier()


def test_a_folder_is_filled_again_by_its_own_command(tmp_path: Path) -> None:
    fill(tmp_path / "out")
    fill(tmp_path / "out")
    fill(tmp_path / "out", names=("b.txt",))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".vidcli-eval.json", "b.txt"]
    with pytest.raises(OutputError, match="holds other files"):
        OutputFolder(tmp_path / "out", "explain", NAMES)


def test_what_a_person_changed_or_put_there_is_kept(tmp_path: Path) -> None:
    fill(tmp_path / "out")
    (tmp_path / "out" / "a.txt").write_text("theirs")
    (tmp_path / "out" / "notes.txt").write_text("notes")
    with pytest.raises(OutputError, match=r"a\.txt: exists"):
        fill(tmp_path / "out")
    assert (tmp_path / "out" / "a.txt").read_text() == "theirs"
    fill(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "a.txt").read_text() == "ours "
    assert (tmp_path / "out" / "notes.txt").read_text() == "notes"


def test_another_subject_takes_another_folder(tmp_path: Path) -> None:
    fill(tmp_path / "out", "x/a.mp4")
    with pytest.raises(OutputError, match=r"wrote about x/a\.mp4"):
        fill(tmp_path / "out", "y/a.mp4")
    fill(tmp_path / "out", "y/a.mp4", overwrite=True)
    assert (tmp_path / "out" / "a.txt").read_text() == "ours y/a.mp4"


def test_the_usual_folder_of_another_subject_gets_a_number(tmp_path: Path) -> None:
    usual = tmp_path / "explain-a"
    for subject, name in (("x/a.mp4", "explain-a"), ("y/a.mp4", "explain-a-2"), ("x/a.mp4", "explain-a")):
        assert choose_folder(usual, "eval", subject) == tmp_path / name
        fill(tmp_path / name, subject)
    (tmp_path / "explain-a-3").write_text("theirs")
    (tmp_path / "explain-a-4").mkdir()
    assert choose_folder(usual, "eval", "z/a.mp4") == tmp_path / "explain-a-4"


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(OutputError, match="holds other files"):
        fill(tmp_path)
    with OutputFolder(tmp_path, "report", NAMES, is_shared=True) as out:
        out.write_text("a.txt", "ours")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".vidcli-report.json", "a.txt", "notes.txt"]


@pytest.mark.parametrize(
    "record",
    [
        "", "[]", "{}", "9" * 5000, "[" * 100_000, '{"subject": "", "files": {"a.txt": ["x"]}}',
        '{"subject": "", "files": {"../outside": ["x"]}}', '{"subject": "", "files": {"a.txt": 3}}',
    ],
)  # fmt: skip
def test_a_foreign_record_gives_away_nothing(record: str, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("theirs")
    out = tmp_path / "out"
    out.mkdir()
    (out / ".vidcli-eval.json").write_text(record)
    (out / "a.txt").write_text("theirs")
    with pytest.raises(OutputError):
        fill(out)
    fill(out, overwrite=True, names=("b.txt",))
    assert (tmp_path / "outside").read_text() == (out / "a.txt").read_text() == "theirs"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_inputs_is_no_place_for_outputs(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("input")
    with pytest.raises(OutputError):
        OutputFolder(tmp_path, "eval", NAMES, inputs=[tmp_path], overwrite=overwrite)
    with pytest.raises(OutputError, match="is an input"):
        OutputFolder(tmp_path, "eval", NAMES, inputs=[tmp_path / "a.txt"], overwrite=True)


def test_a_folder_made_for_nothing_is_taken_away(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), OutputFolder(tmp_path / "out", "eval", NAMES):
        raise ZeroDivisionError
    assert not (tmp_path / "out").exists()
    (tmp_path / "there").mkdir()
    with pytest.raises(ZeroDivisionError), OutputFolder(tmp_path / "there", "eval", NAMES):
        raise ZeroDivisionError
    assert (tmp_path / "there").exists()


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("file", "dangling"):
        with pytest.raises(OutputError, match="is no folder"):
            OutputFolder(tmp_path / name, "eval", NAMES)
    with pytest.raises(WriteError, match="cannot be written"):
        OutputFolder(Path("/proc/nothing"), "eval", NAMES)
