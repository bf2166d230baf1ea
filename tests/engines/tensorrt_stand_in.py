"""A stand-in for `tensorrt` and `tensorrt_rtx` on the emulated device, which checks whoever uses it.

Every call is held to the real package's signatures (tensorrt_signatures.json) and to what the documentation asks for:
a profile before shapes, shapes before addresses, addresses of device memory before a run, a first run outside of a
capture, one thread at a time. What breaks a rule is in `violations`, whatever becomes of the exception. Runs are host
calls on the emulated stream: they happen when the stream comes to them, and are captured.

A plan is `stand-in` and JSON: see `make_plan`.
"""

from __future__ import annotations

import ctypes
import functools
import json
import math
import threading
import weakref
from collections.abc import Callable
from enum import Enum
from types import ModuleType
from typing import Any

import numpy as np
import tensorrt_signatures

from rfkernels import _native
from rfkernels.device import Device, Stream, host_call
from rfkernels.reference.bfloat16 import from_bfloat16, to_bfloat16

_MAGIC = b"stand-in"
_DOCUMENT = tensorrt_signatures.load()
_RTX_ONLY = {"get_engine_validity", "is_stream_capturable", "dynamic_shapes_kernel_specialization_strategy"}
_BYTES = {"FLOAT": 4, "HALF": 2, "BF16": 2, "INT32": 4, "UINT8": 1}
_NUMPY = {"FLOAT": "float32", "HALF": "float16", "BF16": "uint16", "INT32": "int32", "UINT8": "uint8"}
_ALIGNMENT = 256

NO_DRIVER = (
    "IRuntime::deserializeCudaEngine: Error Code 1: Cuda Runtime (In ScopedCudaStream at cudaResources.cpp:25 "
    "(cudaError 35: CUDA driver version is insufficient for CUDA runtime version))"
)
HOST_CODE = "Cannot deserialize engine with lean runtime since IRuntime::getEngineHostCodeAllowed() is false."
NOT_YET_RUN = "operation not permitted when stream is capturing: the context is not initialised"


class RuleViolationError(Exception):
    """The user of the runtime did what the real one forbids."""


class Dims(tuple):
    """A shape; iterable and indexable, as the real one."""


def tensor(
    name: str = "x",
    shape: tuple[int, ...] = (-1, 3, 4, 5),
    dtype: str = "FLOAT",
    *,
    location: str = "DEVICE",
    layout: str = "LINEAR",
    is_open: bool = False,
) -> dict[str, Any]:
    """An input or output of a plan; `is_open`: its size depends on the data."""
    return {"name": name, "shape": shape, "dtype": dtype, "location": location, "layout": layout, "is_open": is_open}


def make_plan(
    inputs: list[dict[str, Any]] | None = None,
    outputs: list[dict[str, Any]] | None = None,
    profiles: list[dict[str, list[tuple[int, ...]]]] | None = None,
    *,
    host_code: bool = False,
) -> bytes:
    """A plan whose outputs are, each, twice the first input and one more.

    Args:
        profiles: smallest, usual and largest shape by input.
    """
    inputs = inputs or [tensor("x")]
    if profiles is None:
        shapes = {one["name"]: [tuple(one["shape"][1:])] for one in inputs if one["shape"][0] < 0}
        profiles = [{name: [(1, *rest), (2, *rest), (4, *rest)] for name, (rest,) in shapes.items()}]
    outputs = outputs or [tensor("y", tuple(inputs[0]["shape"]))]
    document = {"inputs": inputs, "outputs": outputs, "profiles": profiles, "host_code": host_code}
    return _MAGIC + json.dumps(document).encode()


