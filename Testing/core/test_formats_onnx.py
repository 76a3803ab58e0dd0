"""ONNX files: looked over before a runtime sees them, and computed as PyTorch computes the same network."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core.fuzzing import broken
from core.network_files import SEGMENTATION, onnx_model, threshold_graph, write_sidecar
from meddl.errors import MedDLError, ModelError
from meddl.models import ModelBundle
from meddl.networks.onnx_graph import inspect_onnx, inspect_onnx_bytes

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

CORE = Path(__file__).resolve().parents[2] / "MedDLExtension" / "MedDLCore"


def value(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def graph_of(nodes: list[Any], **more: Any) -> Any:
    inputs = more.pop("inputs", [value("x", ["b", 1, "i", "j", "k"])])
    return helper.make_graph(nodes, "g", inputs, [value("y", ["b", 1, "i", "j", "k"])], more.pop("weights", []), **more)


def saved(model: Any, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def engines() -> list[str]:
    import importlib.util

    return [name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name)]


def test_a_file_tells_what_it_consists_of(tmp_path: Path) -> None:
    facts = inspect_onnx(threshold_graph(tmp_path / "m.onnx", shape=[1, 1, 16, 16, "k"]))
    (taken,), (given,) = facts.inputs, facts.outputs
    assert (taken.name, taken.type, taken.shape) == ("image", TensorProto.FLOAT, (1, 1, 16, 16, None))
    assert (given.name, facts.operators, facts.external_files) == ("scores", frozenset({"Conv"}), ())


def test_weights_that_old_files_list_among_the_inputs_are_none(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((1,), np.float32), "w")
    graph = graph_of(
        [helper.make_node("Mul", ["x", "w"], ["y"])], weights=[weight],
        inputs=[value("x", [1, 1, 4, 4, 4]), value("w", [1])],
    )  # fmt: skip
    assert [each.name for each in inspect_onnx(saved(onnx_model(graph), tmp_path / "m.onnx")).inputs] == ["x"]


def in_a_branch(node: Any) -> Any:
    """Return a graph that has ``node`` (from ``x`` to ``z``) in a branch of an ``If``."""
    branch = helper.make_graph([node], "then", [], [value("z", [])])
    condition = numpy_helper.from_array(np.array(True), "c")
    return graph_of(
        [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)], weights=[condition]
    )


FOREIGN = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="/etc/passwd")


@pytest.mark.parametrize("where", ["top", "branch", "function"])
def test_operators_beyond_the_standard_are_refused_wherever_they_are(where: str, tmp_path: Path) -> None:
    functions = []
    graph = graph_of([FOREIGN])
    if where == "branch":
        graph = in_a_branch(helper.make_node("EPContext", ["x"], ["z"], domain="com.microsoft"))
    elif where == "function":
        opset = [helper.make_opsetid("com.microsoft", 1)]
        functions = [helper.make_function("own", "f", ["x"], ["y"], [FOREIGN], opset)]
        graph = graph_of([helper.make_node("f", ["x"], ["y"], domain="own")])
    path = saved(onnx_model(graph, ["com.microsoft", "own"], functions), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"needs the operator 'EPContext' of 'com\.microsoft', which is not of"):
        inspect_onnx(path)
    bundle = ModelBundle.open(write_sidecar(path, SEGMENTATION))
    assert any("EPContext" in problem for problem in bundle.check().problems)


def test_functions_made_of_standard_operators_are_fine(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["a"], ["b"])
    function = helper.make_function("own", "f", ["a"], ["b"], [node], [helper.make_opsetid("", 17)])
    graph = graph_of([helper.make_node("f", ["x"], ["y"], domain="own")])
    assert "f" in inspect_onnx(saved(onnx_model(graph, ["own"], [function]), tmp_path / "m.onnx")).operators


def external(location: str) -> Any:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    weight.external_data.add(key="length", value="4")
    return weight


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../w.bin", "a/../../w.bin", "C:\\w.bin", "\\\\host\\w", "./w.bin", "a//w", "", "w\0.bin"],
)
def test_weights_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    graph = graph_of([helper.make_node("Mul", ["x", "w"], ["y"])], weights=[external(location)])
    constant = graph_of([helper.make_node("Constant", [], ["y"], value=external(location))])
    for each in (graph, constant, in_a_branch(helper.make_node("Constant", [], ["z"], value=external(location)))):
        with pytest.raises(ModelError, match="its weights lie in"):
            inspect_onnx(saved(onnx_model(each), tmp_path / "m.onnx"))


def test_weights_beside_the_file_belong_to_the_model(tmp_path: Path) -> None:
    graph = graph_of([helper.make_node("Mul", ["x", "w"], ["y"])], weights=[external("w.bin")])
    path = write_sidecar(saved(onnx_model(graph), tmp_path / "m.onnx"), SEGMENTATION)
    assert any("'w.bin' is missing" in problem for problem in ModelBundle.open(path).check().problems)
    (tmp_path / "w.bin").write_bytes(np.float32(3).tobytes())
    bundle = ModelBundle.open(path)
    assert bundle.check().problems == ()
    assert bundle.files == ("m.json", "m.onnx", "w.bin")
    before = bundle.digest
    (tmp_path / "w.bin").write_bytes(np.float32(4).tobytes())
    assert bundle.digest != before
    if "onnxruntime" in engines():
        from meddl.networks import OnnxNetwork

        assert float(OnnxNetwork(path)(torch.ones(1, 1, 2, 2, 2)).mean()) == 4
    secret = tmp_path.parent / "secret.bin"
    secret.write_bytes(b"1234")
    (tmp_path / "w.bin").unlink()
    (tmp_path / "w.bin").symlink_to(secret)
    assert any("outside its own folder" in problem for problem in ModelBundle.open(path).check().problems)


@pytest.mark.parametrize(
    ("nodes", "more", "said"),
    [
        ([helper.make_node("Relu", ["x"], ["y"])], {"inputs": []}, "takes 0 inputs"),
        ([], {"inputs": [value("x", [1]), value("z", [1])]}, "takes 2 inputs"),
        ([], {"inputs": [value("x", [1, 1], TensorProto.STRING)]}, "does not take floating-point numbers"),
    ],
)
def test_networks_that_take_no_image_are_refused(nodes: Any, more: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=said):
        inspect_onnx(saved(onnx_model(graph_of(nodes, **more)), tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"\x00" * 100, b"\xff" * 100, b"PK\x03\x04", b"\x80\x02}.", b"\x0a\xff\xff\xff\xff\x0f"],
)
def test_what_is_no_graph_is_refused_in_a_sentence(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"m\.onnx"):
        inspect_onnx(path)


def test_graphs_nested_without_end_are_refused() -> None:
    inner = b""
    for _ in range(200):
        attribute = b"\x32" + size(len(inner)) + inner  # AttributeProto.g
        node = b"\x2a" + size(len(attribute)) + attribute  # NodeProto.attribute
        inner = b"\x0a" + size(len(node)) + node  # GraphProto.node
    data = b"\x3a" + size(len(inner)) + inner + b"\x42\x00"
    with pytest.raises(ModelError, match="nested too deep"):
        inspect_onnx_bytes(data)


def size(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def test_random_damage_ends_in_a_sentence_or_a_graph(tmp_path: Path) -> None:
    original = threshold_graph(tmp_path / "m.onnx").read_bytes()
    rng = random.Random(3)
    for _ in range(1500):
        try:
            inspect_onnx_bytes(broken(original, rng)[1])
        except MedDLError as error:
            assert error.message.startswith("The file 'model.onnx'")


@pytest.mark.filterwarnings("ignore")
def test_field_numbers_that_protobuf_cuts_off_are_refused() -> None:
    """Protobuf drops a tag's bits beyond 32, so that a runtime would find a field where none is seen here."""
    node = helper.make_node("QuickGelu", ["x"], ["y"], domain="com.microsoft")
    plain, hidden = b"\x3a\x0dcom.microsoft", b"\xba\x80\x80\x80\x10\x0dcom.microsoft"
    told, graph = node.SerializeToString(), graph_of([node]).SerializeToString()
    longer = told.replace(plain, hidden)
    graph = graph.replace(size(len(told)) + told, size(len(longer)) + longer)
    assert hidden in graph
    with pytest.raises(ModelError, match="it does not follow the format"):
        inspect_onnx_bytes(b"\x08\x08\x42\x04\x0a\x00\x10\x11\x3a" + size(len(graph)) + graph)


