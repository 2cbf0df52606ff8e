"""Every setting as `vidcli settings` prints it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vidcli.config.sections import Config
from vidcli.config.values import MAX_PIXELS, MIN_PIXELS, Section


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
        assert issubclass(section, Section)
        defaults = section().model_dump()
        schema = section.model_json_schema()["properties"]
        for name, field in section.model_fields.items():
            yield Setting(
                f"{section_name}.{name}",
                _to_text(defaults[name]),
                _describe_range(schema[name]),
                field.description or "",
            )


def _describe_range(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        of_value, other = _describe_range(schema["anyOf"][0]), schema["anyOf"][1]
        if "const" in other:
            return f"{of_value} | {other['const']}"
        return of_value if of_value == "text" else f"{of_value}, or none"
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
    if schema.get("type") == "object":
        return "mapping"
    if schema.get("type") == "boolean":
        return "true | false"
    if "number" in {part.get("type") for part in schema.get("prefixItems", ())}:
        return f"{len(schema['prefixItems'])} numbers, {_describe_range(schema['prefixItems'][0])} each"
    if schema.get("type") == "array":
        return f"{MIN_PIXELS} to {MAX_PIXELS} each"
    return "text"


def _to_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
