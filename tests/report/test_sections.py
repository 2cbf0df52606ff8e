"""What the sections of the report show of scores."""

from __future__ import annotations

import re
from typing import Any

from tests.report.pages import evaluation_of, page_of


def slice_of(name: str, num_videos: int, top1: float) -> dict[str, Any]:
    told = {"name": name, "num_videos": num_videos, "num_failed": 0}
    return told | {"top1": top1, "top1_interval": (0.1, 0.9)}


def section_of(name: str, **scores: Any) -> str:
    """Return a section of a page whose evaluation says these scores."""
    page = page_of("two", evaluation=evaluation_of(("a", "b")) | scores)
    return page.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def rows_of(markup: str) -> list[tuple[str | None, str]]:
    """Return the class and the first cell of each row of a table's body."""
    return re.findall(r'<tr(?: class="(\w+)")?><td>(.*?)</td>', markup)


def test_small_slices_are_one_grey_row_and_behind_a_fold_each() -> None:
    groups = [slice_of("a", 9, 0.3), slice_of("<b>", 2, 0.0), slice_of("c", 4, 0.5)]
    scores = {"by_group": groups, "by_duration": groups[:1], "by_resolution": []}
    shown, _, fold = section_of("slices", **scores).partition("<details>")
    assert rows_of(shown) == [("", "a"), ("few", "others (2 groups with fewer than 5 videos each)")]
    assert rows_of(fold) == [("few", "&lt;b&gt;"), ("few", "c")]
    scores["by_group"] = [slice_of("a", 9, 0.3), slice_of("b", 5, 0.2)]
    shown = section_of("slices", **scores)
    assert rows_of(shown) == [("", "a"), ("", "b")]
    assert "<details>" not in shown
