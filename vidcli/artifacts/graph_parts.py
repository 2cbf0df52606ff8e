"""Cut a network that sees frame by frame in two, so that windows which overlap share features of frames.

    clip ── backbone, projection ── features ── head ── logits
      └──────────── FRAMES ────────────┘ └────── HEAD ─────┘

Such a network gives its features beside the logits. Its head has to know the number of clips and of frames.
In the whole network it reads them from the clip, as a part from the features, whose first two sizes are the
same.
"""

from __future__ import annotations

from typing import Any, TypeAlias

INPUT_NAME, FEATURES_NAME, OUTPUT_NAME = "clip", "features", "logits"

Part: TypeAlias = tuple[str, str]
"""What a part of a network takes, and what it gives."""
WHOLE: Part = (INPUT_NAME, OUTPUT_NAME)
FRAMES: Part = (INPUT_NAME, FEATURES_NAME)
"""Clips (B, T, C, H, W) to features (B, T, E)."""
HEAD: Part = (FEATURES_NAME, OUTPUT_NAME)
"""Features (B, T, E) to logits (B, K)."""

_SIZE_READERS = ("Shape", "ShapeOf")


def cut_onnx(content: bytes, part: Part, onnx: Any) -> bytes:
    """Return a part of an ONNX model.

    Args:
        content: the model, which was checked.
        part: what it takes and gives.
        onnx: the classes of its messages.

    Raises:
        ValueError: the model gives no features, or its head needs more than these.
    """
    if part == WHOLE:
        return content
    model = onnx.ModelProto.FromString(content)
    graph, (source, result) = model.graph, part
    ends = {value.name: value for value in (*graph.input, *graph.output)}
    if FEATURES_NAME not in ends:
        raise ValueError("gives no features of frames")
    if part == HEAD:
        for node in graph.node:
            if node.op_type in _SIZE_READERS and node.input[0] == INPUT_NAME:
                node.input[0] = FEATURES_NAME
    # Nodes stand in the order in which they are computed.
    wanted, kept = {result}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output) and source not in node.output:
            kept.append(node)
            wanted.update(node.input)
    if wanted.intersection({value.name for value in graph.input} - {source}):
        raise ValueError(f"does not make {result} of {source} alone")
    numbers = [tensor for tensor in graph.initializer if tensor.name in wanted]
    part_graph = onnx.GraphProto(
        name=graph.name, node=kept[::-1], input=[ends[source]], output=[ends[result]], initializer=numbers
    )
    model.graph.CopyFrom(part_graph)
    return bytes(model.SerializeToString())


def cut_openvino(model: Any, part: Part, openvino: Any) -> Any:
    """Return a part of an `openvino.Model`, which may change it.

    Args:
        model: the model.
        part: what it takes and gives.
        openvino: the library.

    Raises:
        ValueError: the model gives no features, or its head needs more than these.
    """
    if part == WHOLE:
        return model
    results = {name: port.get_node() for port in model.outputs for name in port.names}
    if FEATURES_NAME not in results or OUTPUT_NAME not in results:
        raise ValueError("gives no features of frames")
    if part == FRAMES:
        return openvino.Model([results[FEATURES_NAME]], model.get_parameters())
    features = results[FEATURES_NAME].input_value(0)
    given = openvino.opset13.parameter(features.get_partial_shape(), features.get_element_type())
    given.output(0).set_names({FEATURES_NAME})
    (clip,) = model.inputs
    readers = [port for port in clip.get_target_inputs() if port.get_node().get_type_name() in _SIZE_READERS]
    followers = [
        port for port in features.get_target_inputs() if port.get_node() is not results[FEATURES_NAME]
    ]
    for port in (*readers, *followers):
        port.replace_source_output(given.output(0))
    try:
        return openvino.Model([results[OUTPUT_NAME]], [given])
    except RuntimeError as error:
        raise ValueError(f"does not make {OUTPUT_NAME} of {FEATURES_NAME} alone") from error
