"""Outputs at chosen pixels against the same outputs at every pixel, and against convolutions written out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rfkernels.engines import OpenVINOEngine, OpenVINOOptions
from rfkernels.engines.openvino import supported_precisions
from rfkernels.engines.openvino_sparse import SparseBranch, SparseSession, branches_network, numbers_of_rows
from rfkernels.engines.silent_openvino import openvino
from rfkernels.errors import EngineError, InvalidArgumentError
from rfkernels.reference.bfloat16 import to_bfloat16

BOXES = ("box_8", "box_16", "box_32")
SIDE = 9
WIDTH = 6


def as_input(engine, values):
    return to_bfloat16(values) if engine.inputs[0].dtype == "bfloat16" else values


def rows_of(output, image=0):
    """[N, C, H, W] to [H * W, C]."""
    return output[image].reshape(output.shape[1], -1).T.copy()


@pytest.fixture(scope="module", params=supported_precisions())
def engines(request, small_model_path):
    """The same network with its boxes at chosen pixels and at all, and how far the two may differ."""
    options = OpenVINOOptions(precision=request.param, cache_directory=False)
    # In bf16 both round between their layers, each in its own order: as much as OpenVINO's error against fp32.
    tolerance = {"fp32": 2e-5, "bf16": 0.06}[request.param]
    sparse = OpenVINOEngine(small_model_path, replace(options, sparse_outputs=BOXES, bfloat16_ports=True))
    return sparse, OpenVINOEngine(small_model_path, options), tolerance


def every_pixel(engine):
    """By name; each output's counted from its own first pixel."""
    return {
        tensor.name: np.arange(tensor.shape[2] * tensor.shape[3], dtype=np.int32) for tensor in engine.sparse_outputs
    }


def run_sparse(session, engine, pixels, image=0):
    """`Session.run_sparse` with pixels and results by name."""
    numbers, counts, first = [], [], 0
    for tensor in engine.sparse_outputs:
        numbers.append(np.asarray(pixels[tensor.name], np.int64) + first)
        counts.append(len(pixels[tensor.name]))
        first += tensor.shape[2] * tensor.shape[3]
    rows = session.run_sparse(np.concatenate(numbers), counts, image)
    return {tensor.name: values for tensor, values in zip(engine.sparse_outputs, rows, strict=True)}


def test_every_pixel_is_the_whole_output(engines, rng):
    sparse, dense, tolerance = engines
    assert [tensor.name for tensor in sparse.outputs] == ["class_8", "class_16", "class_32"]
    assert [(tensor.name, tensor.shape, tensor.dtype) for tensor in sparse.sparse_outputs] == [
        (tensor.name, tensor.shape, "float32") for tensor in dense.outputs if tensor.name in BOXES
    ]
    assert dense.sparse_outputs == ()
    values = rng.random((1, 3, 64, 96)).astype(np.float32)
    with sparse.session() as one, dense.session() as other:
        one.inputs["images"][...] = as_input(sparse, values)
        other.inputs["images"][...] = values
        assert set(one.run()) == {"class_8", "class_16", "class_32"}
        expected = {name: rows_of(value) for name, value in other.run().items() if name in BOXES}
        actual = run_sparse(one, sparse, every_pixel(sparse))
        for name in BOXES:
            assert actual[name].dtype == np.float32
            scale = np.abs(expected[name]).max()
            np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=tolerance * scale)
            assert expected[name].std(axis=0).min() > 0


def test_a_value_does_not_depend_on_what_else_is_asked_for(engines, rng):
    sparse, _, _ = engines
    with sparse.session() as session:
        session.inputs["images"][...] = as_input(sparse, rng.random((1, 3, 64, 96)).astype(np.float32))
        session.run()
        pixels = every_pixel(sparse)
        every = {name: values.copy() for name, values in run_sparse(session, sparse, pixels).items()}
        for _ in range(40):
            some = {
                name: rng.choice(numbers, int(rng.integers(0, len(numbers) + 1))) for name, numbers in pixels.items()
            }
            for name, values in run_sparse(session, sparse, some).items():
                np.testing.assert_array_equal(values, every[name][some[name]], err_msg=name)


