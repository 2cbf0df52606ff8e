"""Exported folders are read with care: whole, unchanged, and without running anything in them."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from typer.testing import CliRunner

from vidcli.artifacts import engines
from vidcli.artifacts.description import Checkpoint, describe_checkpoint
from vidcli.artifacts.engines import Run, import_runtime
from vidcli.artifacts.exported import ExportedNetwork, load_network, open_network, read_export
from vidcli.artifacts.foreign_graphs import clean_ir, clean_onnx
from vidcli.artifacts.graph_parts import FRAMES, HEAD, WHOLE, Part
from vidcli.commands.app import app
from vidcli.config import Config
from vidcli.errors import CheckpointError, ExportError

CLIP = (1, 4, 3, 32, 32)
NAMES = ("a", "b")
WEIGHT = np.array([[1.0, -1.0]] * 3, np.float32)


def sums(*nodes: onnx.NodeProto, weight: onnx.TensorProto | None = None) -> onnx.ModelProto:
    """A network of two classes: the sums of the colours, weighted."""
    clip = helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["B", *CLIP[1:]])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", 2])
    own = [
        helper.make_node("ReduceSum", ["clip", "axes"], ["sums"], keepdims=0),
        helper.make_node("MatMul", ["sums", "weight"], ["logits"]),
    ]
    numbers = [
        numpy_helper.from_array(np.array([1, 3, 4]), "axes"),
        weight or numpy_helper.from_array(WEIGHT, "weight"),
    ]
    graph = helper.make_graph([*nodes, *own], "g", [clip], [logits], numbers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def with_features(*head: onnx.NodeProto) -> onnx.ModelProto:
    """A network of frames whose features are the sums of the colours; the head is left to the caller."""
    clip = helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["B", "T", *CLIP[2:]])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "T", 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", 2])
    numbers = [
        numpy_helper.from_array(np.array([3, 4]), "sides"),
        numpy_helper.from_array(np.array([1]), "time"),
        numpy_helper.from_array(WEIGHT, "weight"),
    ]
    own = helper.make_node("ReduceSum", ["clip", "sides"], ["features"], keepdims=0)
    graph = helper.make_graph([own, *head], "g", [clip], [logits, features], numbers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def frame_head(summed: str = "features") -> list[onnx.NodeProto]:
    return [
        helper.make_node("ReduceSum", [summed, "time"], ["sums"], keepdims=0),
        helper.make_node("MatMul", ["sums", "weight"], ["logits"]),
    ]


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_a_network_is_cut_where_its_features_are(form: str, tmp_path: Path) -> None:
    proto = with_features(*frame_head())
    contents = {"model.onnx": proto.SerializeToString()} if form == "onnx" else ir_of(proto, tmp_path)
    clip = np.random.default_rng(0).normal(size=(2, 5, *CLIP[2:])).astype(np.float32)
    whole, frames, head = (open_network(tmp_path, form, contents, 1, part) for part in (WHOLE, FRAMES, HEAD))
    np.testing.assert_allclose(frames(clip), clip.sum(axis=(3, 4)), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(head(frames(clip)), whole(clip), rtol=1e-5)


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_a_head_that_looks_at_the_clip_is_refused_as_a_part(form: str, tmp_path: Path) -> None:
    peek = helper.make_node("ReduceMax", ["clip", "sides"], ["more"], keepdims=0)
    both = helper.make_node("Add", ["features", "more"], ["seen"])
    proto = with_features(peek, both, *frame_head("seen"))
    contents = {"model.onnx": proto.SerializeToString()} if form == "onnx" else ir_of(proto, tmp_path)
    open_network(tmp_path, form, contents)
    with pytest.raises(CheckpointError, match="does not make logits of features alone"):
        open_network(tmp_path, form, contents, 1, HEAD)


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_a_network_without_features_has_no_parts(
    form: str, write: Callable[..., Path], ir: dict[str, bytes]
) -> None:
    contents = {"model.onnx": sums().SerializeToString()} if form == "onnx" else ir
    network, _ = load_network(write(form, contents, sees_neighbours=False))
    assert isinstance(network, ExportedNetwork)
    with pytest.raises(CheckpointError, match="gives no features"):
        network.open_parts(1)
    with pytest.raises(CheckpointError, match="features"):
        network.features(np.zeros(CLIP, np.float32))  # that was never opened


def test_features_of_another_shape_are_refused(write: Callable[..., Path]) -> None:
    proto = with_features(*frame_head())
    proto.graph.node[0].output[0] = "sums_of_colours"
    turned = helper.make_node("Transpose", ["sums_of_colours"], ["features"], perm=[1, 0, 2])
    proto.graph.node.insert(1, turned)
    network, _ = load_network(write("onnx", {"model.onnx": proto.SerializeToString()}, sees_neighbours=False))
    assert isinstance(network, ExportedNetwork)
    network.open_parts(1)
    with pytest.raises(CheckpointError, match=r"gives float32 \(5, 2, 3\), where features \(2, 5, 3\)"):
        network.features(np.zeros((2, 5, *CLIP[2:]), np.float32))


@pytest.fixture(scope="module")
def ir(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of `sums` in OpenVINO's form."""
    return ir_of(sums(), tmp_path_factory.mktemp("ir"))


