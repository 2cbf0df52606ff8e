"""Recipes: files of settings, given by path or by the name of a built-in one."""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path
from typing import Any

from vidcli.errors import ConfigError, did_you_mean
from vidcli.runtime.files import read_regular


def recipe_folder() -> Path:
    """Return the folder of the built-in recipes: inside the wheel, or `configs/` of a checkout."""
    packaged = Path(str(importlib.resources.files("vidcli"))) / "configs"
    return packaged if packaged.is_dir() else packaged.parent.parent / "configs"


def builtin_recipes() -> list[Path]:
    """Return the files of the built-in recipes, by name."""
    return sorted(recipe_folder().glob("*.yaml"))


def recipe_title(path: Path) -> str:
    """Return the first comment line of a recipe: what it is for."""
    first_line = path.read_text(encoding="utf-8").partition("\n")[0]
    return first_line.removeprefix("#").strip()


def find_recipe(recipe: str) -> Path:
    """Return the file of a recipe given by path or by the name of a built-in one.

    Raises:
        ConfigError: neither exists; names the nearest built-in recipe.
    """
    given = Path(recipe)
    if os.path.isfile(given):  # unlike Path.is_file, raises no error where the name is too long for one
        return given
    builtin = {path.stem: path for path in builtin_recipes()}
    if recipe in builtin:
        return builtin[recipe]
    if os.path.exists(given):
        raise ConfigError(f"recipe {recipe!r}: is no regular file; give a file of settings")
    raise ConfigError(
        f"recipe {recipe!r}: neither a file nor a built-in recipe ({', '.join(builtin)})."
        + did_you_mean(recipe, builtin)
    )


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the settings of a recipe, by section.

    Raises:
        ConfigError: the file is not plain YAML, or holds no sections.
    """
    try:
        from vidcli.runtime.plain_yaml import MAX_YAML_CHARACTERS, parse_yaml

        values = parse_yaml(read_regular(path, MAX_YAML_CHARACTERS).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or error
        raise ConfigError(f"recipe {path}: cannot be read as YAML ({told})") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"recipe {path}: expected sections such as `clip:` and `train:` at the top")
    return values
