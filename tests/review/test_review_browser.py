"""The page in a browser: labels by key, a timeline by key and by hand, in both themes and from 320 pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.test_browser import TOO_WIDE
from tests.serve.client import TOKEN, Client
from vidcli.data.manifest import read_data

pytestmark = pytest.mark.browser
# The least contrast of a text with its own or the nearest ground (WCAG 2.2, 1.4.3).
CONTRASTS = """() => {
  const light = text => { const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map(v => { v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = element => { for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if (!/, 0\\)$/.test(colour)) return colour; } };
  return [...document.querySelectorAll('h1, h2, p, button, label, summary, kbd, span, select, input, strong')]
    .filter(e => e.textContent.trim() && e.offsetParent).map(e => {
      const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
      return [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 120)]; }).filter(([contrast]) => contrast < 4.5);
}"""


@pytest.fixture
def visit(browser: Any, client: Client) -> Iterator[Callable[..., Any]]:
    """Open the page; at the end, nothing must have been asked of others or complained of."""
    asked: list[str] = []
    told: list[str] = []
    opened = []

    def open_page(width: int = 1280, scheme: str = "light") -> Any:
        page = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        ).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(f"http://127.0.0.1:{client.port}/?token={TOKEN}")
        until(page, "video.readyState >= 2")
        opened.append(page)
        return page

    yield open_page
    for page in opened:
        page.context.close()
    assert [url for url in asked if not url.startswith(f"http://127.0.0.1:{client.port}/")] == []
    assert [text for text in told if "409 (Conflict)" not in text] == []


def labels(manifest: Path) -> list[tuple[str, str]]:
    return [(item.path.name, item.label) for item in read_data(manifest).items]


def name_class(page: Any, name: str) -> None:
    page.keyboard.press("c")
    page.keyboard.type(name)
    page.keyboard.press("Enter")


def until(page: Any, condition: str) -> None:
    """Wait until a condition holds; Playwright's own way evaluates a string, which the policy forbids."""
    end = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < end, (condition, page.text_content("#said"))
        page.wait_for_timeout(50)


def saved(page: Any, text: str) -> None:
    until(page, f"document.getElementById('said').textContent.includes({text!r})")


def test_clips_are_labelled_by_key_alone(visit: Callable[..., Any], manifest: Path) -> None:
    page = visit()
    first = page.text_content("#name")
    name_class(page, "left")
    saved(page, "is left")
    until(page, f"document.getElementById('name').textContent !== {first!r}")
    second = page.text_content("#name")
    name_class(page, "right")
    saved(page, "is right")
    assert sorted(labels(manifest)) == sorted([(first, "left"), (second, "right")])
    page.keyboard.press("u")
    saved(page, "undone")
    assert labels(manifest) == [(first, "left")]
    assert page.text_content("#name") == second
    page.keyboard.press("1")
    saved(page, f"{second} is left")
    page.keyboard.press("f")
    saved(page, "flagged")
    assert page.text_content("#count") == "2 of 6 labelled, 1 flagged"
    assert sorted(labels(manifest)) == sorted([(first, "left"), (second, "left")])


def test_two_windows_see_each_other(visit: Callable[..., Any], manifest: Path) -> None:
    one, other = visit(), visit()
    same = one.text_content("#name")
    assert other.text_content("#name") == same
    other.evaluate("Object.defineProperty(document, 'hidden', {get: () => true})")  # it asks for no news
    other.wait_for_timeout(200)
    name_class(one, "left")
    saved(one, "is left")
    name_class(other, "right")
    saved(other, "not saved: said meanwhile in another window")
    assert labels(manifest) == [(same, "left")]


def test_segments_by_key_and_by_hand(visit: Callable[..., Any], manifest: Path) -> None:
    page = visit()
    page.keyboard.press("t")
    page.evaluate("video.currentTime = 1")
    name_class(page, "walk")
    saved(page, "segment to 1.00 s")
    page.keyboard.press("Escape")
    page.evaluate("video.currentTime = 1.5")
    name_class(page, "rest")
    saved(page, "segment to 1.50 s")
    rows = [(i.label, i.start_seconds, i.end_seconds) for i in read_data(manifest).items]
    assert rows == [("walk", 0.0, 1.0), ("rest", 1.0, 1.5)]
    edge, track = page.locator(".segment .last").last.bounding_box(), page.locator("#track").bounding_box()
    page.mouse.move(edge["x"] + 2, edge["y"] + 10)
    page.mouse.down()
    page.mouse.move(track["x"] + track["width"] * 0.9, edge["y"] + 10, steps=4)
    page.mouse.up()
    saved(page, "segment from 1.00 to 1.8")
    page.keyboard.press("2")
    saved(page, "segment is walk")
    page.evaluate("video.currentTime = 0.5")
    page.keyboard.press("x")
    saved(page, "split at 0.50 s")
    assert [i.label for i in read_data(manifest).items] == ["walk", "walk", "walk"]
    page.keyboard.press("m")
    saved(page, "merged")
    page.keyboard.press("Delete")
    saved(page, "removed")
    (row,) = read_data(manifest).items
    assert (row.label, row.start_seconds, row.end_seconds) == ("walk", 0.0, 0.5)


def test_frames_are_stepped_one_by_one(visit: Callable[..., Any]) -> None:
    page = visit()
    page.keyboard.press(".")
    page.keyboard.press(".")
    page.keyboard.press(",")
    assert page.evaluate("video.currentTime") == pytest.approx(1 / 8)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280, 3840])
def test_the_page_fits_its_window(visit: Callable[..., Any], width: int, scheme: str, tmp_path: Path) -> None:
    page = visit(width, scheme)
    name_class(page, "a class whose name is so long that it has to be broken somewhere")
    saved(page, "is a class")
    page.keyboard.press("t")
    page.screenshot(path=str(tmp_path / f"{width}-{scheme}.png"), full_page=True)
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth") <= page.evaluate(f"{root}.clientWidth") == width
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate(CONTRASTS) == []
    nameless = "[...document.querySelectorAll('button')].filter(b => !(b.ariaLabel || b.textContent.trim()))"
    assert page.evaluate(f"{nameless}.length") == 0
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    assert not page.is_visible("#help")