def test_a_file_that_the_runtime_would_read_in_its_own_format_is_refused() -> None:
    """Its mark may stand in the name of the producer, and its graph anywhere in a field that is passed over."""
    data = onnx_model(graph_of([helper.make_node("Relu", ["x"], ["y"])])).SerializeToString()
    with pytest.raises(ModelError, match="ONNX Runtime's own format"):
        inspect_onnx_bytes(b"\x08\x08\x12\x04ORTM" + data)


def test_many_empty_parts_do_not_fill_the_memory() -> None:
    data = onnx_model(graph_of([helper.make_node("Relu", ["x"], ["y"])])).SerializeToString()
    tracemalloc.start()
    try:
        assert inspect_onnx_bytes(b"\xa2\x06\x00" * 100_000 + data).operators == {"Relu"}
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("engine", engines())
def test_the_answer_is_that_of_pytorch(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from meddl.networks import OnnxNetwork, onnx_network

    monkeypatch.setattr(onnx_network, "PACKAGES", (engine,))  # of which only the first counts without trust
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv3d(2, 6, 3, padding=1), torch.nn.InstanceNorm3d(6), torch.nn.LeakyReLU(),
        torch.nn.ConvTranspose3d(6, 3, 2, stride=2), torch.nn.MaxPool3d(2),
    ).eval()  # fmt: skip
    path = tmp_path / "m.onnx"
    axes = {0: "b", 2: "i", 3: "j", 4: "k"}
    torch.onnx.export(
        network, (torch.zeros(1, 2, 8, 8, 8),), str(path), dynamo=False, input_names=["x"], output_names=["y"],
        dynamic_axes={"x": axes, "y": axes},
    )  # fmt: skip
    graph = OnnxNetwork(path).to(torch.device("cpu")).eval()
    assert ("ONNX Runtime" if engine == "onnxruntime" else "OpenVINO") in graph.engine
    for shape in ((1, 2, 8, 8, 8), (2, 2, 12, 6, 10)):
        image = torch.randn(shape)
        with torch.inference_mode():
            assert torch.allclose(graph(image), network(image), atol=1e-4)


