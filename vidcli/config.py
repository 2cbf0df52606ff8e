"""The settings of a run: typed, with defaults and ranges, from recipe and `--set`.

Every setting has a default, a range and one sentence; `vidcli train --help` points at
`vidcli settings`, which prints this file's tables. A run stores its settings fully resolved.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from vidcli.errors import ConfigError, did_you_mean
from vidcli.sampling import SamplingMode


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


_MIN_PIXELS, _MAX_PIXELS = 16, 1024


def _parse_size(value: object) -> object:
    """Accept 112, "112", "64x112" (height x width) or [64, 112]."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+)\s*(?:[x×]\s*(\d+)\s*)?", value)
        sides: list[Any] = [int(side) for side in match.groups() if side] if match else []
    elif isinstance(value, (list, tuple)):
        sides = list(value)
    else:
        sides = [value]
    if len(sides) not in (1, 2) or not all(isinstance(side, (int, float)) for side in sides):
        raise ValueError("expected pixels such as 112, or HEIGHTxWIDTH such as 64x112")
    if not all(_MIN_PIXELS <= side <= _MAX_PIXELS and side == int(side) for side in sides):
        raise ValueError(f"expected whole pixels from {_MIN_PIXELS} to {_MAX_PIXELS} a side")
    return int(sides[0]), int(sides[-1])


