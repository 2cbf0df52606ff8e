"""What the shell offers when Tab is pressed: recipes, settings and their values, models, splits.

Nothing here imports torch, so that the answer comes at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidcli.config import Setting

_MODEL_FILES = ("model.safetensors", "vidcli.json")
"""The files by which a run directory and an exported model are known."""

_RUNS_FOLDER = "runs"

FRAME_NETWORKS = (
    "simple_cnn", "compact_cnn", "resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v3_small",
    "mobilenet_v3_large", "efficientnet_b0", "efficientnet_v2_s", "regnet_y_400mf", "regnet_y_1_6gf",
    "convnext_tiny", "convnext_small",
)  # fmt: skip
VIDEO_NETWORKS = (
    "r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b",
)  # fmt: skip
HEADS = ("mean", "rnn", "lstm", "gru", "attention", "attention_rnn", "transformer", "attentive")
"""Names that `vidcli.models` knows, too; importing that would import torch. A test compares them."""

PUBLISHED_MODELS = ("kinetics400", *(f"kinetics400-{name}" for name in VIDEO_NETWORKS))
SPLITS = ("train", "val", "test", "all")
DEVICES = ("auto", "cpu", "cuda", "mps")

_NAMES_OF = {"model.backbone": (*FRAME_NETWORKS, *VIDEO_NETWORKS), "model.head": HEADS}
_SETTING_VARIABLE = "_VIDCLI_SETTING"


def complete_recipe(incomplete: str) -> list[tuple[str, str]]:
    """Return the built-in recipes with what they are for, then YAML files and folders."""
    from vidcli.config import builtin_recipes, recipe_title

    recipes = [(path.stem, recipe_title(path)) for path in builtin_recipes()]
    return _starting(incomplete, [*recipes, *_paths(incomplete, (".yaml", ".yml"))])


def complete_setting(incomplete: str) -> list[tuple[str, str]]:
    """Return `KEY=` of each setting and its description; after the `=`, the values of that setting.

    Where only one setting begins so, its values are offered at once.
    """
    from vidcli.config import iter_settings

    split_off = os.environ.get(_SETTING_VARIABLE)
    key, equals, _ = incomplete.partition("=")
    if split_off is not None:
        asked, prefix = [one for one in iter_settings() if one.name == split_off], ""
    elif equals:
        asked, prefix = [one for one in iter_settings() if one.name == key], f"{key}="
    else:
        asked = [one for one in iter_settings() if one.name.startswith(incomplete)]
        # Bash would put a space after the only one: its values leave no room for that.
        if len(asked) != 1 or not list(_values_of(asked[0])):
            return [(f"{one.name}=", one.description) for one in asked]
        prefix = f"{asked[0].name}="
    found = [(prefix + value, one.description) for one in asked for value in _values_of(one)]
    return _starting(incomplete, found)


def complete_model(incomplete: str) -> list[tuple[str, str]]:
    """Return runs and exported models, newest first, then model files and folders, then published models."""
    runs = Path(_RUNS_FOLDER)
    found = [path for pattern in ("*", "*/*") for path in _matching(runs, pattern) if _is_model(path)]
    found += [path for path in _matching(Path(), "*") if _is_model(path)]
    found.sort(key=_changed, reverse=True)
    told = [(str(path), "a run" if (path / _MODEL_FILES[0]).exists() else "exported") for path in found]
    known = {name for name, _ in told}
    paths = [
        (path.rstrip("/"), "a model") if _is_model(Path(path)) else (path, about)
        for path, about in _paths(incomplete, (".safetensors",))
    ]
    told += [(path, about) for path, about in paths if path not in known]
    return _starting(incomplete, [*told, *((name, "published weights") for name in PUBLISHED_MODELS)])


def complete_backbone(incomplete: str) -> list[str]:
    """Return the names of backbones."""
    return [name for name in _NAMES_OF["model.backbone"] if name.startswith(incomplete)]


def complete_head(incomplete: str) -> list[str]:
    """Return the names of heads."""
    return [name for name in HEADS if name.startswith(incomplete)]


def complete_split(incomplete: str) -> list[str]:
    """Return the splits that can be asked for."""
    return [name for name in SPLITS if name.startswith(incomplete)]


def complete_score_split(incomplete: str) -> list[str]:
    """Return the splits whose videos `train --compare` can score."""
    return [name for name in ("auto", "test") if name.startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """Return the names of devices."""
    return [name for name in DEVICES if name.startswith(incomplete)]


def mend_bash_words(environ: MutableMapping[str, str]) -> None:
    """Join what bash splits: to it, `KEY=VALUE` is three words, of which it wants the last one completed.

    Args:
        environ: the environment of the process; the words that precede Tab are changed in it, and the key
            is added.
    """
    words = environ.get("COMP_WORDS", "").split()
    number = environ.get("COMP_CWORD", "")
    if environ.get("_VIDCLI_COMPLETE") != "complete_bash" or not number.isdecimal():
        return
    last = int(number)
    equals = last if words[last : last + 1] == ["="] else last - 1
    if equals < 2 or words[equals : equals + 1] != ["="] or words[equals - 2] != "--set":
        return
    value = words[last : last + 1] if last > equals else []
    environ["COMP_WORDS"] = " ".join([*words[: equals - 1], *value])
    environ["COMP_CWORD"] = str(equals - 1)
    environ[_SETTING_VARIABLE] = words[equals - 1]


def _values_of(setting: Setting) -> Iterable[str]:
    """Return the words that a setting may be; for a number or text, its default."""
    if setting.name in _NAMES_OF:
        return _NAMES_OF[setting.name]
    words = [
        word
        for word in setting.range.split(" | ")
        if re.fullmatch(r"[a-z]\w*", word) and word not in ("text", "none")
    ]
    told = words if len(words) > 1 else [setting.default, *words]
    return [word for word in dict.fromkeys(told) if re.fullmatch(r"[\w.+-]+", word) and word != "none"]


def _starting(incomplete: str, found: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(value, about) for value, about in found if value.startswith(incomplete)]


def _paths(incomplete: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield folders, and files with one of the suffixes, whose path begins with `incomplete`."""
    folder = os.path.dirname(incomplete)
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:
            names = sorted((entry.name, entry.is_dir()) for entry in entries)
    except OSError:
        return
    hidden = os.path.basename(incomplete).startswith(".")
    for name, is_folder in names:
        if name.startswith(".") and not hidden:
            continue
        if is_folder or name.endswith(suffixes):
            yield os.path.join(folder, name) + ("/" if is_folder else ""), ""


def _matching(folder: Path, pattern: str) -> list[Path]:
    try:
        return [path for path in folder.glob(pattern) if not path.name.startswith(".")]
    except OSError:
        return []


def _is_model(path: Path) -> bool:
    return any(os.path.isfile(path / name) for name in _MODEL_FILES)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