@pytest.mark.parametrize("engine", engines())
def test_sizes_that_are_fixed_are_kept_or_named(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from meddl.networks import OnnxNetwork, onnx_network

    monkeypatch.setattr(onnx_network, "PACKAGES", (engine,))
    network = OnnxNetwork(threshold_graph(tmp_path / "m.onnx", shape=[1, 1, 8, 8, 8]))
    assert network(torch.zeros(3, 1, 8, 8, 8)).shape == (3, 2, 8, 8, 8)
    with pytest.raises(ModelError, match=r"takes 1 x 1 x 8 x 8 x 8 .* was given 1 x 1 x 9 x 8 x 8"):
        network(torch.zeros(1, 1, 9, 8, 8))


@pytest.mark.skipif("onnxruntime" not in engines(), reason="ONNX Runtime is not installed")
def test_half_precision_and_several_outputs(tmp_path: Path) -> None:
    from meddl.networks import OnnxNetwork

    shape = [1, 1, 4, 4, 4]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])], "g",
        [value("x", shape, TensorProto.FLOAT16)],
        [value("y", shape, TensorProto.FLOAT16), value("z", shape, TensorProto.FLOAT16)],
    )  # fmt: skip
    answer = OnnxNetwork(saved(onnx_model(graph), tmp_path / "m.onnx"))(torch.full(shape, -2.0))
    assert [float(each.mean()) for each in answer] == [0.0, 2.0]
    assert all(each.dtype == torch.float32 for each in answer)


@pytest.mark.skipif("onnxruntime" not in engines(), reason="ONNX Runtime is not installed")
def test_a_graph_that_no_runtime_takes_is_refused_in_a_sentence(tmp_path: Path) -> None:
    from meddl.networks import OnnxNetwork

    graph = graph_of([helper.make_node("Conv", ["x"], ["y"])])
    with pytest.raises(ModelError, match=r"The network in 'm\.onnx' cannot be opened"):
        OnnxNetwork(saved(onnx_model(graph), tmp_path / "m.onnx"))(torch.zeros(1, 1, 4, 4, 4))


def test_a_missing_runtime_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from meddl.networks import OnnxNetwork, onnx_network

    monkeypatch.setattr(onnx_network, "PACKAGES", ("meddl_no_such_runtime",))
    with pytest.raises(ModelError, match="takes the Python package onnxruntime"):
        OnnxNetwork(threshold_graph(tmp_path / "m.onnx"))(torch.zeros(1, 1, 4, 4, 4))


def test_openvino_is_only_given_graphs_of_trusted_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reader crashes on malformed graphs, where ONNX Runtime refuses them."""
    from meddl.networks import OnnxNetwork, onnx_network

    monkeypatch.setattr(onnx_network, "PACKAGES", ("meddl_no_such_runtime", "openvino"))
    path = threshold_graph(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="for models that you trust"):
        OnnxNetwork(path)(torch.zeros(1, 1, 4, 4, 4))
    if "openvino" in engines():
        assert "OpenVINO" in OnnxNetwork(path, trusted=True).engine


@pytest.mark.skipif("onnxruntime" not in engines(), reason="ONNX Runtime is not installed")
def test_damaged_graphs_end_in_a_sentence_and_not_in_a_crash(tmp_path: Path) -> None:
    path = threshold_graph(tmp_path / "m.onnx")
    code = (
        "import random, sys, torch\nfrom pathlib import Path\nfrom core.fuzzing import broken\n"
        "from meddl.errors import MedDLError\nfrom meddl.networks import OnnxNetwork\n"
        "path, rng, ran = Path(sys.argv[1]), random.Random(5), 0\noriginal = path.read_bytes()\n"
        "for _ in range(400):\n"
        "    path.write_bytes(broken(original, rng)[1])\n"
        "    try:\n"
        "        OnnxNetwork(path)(torch.zeros(1, 1, 4, 4, 4))\n"
        "        ran += 1\n"
        "    except MedDLError as error:\n"
        "        assert len(error.message) < 500\n"
        "print(ran)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CORE), str(CORE.parents[1] / "Testing")])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert 0 < int(done.stdout) < 400


def test_looking_a_file_over_needs_neither_torch_nor_a_runtime(tmp_path: Path) -> None:
    path = write_sidecar(threshold_graph(tmp_path / "m.onnx"), SEGMENTATION)
    code = (
        "import sys\nfrom meddl.models import ModelBundle\n"
        f"assert not ModelBundle.open({str(path)!r}).check().problems\n"
        "print([name for name in ('torch', 'monai', 'onnx', 'onnxruntime', 'openvino') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(CORE), "MEDDL_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