def _parse_word(value: object) -> object:
    """Undo YAML 1.1, which reads the words on and off as truth values."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


FrameSize = Annotated[
    tuple[int, int],
    BeforeValidator(_parse_size),
    PlainSerializer(lambda size: f"{size[0]}x{size[1]}", return_type=str),
]


class ClipConfig(_Section):
    """Which frames the model sees, and how large. The same in training, eval and predict."""

    length: int = Field(16, ge=1, le=512, description="Frames a clip.")
    size: FrameSize = Field(
        (112, 112), description="Pixels of a frame: one number for a square, or HEIGHTxWIDTH."
    )
    fit: Literal["crop", "stretch"] = Field(
        "crop",
        description="crop keeps the proportions and cuts what is outside; stretch keeps the whole frame.",
    )
    crop_ratio: float = Field(
        1.0, ge=0.5, le=1.0, description="Share of the scaled frame that eval keeps (0.875: 224 of 256)."
    )
    sampling: SamplingMode = Field(
        "segments", description="segments covers the whole video; dense takes neighbouring frames."
    )
    stride_seconds: float = Field(0.1, gt=0, le=60, description="Seconds between the frames of a dense clip.")
    views: int = Field(1, ge=1, le=100, description="Clips a video in eval and predict, averaged.")


class DataConfig(_Section):
    """How videos become splits and batches."""

    val_fraction: float = Field(
        0.15, ge=0, lt=0.9, description="Share of the training videos held out when there is no val split."
    )
    test_fraction: float = Field(
        0.15, ge=0, lt=0.9, description="Share of all videos held out when there is no test split."
    )
    split_seed: int = Field(
        0, ge=0, description="Seed of the automatic split; train.seed leaves the split alone."
    )
    max_unusable: float = Field(
        0.1, ge=0, le=1, description="Share of undecodable videos above which the run stops."
    )
    cache: Annotated[Literal["auto", "memory", "off"], BeforeValidator(_parse_word)] = Field(
        "auto",
        description="memory keeps decoded frames after the first epoch; auto does when they fit.",
    )
    cache_gib: float = Field(4.0, gt=0, le=4096, description="Memory the frame cache may take, in GiB.")
    decode: Literal["exact", "keyframes", "fast"] = Field(
        "exact",
        description="keyframes takes the nearest earlier keyframe, for hours of video; fast leaves out "
        "the codec's deblocking; both give up exact frames.",
    )
    max_pixels: int = Field(
        8192 * 8192, ge=256, description="Pixels of a coded frame above which a video is refused."
    )
    max_frames: int = Field(
        0, ge=0, description="Frames decoded for one video above which it is refused; 0 is no limit."
    )
    max_seconds: float = Field(
        3600.0, gt=0, description="Seconds of decoding after which a video is abandoned."
    )
    workers: int = Field(0, ge=0, le=256, description="Videos decoded at once; 0 takes the number of cores.")


class AugmentConfig(_Section):
    """Random changes in training, drawn once a clip."""

    crop_scale: float = Field(
        1.0,
        gt=0.05,
        le=1,
        description="Smallest share of the largest possible window that a random crop keeps.",
    )
    flip: Annotated[Literal["auto", "on", "off"], BeforeValidator(_parse_word)] = Field(
        "auto", description="Mirror half of the clips; auto does unless class names contain a side."
    )
    brightness: float = Field(0.0, ge=0, le=1, description="Largest relative change of brightness.")
    contrast: float = Field(0.0, ge=0, le=1, description="Largest relative change of contrast.")


class ModelConfig(_Section):
    """Backbone, head and what is between."""

    backbone: str = Field("compact_cnn", description="Frame network; `vidcli models` lists them.")
    head: str = Field("gru", description="Sequence network; `vidcli models` lists them.")
    pretrained: bool = Field(False, description="Start a torchvision backbone from its ImageNet weights.")
    weights: str | None = Field(
        None, description="Local file of backbone weights (.safetensors or .pth) to start from."
    )
    shift: Annotated[Literal["auto", "on", "off"], BeforeValidator(_parse_word)] = Field(
        "auto",
        description="Temporal shift: every residual block sees a part of its neighbour frames; auto does "
        "where there are such blocks.",
    )
    frame_differences: bool = Field(
        True, description="Give the backbone the change since the previous frame beside RGB."
    )
    grid: int = Field(2, ge=1, le=8, description="Cells a side of the feature grid that is kept a frame.")
    width: int = Field(128, ge=8, le=4096, description="Features a frame given to the head.")
    hidden: int = Field(128, ge=8, le=4096, description="Units of the head's layers.")
    layers: int = Field(1, ge=1, le=24, description="Layers of a recurrent or transformer head.")
    bidirectional: bool = Field(
        False, description="Recurrent heads read the clip backwards as well as forwards."
    )
    attention_heads: int = Field(4, ge=1, le=64, description="Attention heads of a transformer head.")
    dropout: float = Field(0.3, ge=0, lt=1, description="Share of features dropped in training.")


class TrainConfig(_Section):
    """Optimisation."""

    epochs: int = Field(40, ge=1, le=10_000, description="Passes over the training videos.")
    batch_size: int = Field(16, ge=1, le=4096, description="Clips a step.")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="Update rule.")
    lr: float = Field(1e-3, gt=0, le=10, description="Highest learning rate, reached after the warm-up.")
    weight_decay: float = Field(0.05, ge=0, le=1, description="Decay of weights (not of biases and norms).")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd.")
    warmup_epochs: float = Field(5.0, ge=0, description="Epochs of rising learning rate before the cosine.")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Probability given to the other classes.")
    grad_clip: float = Field(5.0, ge=0, description="Largest gradient norm; 0 does not clip.")
    seed: int = Field(0, ge=0, description="Seed of weights, order, sampling and augmentation.")
    patience: int = Field(
        0, ge=0, description="Epochs without a better validation before stopping; 0 never stops early."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto trains in bfloat16 on CUDA, float32 elsewhere."
    )
    checkpoint_minutes: float = Field(
        10.0, gt=0, description="Minutes between saves inside an epoch; each epoch ends with one."
    )


class Config(_Section):
    """All settings of a run."""

    clip: ClipConfig = ClipConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()


class Setting(NamedTuple):
    """One setting as `vidcli settings` shows it."""

    name: str
    default: str
    range: str
    description: str


def iter_settings() -> Iterator[Setting]:
    """Yield every setting with its default, range and sentence, in file order."""
    for section_name, section_field in Config.model_fields.items():
        section = section_field.annotation
        assert isinstance(section, type)
        assert issubclass(section, _Section)
        defaults = section().model_dump()
        schema = section.model_json_schema()["properties"]
        for name, field in section.model_fields.items():
            yield Setting(
                f"{section_name}.{name}",
                _to_text(defaults[name]),
                _describe_range(schema[name]),
                field.description or "",
            )


def load_config(recipe: str | None = None, assignments: Sequence[str] = ()) -> Config:
    """Build settings from defaults, then a recipe, then `KEY=VALUE` assignments.

    Raises:
        ConfigError: lists every fault at once: unknown names (with the nearest known), values out
            of range, a recipe that is missing or no mapping.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    if recipe is not None:
        path = find_recipe(recipe)
        values = _read_yaml(path)
        faults += _unknown_names(values)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            faults.append(f"--set {assignment}: expected KEY=VALUE, such as train.lr=3e-4")
            continue
        section, _, name = key.partition(".")
        unknown = _unknown_names({section: {name: None} if name else None})
        if unknown:
            faults += unknown
            continue
        if not isinstance(values.setdefault(section, {}), dict):
            continue  # already among the faults of the recipe
        values[section][name] = _parse_value(text)
    known = _without_unknown(values)
    try:
        config = Config.model_validate(known)
    except pydantic.ValidationError as error:
        faults += [_describe_fault(fault) for fault in error.errors()]
    if faults:
        raise ConfigError("\n".join(faults))
    return config


