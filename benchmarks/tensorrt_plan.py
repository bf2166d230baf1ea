"""A plan for TensorRT or TensorRT-RTX from one of our .onnx files, as it is: what the benchmarks need and no more."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from rfkernels.engines.tensorrt_runtime import log_of
from rfkernels.errors import EngineError


def build_plan(path: Path, module: ModuleType, *, for_this_gpu: bool) -> bytes:
    """Compile a network at batch 1.

    Args:
        path: the .onnx.
        module: `tensorrt` or `tensorrt_rtx`.
        for_this_gpu: for the GPU of this machine; else for compute capability 8.0, which TensorRT-RTX can do without a
            GPU.

    Raises:
        EngineError: the runtime does not take the network, or cannot build here; the message has its words.
    """
    log = log_of(module)
    builder = log.call("Builder", module.Builder, log.logger)
    flags = getattr(module, "NetworkDefinitionCreationFlag", None)
    strongly_typed = getattr(flags, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if strongly_typed is None else 1 << int(strongly_typed))
    parser = module.OnnxParser(network, log.logger)
    if not parser.parse(path.read_bytes()):
        errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise EngineError(f"{module.__name__} does not take {path.name}: {errors}")
    config = builder.create_builder_config()
    if hasattr(config, "num_compute_capabilities") and not for_this_gpu:
        config.num_compute_capabilities = 1
        config.set_compute_capability(module.ComputeCapability.SM80, 0)
    # TensorRT-RTX's word for a network that may be captured into a graph.
    capturable = getattr(module.BuilderFlag, "REQUIRE_USER_ALLOCATION", None)
    if capturable is not None:
        config.set_flag(capturable)
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if any(size < 0 for size in tensor.shape):
            shape = tuple(1 if size < 0 else size for size in tensor.shape)
            profile = builder.create_optimization_profile()
            profile.set_shape(tensor.name, shape, shape, shape)
            config.add_optimization_profile(profile)
    return bytes(log.call("build_serialized_network", builder.build_serialized_network, network, config))