class StandIn(ModuleType):
    """The module. `calls` are (class.method, arguments); `failures` maps methods to what they log when they fail."""

    def __init__(self, device: Device, name: str = "tensorrt", version: str = "11.4.0") -> None:
        super().__init__(name)
        self.__version__ = version
        self.DEVICE_KIND = device.kind
        self.device = device
        self.is_rtx = name == "tensorrt_rtx"
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.failures: dict[str, str] = {}
        self.violations: list[str] = []
        # Called within execute_async_v3.
        self.while_executing: Callable[[], None] = lambda: None
        self.contexts_alive = 0
        # Kept for as long as a stream or a graph could call them.
        self.host_calls: list[_native.HostCall] = []
        for enum, members in _DOCUMENT["enums"].items():
            if self.is_rtx or enum != "DynamicShapesKernelSpecializationStrategy":
                setattr(self, enum, Enum(enum, members))
        self.ILogger = type("ILogger", (_ILogger,), {"Severity": self.Severity})
        self.Runtime = functools.partial(_Runtime, self)

    def named(self, call: str) -> list[tuple[Any, ...]]:
        """The arguments of all calls of a name."""
        return [arguments for name, arguments in self.calls if name == call]

    def violation(self, text: str) -> RuleViolationError:
        self.violations.append(text)
        return RuleViolationError(text)

    def is_capturing(self, stream_handle: int) -> bool:
        """Whether a stream is captured: another capture of it cannot begin then."""
        native = self.device.native
        try:
            native.begin_capture(stream_handle)
        except ValueError as error:
            return "captured already" in str(error)
        native.destroy_graph(native.end_capture(stream_handle))
        return False


class _Held:
    """A class of the real package. Each method is bound to one of the real signatures, recorded, and may fail."""

    real_name = ""

    def __init_subclass__(cls) -> None:
        cls.real_name = cls.__name__.removeprefix("_")
        for name, member in list(vars(cls).items()):
            if not name.startswith("_") and callable(member):
                setattr(cls, name, _held(cls.real_name, name, member))
            elif isinstance(member, property):
                assert name in _DOCUMENT["properties"][cls.real_name], f"{cls.real_name}.{name} is no property"

    def __init__(self, module: StandIn) -> None:
        self._module = module

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in _DOCUMENT["properties"][self.real_name]:
            raise self._module.violation(f"{self.real_name}.{name} is set, which is no property of it")
        super().__setattr__(name, value)

    def __getattribute__(self, name: str) -> Any:
        if name in _RTX_ONLY and not object.__getattribute__(self, "_module").is_rtx:
            raise AttributeError(name)
        return object.__getattribute__(self, name)

    def _fail(self, severity: str, message: str) -> None:
        raise NotImplementedError


