"""Plans whose inputs and outputs are not what the model's metadata say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx
import pytest
from tensorrt_stand_in import StandIn, make_plan, tensor

from rfkernels.device import open_device
from rfkernels.engines import TensorRTEngine
from rfkernels.errors import ModelFileError
from rfkernels.model_metadata import ModelMetadata, read_model_metadata
from rfkernels.tasks.network_check import check_device_network

pytestmark = pytest.mark.emulated


@pytest.fixture
def runtime() -> Iterator[StandIn]:
    module = StandIn(open_device("emulated"))
    yield module
    assert module.violations == []


@pytest.fixture
def metadata(small_model_path) -> ModelMetadata:
    return read_model_metadata(small_model_path)


def engine_of(runtime, path, *, input_dtype="FLOAT", output_dtype="FLOAT", batch=None, renamed=None) -> TensorRTEngine:
    """What TensorRT would make of a model file, but for what is asked for."""
    graph = onnx.load(path).graph

    def sizes(value: onnx.ValueInfoProto) -> tuple[int, ...]:
        first, *rest = (axis.dim_value for axis in value.type.tensor_type.shape.dim)
        return (batch or first or -1, *rest)

    inputs = [tensor(value.name, sizes(value), input_dtype) for value in graph.input]
    outputs = [
        tensor((renamed or {}).get(value.name, value.name), sizes(value), output_dtype) for value in graph.output
    ]
    plan = make_plan(inputs, outputs, [{}] if inputs[0]["shape"][0] > 0 else None)
    return TensorRTEngine(plan, open_device("emulated"), runtime)


@pytest.mark.parametrize("dtype", ["FLOAT", "HALF", "BF16"])
def test_a_plan_of_the_model(runtime, metadata, small_model_path, dtype):
    check_device_network(engine_of(runtime, small_model_path, input_dtype=dtype, output_dtype=dtype), metadata)


def test_an_open_batch(runtime, metadata, small_model_path):
    engine = engine_of(runtime, small_model_path, batch=-1)
    check_device_network(engine, replace(metadata, batch="dynamic"))
    with pytest.raises(ModelFileError, match="inputs are"):
        check_device_network(engine, metadata)


def test_another_input_type(runtime, metadata, small_model_path):
    with pytest.raises(ModelFileError, match=r"inputs are \[\('int32', \(1, 3, 64, 96\)\)\], its metadata say one fl"):
        check_device_network(engine_of(runtime, small_model_path, input_dtype="INT32"), metadata)


def test_another_image_size(runtime, metadata, small_model_path):
    with pytest.raises(ModelFileError, match=r"its metadata say one float32 \(1, 3, 64, 128\)"):
        check_device_network(engine_of(runtime, small_model_path), replace(metadata, image_size=(64, 128)))


def test_outputs_that_the_ops_cannot_read(runtime, metadata, small_model_path):
    with pytest.raises(ModelFileError, match=r"element types \{'box_8': 'int32'.*one of float32, float16, bfloat16"):
        check_device_network(engine_of(runtime, small_model_path, output_dtype="INT32"), metadata)


def test_outputs_of_other_names(runtime, metadata, small_model_path):
    engine = engine_of(runtime, small_model_path, renamed={"box_8": "boxes"})
    with pytest.raises(ModelFileError, match=r"outputs are \{'boxes'.*build the model again"):
        check_device_network(engine, metadata)
