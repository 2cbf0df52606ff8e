"""The first sheet of an XLSX workbook, as rows of text.

A workbook is a ZIP of XML files: `xl/workbook.xml` names the sheets, `xl/sharedStrings.xml` holds the
texts that cells refer to by number (ECMA-376, part 1, 18.3.1.4 and 18.18.11).
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
import zlib
from xml.etree.ElementTree import Element

from vidcli.data.annotations.documents import MAX_BYTES, parse_xml
from vidcli.sheets import decode_text

_MAX_COLUMNS = 16_384  # of Excel
_CELL = re.compile(r"([A-Z]{1,3})(\d{1,7})")


def zip_names(content: bytes) -> list[str]:
    """Return the names of the files in a ZIP.

    Raises:
        ValueError: it is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ValueError(f"is a damaged ZIP or workbook: {error}") from error


def zip_text(content: bytes, name: str) -> str:
    """Return the text of a file in a ZIP.

    Raises:
        ValueError: it is missing, encrypted, damaged or too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(name) as file:
            data = file.read(MAX_BYTES + 1)
    except KeyError:
        raise ValueError(f"is a workbook without {name}; save it again") from None
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        raise ValueError(f"is a damaged or encrypted ZIP or workbook: {error}") from error
    if len(data) > MAX_BYTES:
        raise ValueError(f"holds more than {MAX_BYTES >> 20} MiB in {name}")
    return decode_text(data)[0]


def read_workbook(content: bytes) -> tuple[list[list[str]], list[str]]:
    """Return the rows of the first sheet, and a sentence on the sheets that are not read.

    Raises:
        ValueError: it is no workbook, or damaged.
    """
    names = zip_names(content)
    sheets = [
        sheet.get("name", "") for sheet in _find(parse_xml(zip_text(content, "xl/workbook.xml")), "sheet")
    ]
    if not sheets:
        raise ValueError("is a workbook without a sheet")
    strings: list[str] = []
    if "xl/sharedStrings.xml" in names:
        root = parse_xml(zip_text(content, "xl/sharedStrings.xml"))
        strings = [_text(item) for item in _find(root, "si")]
    rows = [_row(row, strings) for row in _find(parse_xml(zip_text(content, _first_sheet(content))), "row")]
    others = sheets[1:]
    notes = [f"only the first sheet {sheets[0]!r} is read; {len(others)} more are not"] if others else []
    return rows, notes


def _first_sheet(content: bytes) -> str:
    """Return the name of the file of the first sheet, as the workbook's relations say."""
    sheet = _find(parse_xml(zip_text(content, "xl/workbook.xml")), "sheet")[0]
    wanted = next((value for key, value in sheet.attrib.items() if key.endswith(":id")), None)
    relations = _find(parse_xml(zip_text(content, "xl/_rels/workbook.xml.rels")), "Relationship")
    target = next((one.get("Target", "") for one in relations if one.get("Id") == wanted), "")
    return target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"xl/{target}")


def _find(root: Element, tag: str) -> list[Element]:
    """Return the elements of a tag below a root, whatever their name space's prefix."""
    return [element for element in root.iter() if element.tag.rpartition(":")[2] == tag]


def _text(element: Element) -> str:
    """Return the text of a string, which may be in runs of several fonts; how it is spoken is left out."""
    pieces = [element, *(part for part in element if part.tag.rpartition(":")[2] == "r")]
    return "".join(
        part.text or "" for piece in pieces for part in piece if part.tag.rpartition(":")[2] == "t"
    )


def _row(row: Element, strings: list[str]) -> list[str]:
    cells: list[str] = []
    for cell in _find(row, "c"):
        place = _CELL.fullmatch(cell.get("r", ""))
        column = _column(place[1]) if place else len(cells)
        if column >= _MAX_COLUMNS:
            raise ValueError(f"has a cell {cell.get('r')}, beyond the last column of a sheet")
        cells += [""] * (column - len(cells))
        cells.append(_value(cell, strings))
    return cells


def _column(letters: str) -> int:
    """Return the number of a column from 0: A is 0, Z 25, AA 26."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _value(cell: Element, strings: list[str]) -> str:
    if cell.get("t") == "inlineStr":
        return "".join(_text(held) for held in _find(cell, "is"))
    value = next((part.text or "" for part in _find(cell, "v")), "")
    if cell.get("t") != "s":
        return value
    try:
        return strings[int(value)]
    except (ValueError, IndexError):
        raise ValueError(f"has a cell {cell.get('r')} that refers to no text; save it again") from None