def _held(kind: str, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    overloads = [tensorrt_signatures.parse(text) for text in _DOCUMENT["methods"][kind][name]]

    @functools.wraps(method)
    def call(self: _Held, *arguments: Any, **named: Any) -> Any:
        module = self._module
        module.calls.append((f"{kind}.{name}", (*arguments, *named.values())))
        signature = next((one for one in overloads if _fits(one, arguments, named)), None)
        if signature is None:
            raise module.violation(f"{kind}.{name}{arguments}{named or ''} fits none of {overloads}")
        if name in module.failures:
            self._fail("ERROR", module.failures[name])
            return False if signature.result == "bool" else None
        result = method(self, *arguments, **named)
        if not (result is None and signature.result[0] == "I") and not _is_a(result, signature.result):
            raise AssertionError(f"the stand-in's {kind}.{name} gave {result!r}, not {signature.result}")
        return result

    return call


def _fits(signature: tensorrt_signatures.Signature, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
    names = [name for name, _, _ in signature.parameters]
    if len(arguments) > len(names) or any(name not in names[len(arguments) :] for name in named):
        return False
    given = dict(zip(names, arguments, strict=False)) | named
    return all(
        _is_a(given[name], kind) if name in given else has_default for name, kind, has_default in signature.parameters
    )


def _is_a(value: Any, kind: str) -> bool:
    simple = {"int": int, "str": str, "bool": bool, "tuple": tuple, "list": list, "Dims": Dims}
    if kind in simple:
        return isinstance(value, simple[kind]) and (kind != "int" or not isinstance(value, bool))
    if kind == "buffer":
        return isinstance(value, bytes | bytearray | memoryview)
    if kind.startswith("list["):
        return isinstance(value, list) and all(_is_a(one, kind[5:-1]) for one in value)
    if kind == "None":
        return value is None
    return kind in {base.__name__.removeprefix("_") for base in type(value).__mro__}


class _ILogger:
    """What a user's logger is a subclass of: its constructor must have been called."""

    def __init__(self) -> None:
        self._is_initialised = True

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError("the real one would print")


class _Runtime(_Held):
    def __init__(self, module: StandIn, logger: Any) -> None:
        super().__init__(module)
        module.calls.append(("Runtime.__init__", (logger,)))
        if not _is_a(logger, "ILogger") or not getattr(logger, "_is_initialised", False):
            raise module.violation("Runtime was given no logger, or one whose ILogger.__init__ was not called")
        self._logger = logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: Any) -> _ICudaEngine | None:
        data = bytes(serialized_engine)
        self._fail("INFO", "Loaded engine size: 0 MiB")
        if not data.startswith(_MAGIC):
            self._fail("ERROR", "Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed.")
            return None
        document = json.loads(data[len(_MAGIC) :])
        if document["host_code"] and not self.engine_host_code_allowed:
            self._fail("ERROR", HOST_CODE)
            return None
        return _ICudaEngine(self, document)

    def get_engine_validity(self, buffer: Any) -> tuple[int, int]:
        self._fail("INFO", "The engine has been created with TensorRT-RTX version 1.6.0, but the current is 1.7.1.")
        return 2, 1

    def _fail(self, severity: str, message: str) -> None:
        self._logger.log(self._module.Severity[severity], message)


class _IRuntimeConfig(_Held):
    pass


class _ICudaEngine(_Held):
    def __init__(self, runtime: _Runtime, document: dict[str, Any]) -> None:
        super().__init__(runtime._module)
        self._runtime = runtime
        self._tensors = {one["name"]: one for one in document["inputs"] + document["outputs"]}
        self._input_names = [one["name"] for one in document["inputs"]]
        self._profiles = document["profiles"]
        self.num_io_tensors = len(self._tensors)
        self.num_optimization_profiles = len(self._profiles)
        self.device_memory_size_v2 = 1024

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return self._module.TensorIOMode["INPUT" if name in self._input_names else "OUTPUT"]

    def get_tensor_dtype(self, name: str) -> Any:
        return self._module.DataType[self._tensors[name]["dtype"]]

    def get_tensor_location(self, name: str) -> Any:
        return self._module.TensorLocation[self._tensors[name]["location"]]

    def get_tensor_format(self, name: str, profile_index: int) -> Any:
        return self._module.TensorFormat[self._tensors[name]["layout"]]

    def is_shape_inference_io(self, name: str) -> bool:
        return self._tensors[name]["location"] == "HOST"

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self._tensors[name]["shape"])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        if name not in self._input_names:
            raise self._module.violation(f"{name} is an output; profiles are of inputs")
        return [Dims(shape) for shape in self._profiles[profile_index][name]]

    def create_runtime_config(self) -> _IRuntimeConfig:
        return _IRuntimeConfig(self._module)

    def create_execution_context(self, runtime_config: _IRuntimeConfig | None = None) -> _IExecutionContext:
        return _IExecutionContext(self)

    def _fail(self, severity: str, message: str) -> None:
        self._runtime._fail(severity, message)


def _by_one_thread(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: _IExecutionContext, *arguments: Any, **named: Any) -> Any:
        if not self._busy.acquire(blocking=False):
            raise self._module.violation(f"{method.__name__} while another thread uses the context")
        try:
            return method(self, *arguments, **named)
        finally:
            self._busy.release()

    return call