@pytest.mark.parametrize("precision", supported_precisions())
def test_a_value_of_many_channels_does_not_depend_on_it_either(precision, rng):
    # OpenVINO may divide a long sum among threads in one way for few rows and in another for many.
    channels, side = 256, 20
    shapes = [(64, channels, 3, 3), (64, 64, 3, 3), (8, 64, 1, 1)]
    weights = [(rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32) for shape in shapes]
    biases = [rng.normal(size=len(weight)).astype(np.float32) for weight in weights]
    branch = SparseBranch("y", "feature", side, side, tuple(weights), tuple(biases))
    feature_type = openvino.Type.bf16 if precision == "bf16" else openvino.Type.f32
    compiled = openvino.Core().compile_model(
        branches_network([branch], feature_type),
        "CPU",
        {"INFERENCE_PRECISION_HINT": feature_type, "INFERENCE_NUM_THREADS": 2},
    )
    values = rng.normal(size=(side * side + 1, channels)).astype(np.float32)
    values[-1] = 0
    session = SparseSession(compiled, [branch], [to_bfloat16(values) if precision == "bf16" else values])
    every = session.run(np.arange(side * side), [side * side], 0)[0].copy()
    for count in (1, 5, 20, 60, 150, 300):
        pixels = rng.choice(side * side, count, replace=False)
        np.testing.assert_array_equal(session.run(pixels, [count], 0)[0], every[pixels])


def test_no_pixel_gives_no_row(engines):
    sparse, _, _ = engines
    nothing = np.empty(0, np.int32)
    with sparse.session() as session:
        session.inputs["images"].fill(0)
        session.run()
        for pixels in (dict.fromkeys(BOXES, nothing), {**every_pixel(sparse), "box_16": nothing}):
            rows = run_sparse(session, sparse, pixels)
            assert {name: value.shape for name, value in rows.items()} == {
                name: (len(pixels[name]), 64) for name in BOXES
            }


def test_a_pixel_may_be_asked_for_many_times(engines, rng):
    sparse, _, _ = engines
    with sparse.session() as session:
        session.inputs["images"][...] = as_input(sparse, rng.random((1, 3, 64, 96)).astype(np.float32))
        session.run()
        every = {name: values.copy() for name, values in run_sparse(session, sparse, every_pixel(sparse)).items()}
        for count in (300, 5, 301):  # more than there are, few again, and more once more
            pixels = {name: rng.integers(0, len(values), count) for name, values in every.items()}
            for name, values in run_sparse(session, sparse, pixels).items():
                np.testing.assert_array_equal(values, every[name][pixels[name]])


def test_pixels_and_images_that_are_not_there(engines):
    sparse, dense, _ = engines
    with sparse.session() as session, dense.session() as other:
        session.inputs["images"].fill(0)
        session.run()
        every = np.arange(96 + 24 + 6)
        counts = [96, 24, 6]
        for wrong, message in (
            (every - 1, "give int32 from 0"),
            (every[::-1], "pixels of box_8 has 125; give numbers from 0 to 95"),
            (np.roll(every, 6), "pixels of box_8 has 120; give numbers from 0 to 95"),
            (np.r_[every[:120], 126, every[121:]], "pixels of box_32 has 126; give numbers from 120 to 125"),
            (np.r_[every[:96], 95, every[97:]], "pixels of box_16 has 95; give numbers from 96 to 119"),
            (np.array([1.5] * 126), "pixels are float64; give whole numbers"),
            (every.reshape(2, 63), r"pixels have shape \(2, 63\)"),
            (every[:-1], "of the 125 pixels"),
        ):
            with pytest.raises(InvalidArgumentError, match=message):
                session.run_sparse(wrong, counts)
        held = [lent.array.nbytes for lent in session._sparse._inner]
        for wrong in (
            [126],
            [96, 24, 6, 0],
            [98, 30, -2],
            [10**9, 0, 0],
            [2**70, 0, 0],
            [96.0, 24, 6],
            [None, 24, 6],
            [],
            # In NumPy's own width their sums would wrap to what fits.
            np.array([65535, 1, 126], np.uint16),
            np.array([2**31 - 1, 2**31 - 1, 128], np.int32),
            np.ones((3, 2), int),
        ):
            message = r"(?s)counts is .*of the 126 pixels belong to box_8, box_16, box_32"
            with pytest.raises(InvalidArgumentError, match=message):
                session.run_sparse(every, wrong)
            with pytest.raises(InvalidArgumentError, match=r"(?s)counts is .*of the 0 pixels"):
                session.run_sparse(every[:0], wrong)
        assert [lent.array.nbytes for lent in session._sparse._inner] == held
        many = np.r_[np.zeros(200, np.int32), np.full(100, 100, np.int32)]
        rows = session.run_sparse(many, np.array([200, 100, 0], np.uint8))
        assert [values.shape for values in rows] == [(200, 64), (100, 64), (0, 64)]
        for image in (-1, 1):
            with pytest.raises(InvalidArgumentError, match=f"image is {image}; the session holds a batch of 1"):
                session.run_sparse(every, counts, image)
        with pytest.raises(EngineError, match="no sparse outputs"):
            other.run_sparse(every, counts)


@pytest.mark.parametrize("names", [("box_8", "nope"), ("box_8", "box_8"), ("nope",)])
def test_sparse_outputs_are_all_that_were_asked_for_or_none(small_model_path, names):
    engine = OpenVINOEngine(small_model_path, OpenVINOOptions(cache_directory=False, sparse_outputs=names))
    assert engine.sparse_outputs == ()
    assert {tensor.name for tensor in engine.outputs} >= set(BOXES)


