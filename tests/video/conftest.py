"""Files made once a session, and what a plain decoder makes of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.video.make import RECIPES, Recipe, Reference, decode_all
from tests.video.wild import write


@pytest.fixture(scope="session")
def write_video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Recipe], Path]:
    """Write the file of a recipe, once a session."""
    folder = tmp_path_factory.mktemp("videos")
    return functools.cache(lambda recipe: recipe.write(folder))


@pytest.fixture(scope="session")
def refer() -> Callable[..., Reference]:
    """Decode every frame of a file the plain way, once a session and size."""
    return functools.cache(decode_all)


@pytest.fixture(scope="session")
def videos(write_video: Callable[[Recipe], Path]) -> dict[str, Path]:
    """All generated files by name and suffix."""
    return {recipe.name + recipe.suffix: write_video(recipe) for recipe in RECIPES}


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a hundred pictures as MP4, without B-frames, a keyframe every second."""
    return write(tmp_path_factory.mktemp("wild") / "plain.mp4")


@pytest.fixture
def video(write_video: Callable[[Recipe], Path]) -> Callable[[str], Path]:
    """Write the file of one recipe, given its name and suffix."""
    recipes = {recipe.name + recipe.suffix: recipe for recipe in RECIPES}
    return lambda name: write_video(recipes[name])


@pytest.fixture(params=["short_file", "long_file"])
def planner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan short files as short ones, and again as long ones."""
    if request.param == "long_file":
        monkeypatch.setattr("vidcli.video.exact.decode.is_short", lambda container, stream: False)
