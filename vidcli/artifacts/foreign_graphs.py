"""ONNX and OpenVINO networks that a stranger may have written, cut down to what was looked at.

Each function takes the bytes of a file and returns other bytes, written anew from what it understood.
A runtime is given these alone, so that it sees nothing that was passed over here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

_STANDARD_DOMAINS = ("", "ai.onnx")
_HINTS = ("producer_name", "producer_version", "domain", "doc_string", "metadata_props", "training_info")
"""Fields of an ONNX model that its answers do not depend on. ONNX Runtime can be told to take settings
from one, and tells its own format by bytes that another may put in their place."""

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
    """Return an ONNX model of standard operators, all of whose numbers are inside of it.

    Args:
        content: of the file.
        onnx: the library.

    Raises:
        ValueError: it refers to other files, holds operators of another kind or of its own making, or
            parts that decide themselves how often they run; or is none.
    """
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception as error:  # the library's own kind
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
    """Yield a protobuf message and all that it holds, of any kind."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if hasattr(value, "__len__") else (value,):
                yield from _messages(child)


def clean_ir(xml: bytes, num_weight_bytes: int) -> bytes:
    """Return the graph of an OpenVINO model of standard operators whose numbers are all in its weights.

    Args:
        xml: content of `model.xml`.
        num_weight_bytes: size of `model.bin`.

    Raises:
        ValueError: it holds operators of another kind, parts that decide themselves how often they run,
            or numbers outside of the weights; or is none.
    """
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
    """Refuse a constant that is not the part of the weights that its type and shape ask for."""
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