def test_an_output_that_is_listed_twice_does_not_stand_for_another(small_model_path, tmp_path):
    model = onnx.load(small_model_path)
    model.graph.output.append(next(output for output in model.graph.output if output.name == "box_8"))
    onnx.save(model, tmp_path / "twice.onnx")
    options = OpenVINOOptions(cache_directory=False, sparse_outputs=("box_8", "nope"))
    assert OpenVINOEngine(tmp_path / "twice.onnx", options).sparse_outputs == ()


def test_sparse_outputs_come_in_the_order_asked_for(small_model_path, rng):
    options = OpenVINOOptions(precision="fp32", cache_directory=False, sparse_outputs=BOXES)
    engine = OpenVINOEngine(small_model_path, options)
    turned = OpenVINOEngine(small_model_path, replace(options, sparse_outputs=("box_32", "box_8", "box_16")))
    assert [tensor.name for tensor in turned.sparse_outputs] == ["box_32", "box_8", "box_16"]
    values = rng.random((1, 3, 64, 96)).astype(np.float32)
    with engine.session() as one, turned.session() as other:
        for session in (one, other):
            session.inputs["images"][...] = values
            session.run()
        expected = run_sparse(one, engine, every_pixel(engine))
        for name, rows in run_sparse(other, turned, every_pixel(turned)).items():
            np.testing.assert_array_equal(rows, expected[name])


def test_the_cache_brings_the_same_back(small_model_path, tmp_path, rng):
    options = OpenVINOOptions(cache_directory=tmp_path, bfloat16_ports=True, sparse_outputs=BOXES)
    values = rng.random((1, 3, 64, 96)).astype(np.float32)
    results = []
    for _ in range(3):
        engine = OpenVINOEngine(small_model_path, options)
        assert len(list(tmp_path.rglob("*.blob"))) == 2  # of the network and of its branches, found again by both
        assert [tensor.name for tensor in engine.sparse_outputs] == list(BOXES)
        with engine.session() as session:
            session.inputs["images"][...] = as_input(engine, values)
            session.run()
            results.append(
                {name: rows.copy() for name, rows in run_sparse(session, engine, every_pixel(engine)).items()}
            )
    for name in BOXES:
        np.testing.assert_array_equal(*(result[name] for result in results))


# A branch small enough to be written out.


