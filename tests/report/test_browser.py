"""The report in a browser: no scrolling sideways, nothing asked of any network, nothing to complain of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.report.pages import CLASS_NAMES, page_of

pytestmark = pytest.mark.browser
# What lies beyond the right edge of the window, outside of what scrolls by itself.
TOO_WIDE = """() => [...document.body.querySelectorAll('*')].filter(element =>
    element.getBoundingClientRect().right > document.documentElement.clientWidth + 1
    && !element.closest('.scroll')).map(element => element.outerHTML.slice(0, 200))"""
SMALLEST_LETTERS = """() => Math.min(...[...document.querySelectorAll('svg text')].map(
    text => text.getBoundingClientRect().height))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("kind", CLASS_NAMES)
def test_the_page_fits_its_window_and_loads_nothing(
    browser: Any, kind: str, width: int, scheme: str, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(page_of(kind), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked: list[str] = []
    told: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    page.screenshot(path=str(tmp_path / f"{kind}-{width}-{scheme}.png"), full_page=True)
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth") <= page.evaluate(f"{root}.clientWidth") == width
    assert page.evaluate(TOO_WIDE) == []
    assert [url for url in asked if not url.startswith("data:image/jpeg")] == [path.as_uri()]
    assert told == []
    grounds = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, grounds[4:-1].split(","))) < 200) == (scheme == "dark")
    assert page.evaluate(SMALLEST_LETTERS) > 9
    page.close()
