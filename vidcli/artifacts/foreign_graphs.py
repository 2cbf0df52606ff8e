"""Make ONNX and OpenVINO networks of unknown origin safe to load.

Each function parses the bytes of a file, checks every part, and writes the parts that it knows anew. A
runtime receives only the new bytes, so that it sees nothing that was not checked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xml.etree import ElementTree

_STANDARD_DOMAINS = ("", "ai.onnx")
_HINTS = ("producer_name", "producer_version", "domain", "doc_string", "metadata_props", "training_info")
"""Fields of an ONNX model on which its results do not depend. ONNX Runtime may take settings from one of
them, and recognises its own format by bytes that a field may imitate."""

_MAX_GRAPH_BYTES = 32 * 2**20
_IR_VERSION = "11"
_OPSET = re.compile(r"opset\d{1,3}")
_NOT_NEEDED = ("If", "Loop", "TensorIterator", "Assign", "ReadValue")
_BITS = {
    **dict.fromkeys(("f64", "i64", "u64"), 64),
    **dict.fromkeys(("f32", "i32", "u32"), 32),
    **dict.fromkeys(("f16", "bf16", "i16", "u16"), 16),
    **dict.fromkeys(("i8", "u8", "boolean", "f8e4m3", "f8e5m2", "f8e8m0"), 8),
    **dict.fromkeys(("i4", "u4", "nf4", "f4e2m1"), 4),
    "u2": 2,
    "u1": 1,
}


def clean_onnx(content: bytes, onnx: Any) -> bytes:
    """Return a safe ONNX model: it has standard operators only, and holds all its numbers itself.

    Args:
        content: the bytes of the file.
        onnx: holds the classes of ONNX's messages, as the library does.

    Raises:
        ValueError: the file is no ONNX model, or the model refers to other files, or holds operators that
            are not standard, loops or branches.
    """
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception as error:  # the library has errors of its own
        raise ValueError("is no ONNX model") from error
    model.DiscardUnknownFields()
    for field in _HINTS:
        model.ClearField(field)
    if model.functions:
        raise ValueError("holds operators of its own making, which no export of vidcli has")
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto):
            if message.external_data or message.data_location != onnx.TensorProto.DEFAULT:
                raise ValueError("refers to numbers in another file, which is never opened")
        elif isinstance(message, onnx.NodeProto):
            if message.domain not in _STANDARD_DOMAINS:
                raise ValueError(f"holds an operator of {message.domain!r}, which is never run")
        elif isinstance(message, onnx.AttributeProto) and (message.HasField("g") or message.graphs):
            raise ValueError("holds a loop or a branch, which no export of vidcli has")
    return bytes(model.SerializeToString(deterministic=True))


def _messages(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all messages in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if hasattr(value, "__len__") else (value,):
                yield from _messages(child)


def clean_ir(xml: bytes, num_weight_bytes: int) -> bytes:
    """Return the graph of a safe OpenVINO model: it has standard operators and numbers in `model.bin` only.

    Args:
        xml: the content of `model.xml`.
        num_weight_bytes: the size of `model.bin`.

    Raises:
        ValueError: the file is no OpenVINO model, or the model holds operators that are not standard,
            loops or branches, or numbers outside of `model.bin`.
    """
    from xml.etree import ElementTree

    try:
        if len(xml) > _MAX_GRAPH_BYTES:
            raise ValueError(f"holds a graph of more than {_MAX_GRAPH_BYTES >> 20} MiB")
        text = xml.decode("utf-8")
        if "<!DOCTYPE" in text:
            raise ValueError("holds a document type, which no export of vidcli has")
        net = ElementTree.fromstring(text)
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise ValueError("is no OpenVINO model") from error
    if net.tag != "net" or net.get("version") != _IR_VERSION:
        raise ValueError(f"is no OpenVINO model of version {_IR_VERSION}")
    for part in list(net):
        if part.tag not in ("layers", "edges"):
            net.remove(part)
    for layer in net.iter("layer"):
        kind = layer.get("type", "")
        if not _OPSET.fullmatch(layer.get("version", "")):
            raise ValueError("holds an operator that is not one of OpenVINO's own, which is never run")
        if kind in _NOT_NEEDED:
            raise ValueError(f"holds the operator {kind}, which no export of vidcli has")
        if kind == "Const":
            _check_constant(layer.find("data"), num_weight_bytes)
    try:
        return b'<?xml version="1.0"?>\n' + ElementTree.tostring(net, encoding="unicode").encode("utf-8")
    except RecursionError as error:
        raise ValueError("is nested too deep") from error


def _check_constant(data: ElementTree.Element | None, num_weight_bytes: int) -> None:
    """Refuse a constant whose type and shape do not fit a part of the weights."""
    try:
        assert data is not None
        offset, size = _whole(data.attrib["offset"]), _whole(data.attrib["size"])
        sides = [_whole(side) for side in data.attrib["shape"].split(",") if side.strip()]
        num_bytes = -(-math.prod(sides) * _BITS[data.attrib["element_type"]] // 8)
    except (AssertionError, KeyError, ValueError) as error:
        raise ValueError("holds a constant of unknown type, shape or place") from error
    if offset + size > num_weight_bytes or num_bytes > size:
        raise ValueError("holds a constant outside of its weights")


def _whole(text: str) -> int:
    if not re.fullmatch(r"\s*\d{1,19}\s*", text, re.ASCII):
        raise ValueError("no whole number")
    return int(text)