def save_branch(path: Path, *, batch: int | str = 1, change: str = "") -> dict[str, np.ndarray]:
    """x [batch, 4, 9, 6] -> Relu -> 3 x 3, SiLU, 3 x 3, SiLU, 1 x 1 -> y [batch, 5, 9, 6]; the weights by name."""
    rng = np.random.default_rng(11)
    side = 5 if change.startswith("5 x 5") else 3
    weights = {
        "w1": rng.normal(size=(8, 2 if change == "groups" else 4, side, side)) / 4,
        "w2": rng.normal(size=(6, 8, 3, 3)) / 6,
        "w3": rng.normal(size=(5, 6, 1, 1)),
        "b1": rng.normal(size=8),
        "b2": rng.normal(size=6),
        "b3": rng.normal(size=5),
    }
    weights = {name: values.astype(np.float32) for name, values in weights.items()}
    step = 2 if change == "dilation" else 1
    first = {"pads": [step * (side // 2)] * 4, "dilations": [step, step], "group": 2 if change == "groups" else 1}
    first |= {
        "upper left": {"pads": [2, 2, 0, 0]},
        "5 x 5, shrinking": {"pads": [1] * 4},
        "dilation, shrinking": {"dilations": [2, 2]},
        "stride": {"strides": [2, 2]},
    }.get(change, {})
    nodes = [
        helper.make_node("Relu", ["x"], ["feature"]),
        helper.make_node("Conv", ["feature", "w1", "b1"], ["c1"], **first),
        helper.make_node("Sigmoid", ["c2" if change == "gate" else "c1"], ["g1"]),
        helper.make_node("Mul", ["c1", "g1"], ["h1"]),
        helper.make_node("Conv", ["h1", "w2", "b2"], ["c2"], pads=[1] * 4),
        helper.make_node("Tanh" if change == "tanh" else "Sigmoid", ["c2"], ["g2"]),
        helper.make_node("Mul", ["g2", "c2"], ["h2"]),
        helper.make_node("Conv", ["h2", "w3"] if change == "no bias" else ["h2", "w3", "b3"], ["y"]),
    ]
    if change == "gate":
        nodes[2] = helper.make_node("Sigmoid", ["feature8"], ["g1"])
        nodes.insert(1, helper.make_node("Concat", ["feature", "feature"], ["feature8"], axis=1))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4, SIDE, WIDTH])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5, None, None])
    constants = [onnx.numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "branch", [x], [y], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return weights


def convolution(values, weights, bias):
    """[C, H, W] to [out, H, W], in double, with zeros around."""
    margin = weights.shape[2] // 2
    padded = np.pad(values, ((0, 0), (margin, margin), (margin, margin)))
    height, width = values.shape[1:]
    result = np.zeros((len(weights), height, width))
    for y in range(weights.shape[2]):
        for x in range(weights.shape[3]):
            result += np.einsum("oc,chw->ohw", weights[:, :, y, x], padded[:, y : y + height, x : x + width])
    return result + bias[:, None, None]


def silu(values):
    return values / (1 + np.exp(-values))


def branch_by_definition(x, weights):
    """[4, H, W] to [H * W, 5]."""
    hidden = silu(convolution(np.maximum(x, 0), weights["w1"], weights["b1"]))
    hidden = silu(convolution(hidden, weights["w2"], weights["b2"]))
    return convolution(hidden, weights["w3"], weights["b3"]).reshape(5, -1).T


OPTIONS = OpenVINOOptions(precision="fp32", cache_directory=False, sparse_outputs=("y",))


@pytest.mark.parametrize("batch", [1, 3, "batch"])
def test_each_image_of_a_batch_equals_the_definition(tmp_path, rng, batch):
    weights = save_branch(tmp_path / "branch.onnx", batch=batch)
    engine = OpenVINOEngine(tmp_path / "branch.onnx", OPTIONS)
    assert engine.outputs == ()
    count = None if batch == "batch" else batch
    assert engine.sparse_outputs[0].shape == (count, 5, SIDE, WIDTH)
    for size in (1, 3, 2) if count is None else (count,):
        with engine.session(size) as session:
            values = rng.normal(size=(size, 4, SIDE, WIDTH)).astype(np.float32)
            session.inputs["x"][...] = values
            session.run()
            for image in reversed(range(size)):
                expected = branch_by_definition(values[image].astype(np.float64), weights)
                for pixels in (np.arange(SIDE * WIDTH), np.array([0, 5, 23, 48, 53, 53]), np.array([30])):
                    actual = run_sparse(session, engine, {"y": pixels}, image)["y"]
                    np.testing.assert_allclose(actual, expected[pixels], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        "5 x 5",
        "5 x 5, shrinking",
        "dilation",
        "dilation, shrinking",
        "stride",
        "groups",
        "upper left",
        "gate",
        "tanh",
        "no bias",
        "another name",
    ],
)
def test_what_is_no_such_branch_stays_whole(tmp_path, rng, change):
    save_branch(tmp_path / "branch.onnx", change=change)
    options = replace(OPTIONS, sparse_outputs=("z",)) if change == "another name" else OPTIONS
    engine = OpenVINOEngine(tmp_path / "branch.onnx", options)
    assert engine.sparse_outputs == ()
    assert [tensor.name for tensor in engine.outputs] == ["y"]
    with engine.session() as session:
        session.inputs["x"][...] = rng.normal(size=(1, 4, SIDE, WIDTH))
        assert session.run()["y"].std() > 0


def test_few_numbers_of_rows_are_ever_asked_for():
    for most in (6400, 102_400):
        allowed = numbers_of_rows(most)
        rounded = [int(allowed[count <= allowed].min()) for count in range(most + 1)]
        assert all(count <= up <= max(16, 1.5 * count) for count, up in enumerate(rounded))
        assert sorted(set(rounded))[:8] == [16, 24, 32, 48, 64, 96, 128, 192]
        assert len(set(rounded)) == 12 + (most - 512) // 512 + (most % 512 > 0)
        assert allowed.tolist() == sorted(set(allowed.tolist()))
    assert numbers_of_rows(3).tolist() == [*numbers_of_rows(6400)[:12]]


def test_rows_are_added_up_to_few_numbers(engines, rng, monkeypatch):
    """What the runtime is given: a number of rows among the few, but no more than a branch has pixels."""
    sparse, _, _ = engines
    met = set()
    infer = SparseSession._infer

    def noted(self):
        met.update((kind, lent.count) for kind in ("outer", "inner") for lent in getattr(self, f"_{kind}"))
        return infer(self)

    monkeypatch.setattr(SparseSession, "_infer", noted)
    with sparse.session() as session:
        session.inputs["images"].fill(0)
        session.run()
        for count in range(97):
            pixels = {
                tensor.name: rng.permutation(n)[:count]
                for tensor, n in zip(sparse.sparse_outputs, (96, 24, 6), strict=True)
            }
            run_sparse(session, sparse, pixels)
    assert {count for _, count in met} == {6, 16, 24, 32, 48, 64, 96}