def config_from_dict(values: Mapping[str, Any]) -> Config:
    """Rebuild settings that `config_to_dict` wrote.

    Raises:
        ConfigError: the values are not those of this version.
    """
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError("\n".join(_describe_fault(fault) for fault in error.errors())) from error


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return plain values, ready for YAML or JSON."""
    return config.model_dump(mode="json")


def config_to_yaml(config: Config) -> str:
    """Return the settings as a recipe that repeats them."""
    return yaml.safe_dump(config_to_dict(config), sort_keys=False)


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
    if given.is_file():
        return given
    builtin = {path.stem: path for path in builtin_recipes()}
    if recipe in builtin:
        return builtin[recipe]
    raise ConfigError(
        f"recipe {recipe!r}: neither a file nor a built-in recipe ({', '.join(builtin)})."
        + did_you_mean(recipe, builtin)
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"recipe {path}: cannot be read as YAML ({error})") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"recipe {path}: expected sections such as `clip:` and `train:` at the top")
    return values


def _sections() -> dict[str, type[_Section]]:
    found = {name: field.annotation for name, field in Config.model_fields.items()}
    return {name: section for name, section in found.items() if isinstance(section, type)}


def _unknown_names(values: Mapping[str, Any]) -> list[str]:
    sections = _sections()
    all_names = [f"{name}.{key}" for name, section in sections.items() for key in section.model_fields]
    faults = []
    for section_name, section_values in values.items():
        if section_name not in sections:
            keys = list(section_values) if isinstance(section_values, Mapping) else []
            given = f"{section_name}.{keys[0]}" if len(keys) == 1 else section_name
            ends = [name for name in all_names if name.endswith(f".{section_name}")]
            hint = f" Did you mean {ends[0]!r}?" if ends else did_you_mean(given, all_names)
            faults.append(f"unknown setting {given!r}.{hint}")
            continue
        if not isinstance(section_values, Mapping):
            faults.append(
                f"{section_name}: expected settings such as {section_name}."
                f"{next(iter(sections[section_name].model_fields))}"
            )
            continue
        for key in section_values:
            if key not in sections[section_name].model_fields:
                given = f"{section_name}.{key}"
                faults.append(f"unknown setting {given!r}.{did_you_mean(given, all_names)}")
    return faults


def _without_unknown(values: Mapping[str, Any]) -> dict[str, Any]:
    sections = _sections()
    return {
        name: {key: value for key, value in given.items() if key in sections[name].model_fields}
        for name, given in values.items()
        if name in sections and isinstance(given, Mapping)
    }


def _parse_value(text: str) -> Any:
    for number in (int, float):  # YAML 1.1 reads 3e-4 as a string
        try:
            return number(text)
        except ValueError:
            continue
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _describe_fault(fault: Any) -> str:
    name = ".".join(str(part) for part in fault["loc"] if not isinstance(part, int))
    given = fault.get("input")
    return f"{name}: {fault['msg'].removeprefix('Value error, ')} (got {given!r})"


def _describe_range(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(str(choice) for choice in schema["enum"])
    bounds = [
        f"{symbol} {schema[key]:g}"
        for key, symbol in (
            ("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")
        )
        if key in schema
    ]  # fmt: skip
    if bounds:
        return ", ".join(bounds)
    if schema.get("type") == "boolean":
        return "true | false"
    if schema.get("type") == "array":
        return f"{_MIN_PIXELS} to {_MAX_PIXELS} each"
    return "text"


def _to_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
