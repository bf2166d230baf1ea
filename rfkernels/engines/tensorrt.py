"""The GPU engine: TensorRT and TensorRT-RTX, reading and writing device memory of ours on streams of ours.

It has never run on a GPU: what it asks of the runtime is checked against the real package's signatures on the emulated
device (CONTRIBUTING.md, "TensorRT without a GPU").
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from rfkernels.device import Device, DeviceArray, Stream, require_stream_of
from rfkernels.engines.engine import TensorSpecification
from rfkernels.engines.tensorrt_runtime import RuntimeLog, import_runtime, log_of, read_plan, runtime_name_of
from rfkernels.errors import DeviceError, EngineError, InvalidArgumentError, UnavailableError

# TensorRT's names of the element types that device arrays have.
_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT32": "int32", "UINT8": "uint8"}
# A context holds the memory of a run between its layers; those beyond are given back when their session ends.
_IDLE_CONTEXTS = 2


@dataclass(frozen=True)
class TensorRTOptions:
    """How a plan is loaded.

    Attributes:
        engine_host_code_allowed: let the plan bring a runtime of its own, as version-compatible plans do. Such a plan
            is a program that this process executes: only for plans whose source you trust.
    """

    engine_host_code_allowed: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.engine_host_code_allowed, bool):
            raise InvalidArgumentError(
                f"engine_host_code_allowed is {self.engine_host_code_allowed!r}; give True or False"
            )


@dataclass(frozen=True)
class _Profile:
    """An optimisation profile: for which batches it was made."""

    index: int
    smallest: int
    usual: int
    largest: int

    def distance(self, batch: int) -> tuple[int, int, int]:
        """Orders the profiles that take a batch: made for it, then made for little else."""
        return abs(self.usual - batch), self.largest - self.smallest, self.index


@dataclass(frozen=True, eq=False)
class _Context:
    """An execution context, and what it needs to outlive it. Released in this order."""

    context: Any
    engine: Any
    runtime: Any


class TensorRTSession:
    """Memory and an execution context for one batch size. See `rfkernels.engines.DeviceSession`.

    The network has run once when a session is handed out, so that its first `enqueue` may be one that is captured:
    TensorRT does not allow a context's very first run in a capture. One thread at a time may enqueue it. Keep it until
    what was put on streams, and every graph that holds it, is done: its context then serves another session.
    """

    def __init__(self, held: _Context, log: RuntimeLog, device: Device, inputs: Mapping[str, DeviceArray]) -> None:
        # All of it: what the context needs must outlive it, whoever else lets go of the engine.
        self._held = held
        self._context = held.context
        self._log = log
        self._device = device
        self._busy = threading.Lock()
        self.inputs: Mapping[str, DeviceArray] = MappingProxyType(dict(inputs))
        self.outputs: Mapping[str, DeviceArray] = MappingProxyType({})
        self._about = f"with inputs { {name: array.shape for name, array in inputs.items()} }"

    def enqueue(self, stream: Stream) -> None:
        """Put the network on a stream. See `rfkernels.engines.DeviceSession`."""
        require_stream_of(self._device, stream)
        if not self._busy.acquire(blocking=False):
            raise EngineError("another thread is enqueueing this session; create one for each thread")
        try:
            self._log.call(f"execute_async_v3 {self._about}", self._context.execute_async_v3, stream.handle)
        finally:
            self._busy.release()
        for array in self.outputs.values():
            array.written_on(stream)

    def check(self) -> None:
        """Nothing: what fails on a GPU after `enqueue` is raised by the wait for the stream."""

    def prepare(self, profile: int, outputs: tuple[TensorSpecification, ...]) -> None:
        """Profile, shapes, addresses and the first run, in the order in which the runtime needs them.

        They are put on a stream of the session's own and waited for, and so stand before whatever stream comes later.
        """
        context, call = self._context, self._log.call
        stream = self._device.stream()
        switch = context.set_optimization_profile_async
        call(f"set_optimization_profile_async({profile})", switch, profile, stream.handle)
        for name, array in self.inputs.items():
            call(f"set_input_shape({name!r}, {array.shape})", context.set_input_shape, name, array.shape)
        missing = call(f"infer_shapes {self._about}", context.infer_shapes)
        if missing:
            raise EngineError(f"{self._log.runtime}: infer_shapes {self._about}: not enough is known of {missing}")
        self.outputs = MappingProxyType({output.name: self._create_output(output) for output in outputs})
        for name, array in (*self.inputs.items(), *self.outputs.items()):
            about = f"set_tensor_address({name!r}) to {array.dtype} {array.shape}"
            call(about, context.set_tensor_address, name, array.address)
        for array in self.inputs.values():
            self._device.native.fill(array.address, 0, array.nbytes, stream.handle)
        self.enqueue(stream)
        try:
            stream.synchronize()
        except DeviceError as error:
            raise EngineError(f"{self._log.runtime}: the first run {self._about} failed: {error}") from error

    def _create_output(self, output: TensorSpecification) -> DeviceArray:
        about = f"get_tensor_shape({output.name!r})"
        shape = tuple(self._log.call(about, self._context.get_tensor_shape, output.name))
        if any(size < 0 for size in shape):
            raise EngineError(
                f"output {output.name} has shape {shape}: only a run shows its size (NonZero, NMS in the graph); "
                "build the network to end at outputs of fixed size, and use rfkernels.ops for the rest"
            )
        return self._device.empty(shape, output.dtype, purpose=output.name)


class TensorRTEngine:
    """A network that TensorRT or TensorRT-RTX has compiled for a GPU. See `rfkernels.engines.DeviceEngine`.

    Safe to use from several threads; each takes a session. TensorRT works on the calling thread's CUDA device, which
    must be `device`: it is, unless the program has chosen another one.

    Args:
        plan: the bytes of a plan, or the name of a file; a header as ultralytics writes it is stepped over.
        device: where it runs: `rfkernels.device.open_device("cuda")`.
        module: the runtime's package, as `import_runtime` gives it; by default the one that the plan is for.
        options: what a plan may do.

    Raises:
        UnavailableError: the runtime is not installed, or there is no driver or GPU.
        EngineError: the plan cannot be read, was built for another release or GPU, or has inputs or outputs that
            rfkernels has no memory for: other element types, other layouts than C-contiguous, shape tensors, axes
            besides the batch whose size is open, sizes that only a run shows.
        InvalidArgumentError: a device that the runtime cannot use.
    """

    def __init__(
        self,
        plan: bytes | bytearray | memoryview | str | Path,
        device: Device,
        module: ModuleType | None = None,
        options: TensorRTOptions | None = None,
    ) -> None:
        options = options or TensorRTOptions()
        data, self.header = read_plan(plan)
        module = module or import_runtime(runtime_name_of(data))
        _check_device(device, module)
        self.device = device
        self._module = module
        self._log = log_of(module)
        label = plan if isinstance(plan, str | Path) else "a plan"
        about = f"deserialize_cuda_engine of {Path(label).name} ({len(data)} bytes)"
        self._runtime = self._log.call("Runtime", module.Runtime, self._log.logger)
        if options.engine_host_code_allowed:
            self._runtime.engine_host_code_allowed = True
        # TensorRT-RTX alone can say more of a plan that it refuses.
        validate = getattr(self._runtime, "get_engine_validity", None)
        diagnose = None if validate is None else partial(validate, data)
        self._engine = self._log.call(about, self._runtime.deserialize_cuda_engine, data, diagnose=diagnose)
        self.inputs, self.outputs = self._read_tensors()
        self._profiles = self._read_profiles()
        self._lock = threading.Lock()
        # Appending is one step, which a session may take in the middle of anything, when it is collected.
        self._idle: deque[_Context] = deque(maxlen=_IDLE_CONTEXTS)
        # What only a context knows, and whether there is memory for one, is better found now than at the first request.
        self.create_session()

    @property
    def description(self) -> Mapping[str, str]:
        """Runtime, version, device and precision, as shown to a person."""
        return {
            "runtime": self._module.__name__,
            "version": self._module.__version__,
            "device": f"{self.device.kind}:{self.device.ordinal}",
            "precision": f"as built, inputs {', '.join(sorted({tensor.dtype for tensor in self.inputs}))}",
        }

    @property
    def bytes_per_context(self) -> int:
        """Device memory that a session takes besides its inputs and outputs: what lies between the layers."""
        return int(self._engine.device_memory_size_v2)

    def create_session(self, batch: int | None = None) -> TensorRTSession:
        """Memory for a batch of images. See `rfkernels.engines.DeviceEngine`.

        The network runs once, on zeros, and is waited for, on a stream of its own. Without a batch it is the smallest
        that the engine takes, where it takes several.
        """
        batch, profile = self._choose_profile(batch)
        inputs = {
            tensor.name: self.device.empty(
                [batch if size is None else size for size in tensor.shape], tensor.dtype, purpose=tensor.name
            )
            for tensor in self.inputs
        }
        try:
            held = self._idle.pop()
        except IndexError:
            held = self._create_context()
        session = TensorRTSession(held, self._log, self.device, inputs)
        session.prepare(profile.index, self.outputs)
        # Only a context whose session could be made goes to the next one.
        weakref.finalize(session, self._idle.append, held).atexit = False
        return session

    def _create_context(self) -> _Context:
        arguments = []
        is_dynamic = any(None in tensor.shape for tensor in self.inputs)
        with self._lock:
            if is_dynamic and hasattr(self._module, "DynamicShapesKernelSpecializationStrategy"):
                # TensorRT-RTX would compile for these shapes in the background, and a graph that is captured
                # meanwhile would keep the slow kernels that it runs until then.
                config = self._log.call("create_runtime_config", self._engine.create_runtime_config)
                strategies = self._module.DynamicShapesKernelSpecializationStrategy
                config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
                arguments.append(config)
            about = f"create_execution_context ({self.bytes_per_context} bytes of device memory)"
            context = self._log.call(about, self._engine.create_execution_context, *arguments)
        return _Context(context, self._engine, self._runtime)

    def _choose_profile(self, batch: int | None) -> tuple[int, _Profile]:
        if batch is None:
            batch = min(profile.smallest for profile in self._profiles)
        is_number = isinstance(batch, int) and not isinstance(batch, bool)
        fitting = [profile for profile in self._profiles if is_number and profile.smallest <= batch <= profile.largest]
        if not fitting:
            ranges = sorted({(profile.smallest, profile.largest) for profile in self._profiles})
            wanted = " or ".join(str(first) if first == last else f"{first} to {last}" for first, last in ranges)
            raise InvalidArgumentError(f"batch is {batch!r}; give {wanted}, which the plan was built for")
        return batch, min(fitting, key=lambda profile: profile.distance(batch))

    def _read_tensors(self) -> tuple[tuple[TensorSpecification, ...], tuple[TensorSpecification, ...]]:
        engine, modes = self._engine, self._module.TensorIOMode
        inputs: list[TensorSpecification] = []
        outputs: list[TensorSpecification] = []
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            is_input = engine.get_tensor_mode(name) == modes.INPUT
            what = f"{'input' if is_input else 'output'} {name}"
            dtype = engine.get_tensor_dtype(name).name
            if dtype not in _DTYPES:
                raise EngineError(
                    f"{what} has element type {dtype}; build the network with a cast to one of "
                    f"{', '.join(_DTYPES.values())} there"
                )
            is_on_host = engine.get_tensor_location(name) != self._module.TensorLocation.DEVICE
            if is_on_host or engine.is_shape_inference_io(name):
                raise EngineError(f"{what} is a shape tensor, which lies on the host; build the network without it")
            for profile in range(engine.num_optimization_profiles):
                layout = engine.get_tensor_format(name, profile)
                if layout != self._module.TensorFormat.LINEAR:
                    raise EngineError(f"{what} has the layout {layout.name}; build it with LINEAR inputs and outputs")
            shape = tuple(None if size < 0 else size for size in engine.get_tensor_shape(name))
            if is_input and None in shape[1:]:
                raise EngineError(
                    f"{what} has shape {shape}, open in more than the batch; build the network for one image size"
                )
            (inputs if is_input else outputs).append(TensorSpecification(name, shape, _DTYPES[dtype]))
        if not inputs or not outputs:
            raise EngineError(f"the plan has {len(inputs)} inputs and {len(outputs)} outputs; it must have both")
        return tuple(inputs), tuple(outputs)

    def _read_profiles(self) -> tuple[_Profile, ...]:
        """The profiles that take a batch, all inputs together."""
        dynamic = [tensor.name for tensor in self.inputs if None in tensor.shape]
        if not dynamic:
            shape = self.inputs[0].shape
            batch = shape[0] if shape and shape[0] else 1
            return (_Profile(0, batch, batch, batch),)
        profiles = []
        for index in range(self._engine.num_optimization_profiles):
            sizes = [
                [next(iter(shape)) for shape in self._engine.get_tensor_profile_shape(name, index)] for name in dynamic
            ]
            smallest, largest = max(size[0] for size in sizes), min(size[2] for size in sizes)
            # A profile may begin at no image at all.
            smallest = max(smallest, 1)
            if smallest <= largest:
                profiles.append(_Profile(index, smallest, sizes[0][1], largest))
        if not profiles:
            raise EngineError(f"no optimisation profile of the plan takes one batch of all of {dynamic}")
        return tuple(profiles)


def _check_device(device: Device, module: ModuleType) -> None:
    # A module says so if it runs elsewhere: addresses of the one are no memory of the other.
    kind = getattr(module, "DEVICE_KIND", "cuda")
    if device.kind != kind:
        raise InvalidArgumentError(f"device is {device}; {module.__name__} runs on {kind!r}: open that device")
    if device.ordinal != 0:
        raise UnavailableError(
            f"device is {device}; TensorRT engines run on the first GPU only: choose it by CUDA_VISIBLE_DEVICES"
        )


__all__ = ["TensorRTEngine", "TensorRTOptions", "TensorRTSession", "import_runtime"]
