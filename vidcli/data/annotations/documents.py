"""JSON and XML of strangers, read as plain data.

XML may declare entities, which can grow to gigabytes or read local files. No annotation format needs any,
so a document type or an entity is refused before it takes effect.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder, indent, tostring
from xml.parsers import expat

from vidcli.data.items import name_some
from vidcli.errors import DataError
from vidcli.sheets import decode_text

MAX_BYTES = 256 * 2**20
"""The most that an annotation file may hold: hours of per-frame tables have tens of megabytes."""

BLANK = "\ufeff \t\r\n"
"""What may stand before the first character of a document."""
_MAX_DEPTH = 100
_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@contextmanager
def faults_named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise what goes wrong while a file is read as a DataError that names the file."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: {name_some([str(error)])}") from error


def text_in(content: bytes, known: str) -> tuple[str, str]:
    """Return the text of a file and its encoding.

    Args:
        content: of the file.
        known: the formats that are expected, for the message.

    Raises:
        ValueError: it is no text, or empty.
    """
    try:
        text, encoding = decode_text(content)
    except UnicodeDecodeError:
        text = encoding = "\0"
    if "\0" in text:
        raise ValueError(f"is no text; expected {known}")
    if not text.lstrip(BLANK):
        raise ValueError("is empty")
    return text, encoding


def parse_json(text: str) -> Any:
    """Return the value of a JSON document, or the list of those of lines that hold one each.

    Raises:
        ValueError: it is neither.
    """
    try:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            lines = [line for line in text.splitlines() if line.strip()]
            if error.msg != "Extra data" or len(lines) < 2:
                raise
            return [json.loads(line) for line in lines]
    except json.JSONDecodeError as error:
        raise ValueError(
            f"is no valid JSON: {error.msg} in line {error.lineno}, column {error.colno}; "
            "export it again, it may be cut off"
        ) from error
    except RecursionError:
        raise ValueError("is JSON that is nested too deeply for an annotation file") from None


def parse_xml(text: str) -> Element:
    """Return the root of an XML document.

    Raises:
        ValueError: it is no XML, or declares a document type or an entity.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate("utf-8")
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise ValueError("is XML that is nested too deeply for an annotation file")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise ValueError("declares a document type or entities, which annotation files have no use for")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text.encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        raise ValueError(f"is no valid XML: {error}; export it again, it may be cut off") from error
    return builder.close()


def xml_text(root: Element) -> str:
    """Return an XML document, indented, which `parse_xml` reads back; its names lose outer blanks.

    Raises:
        ValueError: a name holds a character that XML cannot hold.
    """
    indent(root, " ")
    text = tostring(root, encoding="unicode")
    if wrong := _NOT_XML.search(text):
        raise ValueError(f"a name holds {wrong[0]!r}, which XML cannot hold; rename the class or the subject")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def as_mapping(value: Any, what: str) -> dict[str, Any]:
    """Return a JSON object; `what` names it in the message.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{what}: {_kind(value)}; expected an object")
    return value


def as_list(value: Any, what: str) -> list[Any]:
    """Return a JSON list; `what` names it in the message.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, list):
        raise ValueError(f"{what}: {_kind(value)}; expected a list")
    return value


def as_number(value: Any, what: str) -> float:
    """Return a finite number; text that holds one counts; `what` names it in the message.

    Raises:
        ValueError: it is something else.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        shown = repr(value) if isinstance(value, str | float) else _kind(value)
        raise ValueError(f"{what}: {shown[:80]}; expected a number")
    return number


def as_text(value: Any, what: str) -> str:
    """Return a text; numbers are taken as they are written; `what` names it in the message.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{what}: {_kind(value)}; expected text")
    return str(value)


def as_frame(value: Any, what: str) -> int:
    """Return the number of a frame; `what` names it in the message.

    Raises:
        ValueError: it is no whole number, or a negative one.
    """
    number = as_number(value, what)
    if number < 0 or number != int(number):
        raise ValueError(f"{what}: {number:g}; expected the number of a frame")
    return int(number)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
    return kinds.get(type(value), "a number")
