"""Names are of one form when they come in, and harmless when they are shown."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vidcli.artifacts.description import parse_description
from vidcli.console.text import json_line, plain, plain_lines
from vidcli.data.items import VideoItem, class_names_of
from vidcli.errors import VideoError
from vidcli.explain.explainer import _find_label
from vidcli.names import is_placeholder, likeness, normal_names, tell_alike, visible, visible_json
from vidcli.report.page import environment

NFC, NFD = "caf\u00e9", "cafe\u0301"
BAD = "\x1b\x07\x7f\x9b\u200e\u200f\u061c\u202a\u202e\u2066\u2069\u2028\u2029\ufeff\u200b\udcff\n\r\x00"


def test_both_spellings_are_one_class() -> None:
    items = [VideoItem(Path("1"), NFC, group=NFD), VideoItem(Path("2"), NFD, group=NFC)]
    assert class_names_of(items) == [NFC]
    assert {item.group for item in items} == {NFC}
    joined = [VideoItem(Path("1"), f"{NFD}|b"), VideoItem(Path("2"), f"b|{NFC}")]
    assert class_names_of(joined, multi_label=True) == ["b", NFC]


def test_class_names_of_old_models_are_composed_unless_two_would_become_one() -> None:
    assert normal_names([NFD, "b"]) == (NFC, "b")
    assert normal_names([NFD, NFC]) == (NFD, NFC)


def test_a_class_is_found_however_it_is_typed() -> None:
    assert _find_label(NFD, ("a", NFC)) == 1


def test_a_model_file_of_an_earlier_version_knows_its_classes(small_config) -> None:
    from vidcli.artifacts.description import Checkpoint, describe_checkpoint

    about = describe_checkpoint(Checkpoint({}, small_config(), ["a", NFD]))
    assert parse_description(about, Path("m"))["class_names"] == ("a", NFC)


@pytest.mark.parametrize("c", BAD)
def test_nothing_that_steers_or_hides_is_shown(c: str) -> None:
    assert c not in visible(f"a{c}b")
    assert c not in plain(f"a{c}b").plain
    assert c not in json_line({"video": f"a{c}b"}, io.TextIOWrapper(io.BytesIO(), "utf-8"))
    page = environment().from_string('<p title="{{ text }}">{{ text }}</p>').render(text=f"a{c}b")
    assert c not in page.replace("\n", "")
    assert visible(visible(f"a{c}b")) == visible(f"a{c}b")


def test_letters_of_all_scripts_stay() -> None:
    for text in ("läuft", "行走", "می\u200cروم", "👩\u200d🔬", "a\u00a0b", "a\u3000b", NFD):
        assert visible(text) == text
        assert json.loads(visible_json(json.dumps(text, ensure_ascii=False))) == text


@given(st.text())
def test_json_means_the_same(text: str) -> None:
    line = visible_json(json.dumps({"a": text}, ensure_ascii=False))
    assert json.loads(line) == {"a": text}


def test_a_message_keeps_its_lines_and_a_name_makes_none() -> None:
    assert plain_lines("one\ntwo\x1b").plain == "one\ntwo\\x1b"
    assert str(VideoError("a\nerror: b.mp4", "is gone")) == "a\\nerror: b.mp4: is gone"


def test_a_line_separator_breaks_no_line_of_a_terminal() -> None:
    out = io.StringIO()
    Console(file=out).print(plain("a\u2028b\u0085c"))
    assert len(out.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("Walk", "walk"), ("walk fast", "walk  fast"), ("walk\u200b", "walk"), ("ｗalk", "walk"),
     ("STRASSE", "straße"), ("wal\u00adk", "walk"), ("walk\u00a0fast", "walkfast"), ("walk\ufe0f", "walk")],
)  # fmt: skip
def test_names_that_look_alike_are_told(one: str, other: str) -> None:
    assert likeness(one) == likeness(other)
    (told,) = tell_alike({one: 5, other: 8, "run": 1})
    assert "(5 videos)" in told
    assert "(8 videos)" in told
    assert "run" not in told
    assert visible(told) == told


def test_names_that_differ_are_not_told() -> None:
    assert tell_alike({"walk": 1, "walks": 1, "wàlk": 1, "walk_fast": 1, "walk-fast": 1}) == []


@pytest.mark.parametrize("label", ["nan", "NaN", "None", "null", "NULL", "N/A", "#N/A", "<NA>", " nan "])
def test_what_programs_write_for_nothing(label: str) -> None:
    assert is_placeholder(label)


@pytest.mark.parametrize("label", ["nana", "no", "na", "none of them", "0", "-"])
def test_what_is_a_name(label: str) -> None:
    assert not is_placeholder(label)


def test_forms_are_those_of_unicode() -> None:
    assert unicodedata.normalize("NFD", NFC) == NFD