@pytest.fixture(scope="module")
def description(small_config: Callable[..., Config]) -> dict[str, Any]:
    """What `vidcli.json` says of a model of two classes, before it is exported."""
    return describe_checkpoint(Checkpoint({}, small_config(), NAMES))


@pytest.fixture
def write(description: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """Write an exported folder whose digests are right."""

    def write_export(form: str, contents: dict[str, bytes], **changes: object) -> Path:
        folder = tmp_path / "exported"
        folder.mkdir(exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        export = {"format": form, "precision": "float32", "files": digests} | changes
        (folder / "vidcli.json").write_text(json.dumps({**description, "export": export}))
        return folder

    return write_export


def write_onnx(write: Callable[..., Path], model: onnx.ModelProto) -> Path:
    return write("onnx", {"model.onnx": model.SerializeToString()})


def ir_of(model: onnx.ModelProto, folder: Path) -> dict[str, bytes]:
    from vidcli.export.conversion import network_files, to_openvino

    return network_files(to_openvino(model), "openvino", folder)


# --- torch-export, which may hold code ------------------------------------------------------------


def test_a_program_is_never_opened(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: object, **kwargs: object) -> None:
        raise AssertionError("a program was opened")

    monkeypatch.setattr(torch.export, "load", load)
    monkeypatch.setattr(torch, "load", load)
    folder = write("torch-export", {"model.pt2": b"PK anything"})
    video = folder / "none.mp4"
    for command in (
        ["predict", video, "--model", folder],
        ["eval", folder, "--model", folder],
        ["explain", video, "--model", folder],
        ["predict", video, "--timeline", "--model", folder],
        ["predict", video, "--model", folder / "model.pt2"],
    ):
        result = CliRunner().invoke(app, [str(word) for word in command], env={"COLUMNS": "500"})
        assert result.exit_code == 1, (command, result.output)
        assert "for other programs and never loaded" in result.stderr
        assert "--format openvino" in result.stderr
    with pytest.raises(CheckpointError, match="never loaded"):
        load_network(folder)
    assert read_export(folder)["export"]["format"] == "torch-export"  # `models show` tells what it is


@pytest.mark.parametrize("name", ["model.onnx", "model.xml", "model.bin"])
def test_one_file_of_an_export_is_no_model(name: str, write: Callable[..., Path]) -> None:
    folder = write("onnx", {"model.onnx": b"", name: b""})
    with pytest.raises(CheckpointError, match="name the folder that `vidcli export` wrote"):
        load_network(folder / name)


# --- ONNX -----------------------------------------------------------------------------------------


def test_a_network_of_standard_operators_runs(write: Callable[..., Path]) -> None:
    network, about = load_network(write_onnx(write, sums()))
    assert network(np.ones(CLIP, np.float32)).tolist() == [[3.0 * 4 * 32 * 32, -3.0 * 4 * 32 * 32]]
    assert about.class_names == NAMES


def external(location: str) -> onnx.TensorProto:
    tensor = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[3, 2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "24")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def sparse(inner: onnx.TensorProto) -> onnx.NodeProto:
    indices = numpy_helper.from_array(np.arange(3), "indices")
    return helper.make_node(
        "Constant", [], ["c"], sparse_value=onnx.SparseTensorProto(values=inner, indices=indices, dims=[3])
    )


@pytest.mark.parametrize("place", ["beside", "absolute", "above", "memory"])
@pytest.mark.parametrize(
    "build",
    [
        lambda tensor: sums(weight=tensor),
        lambda tensor: sums(helper.make_node("Constant", [], ["c"], value=tensor)),
        lambda tensor: sums(sparse(tensor)),
    ],
    ids=["initializer", "constant", "sparse"],
)
def test_numbers_in_other_files_are_never_read(
    build: Callable[[onnx.TensorProto], onnx.ModelProto],
    place: str,
    write: Callable[..., Path],
    in_tmp_path: Path,
) -> None:
    secret = in_tmp_path / "secret.bin"
    secret.write_bytes(WEIGHT.tobytes())
    (in_tmp_path / "exported").mkdir()
    (in_tmp_path / "exported" / "secret.bin").write_bytes(WEIGHT.tobytes())
    names = {"beside": "secret.bin", "absolute": str(secret), "above": "../secret.bin"}
    location = names.get(place, "*/_ORT_MEM_ADDR_/*")
    with pytest.raises(CheckpointError, match="refers to numbers in another file, which is never opened"):
        load_network(write_onnx(write, build(external(location))))


def test_external_data_that_only_a_field_tells_of_is_refused() -> None:
    tensor = external("x")
    tensor.data_location = TensorProto.DEFAULT
    with pytest.raises(ValueError, match="another file"):
        clean_onnx(sums(weight=tensor).SerializeToString(), onnx)


@pytest.mark.parametrize(("kind", "domain"), [("EPContext", "com.microsoft"), ("Anything", "custom.ops")])
def test_operators_of_others_are_never_run(kind: str, domain: str, write: Callable[..., Path]) -> None:
    node = helper.make_node(kind, [], ["c"], domain=domain, ep_cache_context="/etc/passwd", embed_mode=0)
    model = sums(node)
    model.opset_import.append(helper.make_opsetid(domain, 1))
    with pytest.raises(CheckpointError, match=f"holds an operator of '{domain}'"):
        load_network(write_onnx(write, model))


def test_operators_of_its_own_making_are_refused() -> None:
    """Calling one another ten times each, a few of them would fill the memory once they are written out."""
    model = sums(helper.make_node("F", [], ["c"], domain="local"))
    calls = [helper.make_node("F", [], ["c"], domain="local")]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    model.functions.append(helper.make_function("local", "F", [], ["c"], calls, opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    with pytest.raises(ValueError, match="operators of its own making"):
        clean_onnx(model.SerializeToString(), onnx)


def test_loops_are_refused() -> None:
    empty = helper.make_graph([], "g", [], [])
    branch = helper.make_node("If", ["x"], [], then_branch=empty, else_branch=empty)
    with pytest.raises(ValueError, match="a loop or a branch"):
        clean_onnx(sums(branch).SerializeToString(), onnx)


def test_a_runtime_is_given_neither_settings_nor_another_format(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, in_tmp_path: Path
) -> None:
    monkeypatch.setenv("ORT_LOAD_CONFIG_FROM_MODEL", "1")
    model = sums()
    settings = {"session_options": {"enable_profiling": True}}
    model.metadata_props.add(key="ort_config", value=json.dumps(settings))
    model.producer_name = "ORTM"  # at the place where ONNX Runtime looks for the name of its own format
    content = model.SerializeToString()
    assert content[4:8] == b"ORTM"
    cleaned = onnx.ModelProto.FromString(clean_onnx(content, onnx))
    assert not cleaned.metadata_props
    assert not cleaned.producer_name
    load_network(write("onnx", {"model.onnx": content}))[0](np.ones(CLIP, np.float32))
    assert [path.name for path in in_tmp_path.iterdir()] == ["exported"]  # no profile


def test_what_is_checked_is_what_runs(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_onnx(write, sums())
    other = sums(weight=numpy_helper.from_array(-WEIGHT, "weight")).SerializeToString()
    clean = engines.clean_onnx

    def swap(content: bytes, library: Any) -> bytes:
        (folder / "model.onnx").write_bytes(other)  # between the check and the runtime
        return clean(content, library)

    monkeypatch.setattr(engines, "clean_onnx", swap)
    assert load_network(folder)[0](np.ones(CLIP, np.float32))[0, 0] > 0
    with pytest.raises(CheckpointError, match="is not the file that"):
        load_network(folder)


# --- OpenVINO -------------------------------------------------------------------------------------


def test_an_openvino_network_runs(write: Callable[..., Path], ir: dict[str, bytes]) -> None:
    network, _ = load_network(write("openvino", ir))
    assert network(np.ones(CLIP, np.float32))[0, 0] == 3 * 4 * 32 * 32


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('type="MatMul" version="opset1"', 'type="MatMul" version="extension"', "not one of OpenVINO's own"),
        ('type="MatMul" version="opset1"', 'type="Loop" version="opset5"', "the operator Loop"),
        ('offset="0"', 'offset="999999"', "outside of its weights"),
        ('offset="0"', 'offset="18446744073709551615"', "unknown type, shape or place"),
        ('offset="0"', 'offset="-8"', "unknown type, shape or place"),
        ('shape="2, 3"', 'shape="2, 3000"', "outside of its weights"),
        ('element_type="f32" shape="2, 3"', 'element_type="string" shape="2, 3"', "unknown type"),
        ("<net ", '<!DOCTYPE net [<!ENTITY a "b">]><net ', "document type"),
        ('version="11"', 'version="7"', "no OpenVINO model of version 11"),
        ("</net>", "", "no OpenVINO model"),
        ("</net>", " " * 2**25 + "</net>", "a graph of more than 32 MiB"),
    ],
    ids=lambda value: value[:40],
)
def test_what_openvino_does_not_need_is_refused(
    old: str, new: str, told: str, write: Callable[..., Path], ir: dict[str, bytes]
) -> None:
    text = ir["model.xml"].decode()
    assert old in text
    folder = write("openvino", ir | {"model.xml": text.replace(old, new, 1).encode()})
    with pytest.raises(CheckpointError, match=told):
        load_network(folder)


def test_only_layers_and_edges_reach_openvino(ir: dict[str, bytes]) -> None:
    assert b"<rt_info>" in ir["model.xml"]
    cleaned = clean_ir(ir["model.xml"], len(ir["model.bin"]))
    assert b"<rt_info>" not in cleaned
    assert b"MatMul" in cleaned


def test_an_onnx_network_does_not_pass_for_one_of_openvino(write: Callable[..., Path]) -> None:
    model = sums(weight=external("/etc/passwd")).SerializeToString()
    with pytest.raises(CheckpointError, match="no OpenVINO model"):
        load_network(write("openvino", {"model.xml": model, "model.bin": b""}))


# --- either ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off", b"\xff\xfe" * 9])
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_garbage_is_named(form: str, content: bytes, tmp_path: Path) -> None:
    files = dict.fromkeys(engines.NETWORK_FILES[form], content)
    with pytest.raises(CheckpointError, match=r"cannot be loaded .*export it again here"):
        open_network(tmp_path, form, files)


def test_a_network_of_other_ends_is_refused(write: Callable[..., Path]) -> None:
    model = sums()
    model.graph.output[0].name = "sums"
    with pytest.raises(CheckpointError, match="does not make logits of a clip"):
        load_network(write_onnx(write, model))


def test_a_network_of_other_clips_or_classes_is_named(
    write: Callable[..., Path], description: dict[str, Any]
) -> None:
    folder = write_onnx(write, sums())
    with pytest.raises(CheckpointError, match=r"cannot compute clips of \(1, 4, 3, 8, 8\)"):
        load_network(folder)[0](np.ones((1, 4, 3, 8, 8), np.float32))
    about = json.loads((folder / "vidcli.json").read_text())
    (folder / "vidcli.json").write_text(json.dumps(about | {"class_names": ["a", "b", "c"]}))
    with pytest.raises(CheckpointError, match=r"where logits \(1, 3\) were expected"):
        load_network(folder)[0](np.ones(CLIP, np.float32))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": "tflite"}, "format 'tflite'"),
        ({"format": ["onnx"]}, r"format \['onnx'\]"),
        ({"precision": "int4"}, "precision 'int4'"),
        ({"precision": []}, "precision"),
        ({"files": {"../model.onnx": "0" * 64}}, "files"),
        ({"files": {"model.onnx": 3}}, "no SHA-256"),
        ({"files": ["model.onnx"]}, "files"),
        ({"files": {"model.onnx": "0" * 64, "x" * 10**6: "0" * 64}}, "files"),
    ],
)
def test_a_description_of_other_files_is_named(
    changes: dict[str, object], told: str, write: Callable[..., Path]
) -> None:
    folder = write("onnx", {"model.onnx": sums().SerializeToString()}, **changes)
    with pytest.raises(CheckpointError, match=rf"vidcli\.json: is not readable .*{told}") as caught:
        read_export(folder)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"export": 3}',
        "[" * 100_000,
        '{"a": ' * 100_000,
        '{"a": %s}' % ("9" * 5000),
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": 1, "a": 2}',
        " " * (9 * 2**20),
    ],
    ids=lambda text: text[:12],
)
def test_a_foreign_description_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "vidcli.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"vidcli\.json: is not readable as the description") as caught:
        read_export(tmp_path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "change",
    [
        {"class_names": []},
        {"class_names": ["a", "a"]},
        {"format_version": 2},
        {"metrics": {"top1": "high"}},
        {"config": {"clip": {"length": 512, "size": 1024, "views": 100}}},
    ],
)
def test_an_export_is_described_as_a_model_file_is(
    change: dict[str, object], write: Callable[..., Path]
) -> None:
    folder = write_onnx(write, sums())
    about = json.loads((folder / "vidcli.json").read_text())
    (folder / "vidcli.json").write_text(json.dumps(about | change))
    with pytest.raises(CheckpointError, match=r"vidcli\.json"):
        load_network(folder)


