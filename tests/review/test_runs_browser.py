"""The page of runs in a browser: cells and labels by key and click, both themes, from 320 pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.test_browser import TOO_WIDE
from tests.review.evaluations import LABELS
from tests.review.test_review_browser import CONTRASTS, labels, saved, until
from tests.serve.client import TOKEN, Client

pytestmark = pytest.mark.browser
FOCUSED = "document.activeElement.getAttribute('aria-label')"


@pytest.fixture
def visit(browser: Any, runs_client: Client) -> Iterator[Callable[..., Any]]:
    """Open the page; at the end, nothing must have been asked of others or complained of."""
    asked: list[str] = []
    told: list[str] = []
    opened = []

    def open_page(width: int = 1280, scheme: str = "light", motion: str = "no-preference") -> Any:
        page = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion=motion
        ).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(f"http://127.0.0.1:{runs_client.port}/?token={TOKEN}")
        until(page, "'ready' in document.body.dataset")
        opened.append(page)
        return page

    yield open_page
    for page in opened:
        page.context.close()
    assert [url for url in asked if not url.startswith(f"http://127.0.0.1:{runs_client.port}/")] == []
    assert told == []


def counts(page: Any) -> list[list[str]]:
    """Return the numbers of each matrix, row by row."""
    script = (
        "[...document.querySelectorAll('table')].map(t => [...t.querySelectorAll('td button')].map(b => "
        "b.firstChild.textContent))"
    )
    return list(page.evaluate(script))


def names(page: Any) -> list[str]:
    return list(page.evaluate("[...document.querySelectorAll('#tiles h3')].map(h => h.textContent)"))


def test_cells_and_clips_by_key_alone(visit: Callable[..., Any]) -> None:
    page = visit()
    a, b = counts(page)
    assert a == [*"2100", *"0110", *"0001"]
    assert b == [*"1200", *"1100", *"0010"]
    page.focus("td button[tabindex='0']")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(FOCUSED) == "left taken for right by A: 1 video"
    page.keyboard.press("w")
    assert page.evaluate(FOCUSED) == "left taken for right by B: 2 videos, 1 more than A"
    page.keyboard.press("Enter")
    assert names(page) == ["1.mp4", "2.mp4"]
    until(page, "[...document.querySelectorAll('#tiles video')].every(v => !v.paused && v.currentTime > 0)")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(FOCUSED) == "2.mp4"
    page.keyboard.press(" ")
    paused = "[...document.querySelectorAll('#tiles video')].map(v => v.paused)"
    assert page.evaluate(paused) == [False, True]
    page.keyboard.press("Escape")
    assert page.evaluate(FOCUSED).startswith("left taken for right by B")


def test_a_label_is_corrected_where_the_mistake_is_seen(visit: Callable[..., Any], manifest: Path) -> None:
    page = visit()
    page.click("text=both wrong: 1")
    assert names(page) == ["2.mp4"]
    page.keyboard.press("2")
    saved(page, "2.mp4 is right")
    assert labels(manifest) == [("2.mp4", "right")]
    assert page.text_content("#tiles .labels") == "labelled left, now right"
    page.keyboard.press("f")
    saved(page, "flagged")
    assert "2.mp4" not in manifest.read_text()
    page.keyboard.press("u")
    saved(page, "undone")
    assert labels(manifest) == [("2.mp4", "right")]


def test_a_clip_is_opened_in_review(visit: Callable[..., Any]) -> None:
    page = visit()
    page.click("text=B right, A wrong: 2")
    assert sorted(names(page)) == ["4.mp4", "5.mp4"]
    chosen = page.evaluate(FOCUSED)
    page.keyboard.press("Enter")
    page.wait_for_url("**/#clip=*")
    until(page, f"document.getElementById('name').textContent === {chosen!r}")


def test_more_clips_than_fit_come_in_parts(visit: Callable[..., Any]) -> None:
    page = visit()
    page.evaluate(
        "told.videos = Array.from({length: 60}, () => told.videos[0]); renderSums(); renderMatrices()"
    )
    page.click("text=both right: 60")
    assert len(names(page)) == 24
    page.click("text=Show 24 more of 60")
    assert len(names(page)) == 48
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert len(names(page)) == 60


def test_only_classes_with_most_mistakes_are_shown_where_there_are_many(visit: Callable[..., Any]) -> None:
    page = visit()
    others = "Array.from({length: 40}, (_, n) => `other ${n}`)"
    page.evaluate(f"told.classes = [...{others}, ...told.classes]; renderMatrices()")
    assert [len(matrix) for matrix in counts(page)] == [30 * 31] * 2
    shown = page.evaluate("[...document.querySelectorAll('table tbody th')].map(th => th.title)")
    assert {*LABELS} <= {*shown}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280, 3840])
def test_the_page_fits_its_window(visit: Callable[..., Any], width: int, scheme: str, tmp_path: Path) -> None:
    page = visit(width, scheme, "reduce")
    page.evaluate("document.querySelectorAll('td button')[1].click()")
    page.screenshot(path=str(tmp_path / f"runs-{width}-{scheme}.png"), full_page=True)
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth") <= page.evaluate(f"{root}.clientWidth") == width
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate(CONTRASTS.replace(", strong'", ", strong, small, th, a, h3, li'")) == []
    assert page.evaluate("[...document.querySelectorAll('#tiles video')].every(v => v.paused)")
    page.keyboard.press("?")
    assert page.is_visible("#help")
