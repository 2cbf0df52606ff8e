"""HTML in which text can only be text: whatever is not markup already is escaped."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable

from vidcli.names import visible


class Html(str):
    """Text that is markup; only functions of this module and literals of the package make it."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element; children and attribute values that are no `Html` are escaped.

    Args:
        name: of the element.
        children: what is inside, in order.
        attributes: a trailing underscore is dropped (`class_`), others become hyphens; None leaves
            the attribute out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>{join(children)}</{name}>")


def void(name: str, /, **attributes: object) -> Html:
    """Return an element that has no end, such as an image."""
    return Html(tag(name, **attributes).removesuffix(f"</{name}>"))


def join(children: Iterable[object]) -> Html:
    """Return children one after the other; what is no `Html` is escaped."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def escape(value: object) -> Html:
    """Return text as markup; what steers or hides in the names of files is made visible."""
    return Html(html.escape(visible(str(value), keep="\n\t")))


def table(
    head: Iterable[object],
    rows: Iterable[Iterable[object]],
    *,
    numbers: int = 1,
    class_: str | None = None,
    grey: Collection[int] = (),
) -> Html:
    """Return a table in a frame that scrolls by itself.

    Args:
        head: the names of the columns.
        rows: a cell a column each.
        numbers: columns from this one on are right-aligned.
        class_: of the table's style.
        grey: positions of rows that say little by themselves.
    """

    def cells(kind: str, row: Iterable[object], class_: str | None = None) -> Html:
        inside = (tag(kind, cell, class_="n" if i >= numbers else None) for i, cell in enumerate(row))
        return tag("tr", *inside, class_=class_)

    body = [cells("td", row, "few" if at in grey else None) for at, row in enumerate(rows)]
    grid = tag("table", tag("thead", cells("th", head)), tag("tbody", *body), class_=class_)
    return tag("div", grid, class_="scroll")