def test_a_missing_or_changed_file_is_named(write: Callable[..., Path]) -> None:
    folder = write_onnx(write, sums())
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")
    for read in (read_export, load_network):
        with pytest.raises(CheckpointError, match="damaged"):
            read(folder)
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")
    with pytest.raises(CheckpointError, match="is a pipe, where a regular file was expected"):
        load_network(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"lacks model\.onnx"):
        load_network(folder)


def test_a_missing_library_gives_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"pip install 'vidcli\[export\]'"):
        import_runtime("onnxruntime")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signal stacks as on Linux")
def test_openvino_leaves_the_stack_for_signals_alone(tmp_path: Path) -> None:
    """A handler on the small stack that its plugin sets would crash the program at Ctrl-C."""
    from vidcli.export.conversion import to_onnx, trace

    class Sums(nn.Module):
        def forward(self, clip_BTCHW: torch.Tensor) -> torch.Tensor:
            return clip_BTCHW.sum(dim=(2, 3, 4))

    def signal_stack() -> tuple[int | None, int, int]:
        stack = engines._SignalStack()
        ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
        return stack.ss_sp, stack.ss_flags, stack.ss_size

    before = signal_stack()
    run = open_network(tmp_path, "openvino", ir_of(to_onnx(trace(Sums(), 2, 4, 4, False)), tmp_path))
    assert run(torch.ones(1, 2, 3, 4, 4).numpy()).tolist() == [[48.0, 48.0]]
    assert signal_stack() == before


def test_a_network_is_opened_again_only_for_another_number_of_threads(tmp_path: Path) -> None:
    opened: list[int] = []

    def open_part(num_callers: int, part: Part) -> Run:
        assert part == WHOLE
        opened.append(num_callers)
        return lambda clip_BTCHW: np.full((len(clip_BTCHW), 2), num_callers, np.float32)

    network = ExportedNetwork(tmp_path, open_part, 2, "onnx", "float32", "0" * 64)
    for num_callers in (1, 2, 2, 1):
        network.open_for(num_callers)
        assert network(np.zeros((1, 1, 3, 2, 2), np.float32)).tolist() == [[num_callers, num_callers]]
    assert opened == [1, 2, 1]