class _IExecutionContext(_Held):
    def __init__(self, engine: _ICudaEngine) -> None:
        super().__init__(engine._module)
        self._engine = engine
        self._busy = threading.RLock()
        self._profile: int | None = None
        self._profile_stream = 0
        self._profile_is_applied = False
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._are_inferred = False
        self._addresses: dict[str, int] = {}
        self._has_run = False
        engine._module.contexts_alive += 1

    def __del__(self) -> None:
        self._module.contexts_alive -= 1

    @_by_one_thread
    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        if profile_index >= len(self._engine._profiles):
            self._fail("ERROR", f"profile {profile_index} is out of range")
            return False
        self._profile, self._shapes, self._are_inferred = profile_index, {}, False
        self._profile_stream, self._profile_is_applied = stream_handle, False
        self._put(stream_handle, _IExecutionContext._apply_profile)
        return True

    @_by_one_thread
    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self._profile is None:
            raise self._module.violation(f"the shape of {name} is set before a profile is")
        declared = self._engine._tensors[name]["shape"]
        bounds = self._engine._profiles[self._profile].get(name, [declared] * 3)
        if len(shape) != len(declared) or not all(
            first <= size <= last for first, size, last in zip(bounds[0], shape, bounds[2], strict=True)
        ):
            self._fail("ERROR", f"IExecutionContext::setInputShape: {shape} does not satisfy profile {self._profile}")
            return False
        self._shapes[name], self._are_inferred = shape, False
        return True

    @_by_one_thread
    def infer_shapes(self) -> list[str]:
        missing = [name for name in self._engine._input_names if name not in self._shapes]
        self._are_inferred = not missing
        return missing

    @_by_one_thread
    def get_tensor_shape(self, name: str) -> Dims:
        return self._shape_of(name)

    def _shape_of(self, name: str) -> Dims:
        if name in self._shapes:
            return Dims(self._shapes[name])
        if not self._are_inferred:
            raise self._module.violation(f"the shape of {name} is asked for before infer_shapes")
        description = self._engine._tensors[name]
        batch = -1 if description["is_open"] else self._shapes[self._engine._input_names[0]][0]
        return Dims(batch if size < 0 else size for size in description["shape"])

    @_by_one_thread
    def set_tensor_address(self, name: str, memory: int) -> bool:
        shape = self._shape_of(name)
        device = self._module.device
        if memory % _ALIGNMENT:
            raise self._module.violation(f"the address of {name} is no multiple of {_ALIGNMENT}")
        if device.native.locate(memory) != "device":
            raise self._module.violation(f"the address of {name} is no device memory")
        size = math.prod(shape) * _BYTES[self._engine._tensors[name]["dtype"]]
        try:
            # A copy onto itself, which the device refuses where it leaves the allocation.
            stream = device.stream()
            device.native.copy(memory, memory, size, "within_device", stream.handle)
        except ValueError as error:
            raise self._module.violation(f"the memory of {name} is too small: {error}") from error
        self._addresses[name] = memory
        return True

    @_by_one_thread
    def execute_async_v3(self, stream_handle: int) -> bool:
        self._module.while_executing()
        missing = [name for name in self._engine._tensors if name not in self._addresses]
        if missing or not self._are_inferred:
            raise self._module.violation(f"a run with shapes {self._shapes} and without addresses of {missing}")
        if not self._profile_is_applied and stream_handle != self._profile_stream:
            raise self._module.violation("a run beside the switch of the profile, which nobody has waited for")
        if not self._has_run and self._module.is_capturing(stream_handle):
            self._fail("ERROR", NOT_YET_RUN)
            return False
        # What a graph keeps: shapes and addresses as they are now.
        shapes = {name: tuple(self._shape_of(name)) for name in self._engine._tensors}
        self._put(stream_handle, _IExecutionContext._run, shapes, dict(self._addresses))
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        return True

    def _put(self, stream_handle: int, method: Callable[..., None], *arguments: Any) -> None:
        # Not the context itself: its end is part of what is tested.
        module, reference = self._module, weakref.ref(self)

        def run() -> None:
            context = reference()
            if context is None:
                raise module.violation("a stream or graph runs a context that is gone")
            method(context, *arguments)

        call = host_call(run)
        module.host_calls.append(call)
        Stream(module.device, stream_handle).call_host(call)

    def _apply_profile(self) -> None:
        self._profile_is_applied = True

    def _run(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        self._has_run = True
        engine = self._engine
        arrays = {
            name: _array_at(addresses[name], shapes[name], engine._tensors[name]["dtype"]) for name in engine._tensors
        }
        first = engine._input_names[0]
        values = _as_float(arrays[first], engine._tensors[first]["dtype"])
        for name in set(arrays) - set(engine._input_names):
            result = np.resize(2 * values + 1, shapes[name]).astype(np.float32)
            is_bfloat16 = engine._tensors[name]["dtype"] == "BF16"
            arrays[name][...] = to_bfloat16(result) if is_bfloat16 else result

    def _fail(self, severity: str, message: str) -> None:
        self._engine._fail(severity, message)


def _array_at(address: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    # The emulated device's memory is the host's.
    size = math.prod(shape) * _BYTES[dtype]
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), np.uint8).view(_NUMPY[dtype]).reshape(shape)


def _as_float(values: np.ndarray, dtype: str) -> np.ndarray:
    return from_bfloat16(values) if dtype == "BF16" else values.astype(np.float32)
