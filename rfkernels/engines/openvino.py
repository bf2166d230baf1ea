"""The embedded CPU engine: OpenVINO, reading and writing memory of ours in place."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rfkernels.engines.engine import TensorSpecification, checked_batch
from rfkernels.engines.openvino_model import PLANAR_RANK, arrange_ports, prefer_blocks_of_channels
from rfkernels.engines.openvino_sparse import SparseBranch, SparseSession, branches_network, cut_branches
from rfkernels.engines.silent_openvino import openvino
from rfkernels.errors import EngineError, InvalidArgumentError

if sys.platform != "win32":
    import fcntl

Precision = Literal["auto", "fp32", "bf16"]

_logger = logging.getLogger(__name__)
_PRECISION_NAMES = {"fp32": "f32", "bf16": "bf16"}
# A cache line, and the widest vector: aligned rows are never split between two loads.
_ALIGNMENT = 64
_IDLE_BATCH_SIZES = 2


@dataclass(frozen=True)
class OpenVINOOptions:
    """How a network is compiled.

    Attributes:
        precision: arithmetic of the network's body. "auto" is bf16 where the CPU computes in it, fp32 elsewhere.
        threads: CPU threads of one request; None is every core that this process may use.
        cache_directory: where compiled networks are kept, so that the next load takes milliseconds; None is
            `$XDG_CACHE_HOME/rfkernels/openvino`, False keeps nothing.
        bfloat16_ports: in bf16, let inputs that feed convolutions and outputs that leave one be bfloat16 themselves,
            in arrays of uint16 that hold its bits, as `rfkernels.ops` writes and reads them. False: float32, whatever
            the precision.
        sparse_outputs: names of outputs that are to be computed at chosen pixels only, by `Session.run_sparse`. They
            are then `Engine.sparse_outputs`; where one of them is not there, or no branch such as YOLOv8's, all are
            `Engine.outputs` as ever.
    """

    precision: Precision = "auto"
    threads: int | None = None
    cache_directory: str | Path | Literal[False] | None = None
    bfloat16_ports: bool = False
    sparse_outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in ("auto", *_PRECISION_NAMES):
            raise InvalidArgumentError(f'precision is {self.precision!r}; choose "auto", "fp32" or "bf16"')
        if self.threads is not None and (
            isinstance(self.threads, bool) or not isinstance(self.threads, int) or self.threads < 1
        ):
            raise InvalidArgumentError(f"threads is {self.threads!r}; give 1 or more, or None for every core")
        if isinstance(self.cache_directory, bool) and self.cache_directory:
            raise InvalidArgumentError("cache_directory is True; give a folder, None for the user's, or False for none")


class OpenVINOSession:
    """An inference request with memory of its own. See `rfkernels.engines.Session`."""

    def __init__(self, network: _Network, batch: int) -> None:
        compiled = network.compiled
        self._request = compiled.create_infer_request()
        inputs: dict[str, NDArray[Any]] = {}
        self._tensors: list[openvino.Tensor] = []
        for port in compiled.inputs:
            sizes = [
                batch if axis == 0 and size.is_dynamic else size.get_length()
                for axis, size in enumerate(port.partial_shape)
            ]
            array = aligned_empty(tuple(sizes), _array_dtype(port))
            tensor = openvino.Tensor(array, openvino.Shape(sizes), port.element_type)
            self._request.set_tensor(port, tensor)
            self._tensors.append(tensor)
            inputs[port.any_name] = array
        self._inputs: Mapping[str, NDArray[Any]] = MappingProxyType(inputs)
        self._notes: dict[str, dict[int, object]] = {name: {} for name in inputs}
        self._inputs_are_lent = False
        self._output_ports = [
            (port.any_name, port, _array_dtype(port), len(port.partial_shape) == PLANAR_RANK)
            for port in compiled.outputs
            if port.any_name not in network.feature_names
        ]
        self._batch = batch
        self._sparse: SparseSession | None = None
        if network.compiled_branches is not None:
            features = [self._lend_feature_map(compiled.output(name), batch) for name in network.feature_names]
            self._sparse = SparseSession(network.compiled_branches, network.branches, features)

    def _lend_feature_map(self, port: openvino.ConstOutput, batch: int) -> NDArray[Any]:
        """Memory for a feature map, which the network writes: [pixels of the batch and one more of zeros, channels]."""
        _, height, width, channels = port.partial_shape
        sizes = [batch, height.get_length(), width.get_length(), channels.get_length()]
        pixel_count = sizes[0] * sizes[1] * sizes[2]
        values = aligned_empty((pixel_count + 1, sizes[3]), _array_dtype(port))
        values[-1] = 0
        tensor = openvino.Tensor(values[:-1].reshape(sizes), openvino.Shape(sizes), port.element_type)
        self._request.set_tensor(port, tensor)
        self._tensors.append(tensor)
        return values

    @property
    def inputs(self) -> Mapping[str, NDArray[Any]]:
        """Arrays over the memory that the runtime reads. See `rfkernels.engines.Session`."""
        self._inputs_are_lent = True
        return self._inputs

    def canvas(self, name: str) -> tuple[NDArray[Any], dict[int, object]]:
        """An input to draw on, and what is noted of it. See `rfkernels.engines.Session`."""
        return self._inputs[name], {} if self._inputs_are_lent else self._notes[name]

    def end_loan(self) -> None:
        """Forget what was noted of inputs that somebody else may have written since."""
        if self._inputs_are_lent:
            for notes in self._notes.values():
                notes.clear()
            self._inputs_are_lent = False

    def run(self) -> Mapping[str, NDArray[Any]]:
        """Run the network on `inputs`; the arrays returned are valid until the next `run`."""
        try:
            self._request.infer(share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO could not run the network: {first_line(error)}") from error
        outputs = {}
        for name, port, dtype, channels_last in self._output_ports:
            data = self._request.get_tensor(port).data.view(dtype)
            outputs[name] = data.transpose(0, 3, 1, 2) if channels_last else data
        return outputs

    @property
    def seconds_in_branches(self) -> float:
        """Of the last `run_sparse`, what OpenVINO took: for whoever times a request's parts."""
        return 0.0 if self._sparse is None else self._sparse.seconds_in_runtime

    def prepare(self) -> None:
        """Do at once what the first requests would otherwise wait for."""
        if self._sparse is not None:
            self._sparse.prepare()

    def run_sparse(self, pixels: NDArray[Any], counts: Sequence[int], image: int = 0) -> Sequence[NDArray[np.float32]]:
        """Compute sparse outputs at pixels of an image of the last `run`. See `rfkernels.engines.Session`."""
        if self._sparse is None:
            raise EngineError("this network has no sparse outputs")
        if not 0 <= image < self._batch:
            raise InvalidArgumentError(f"image is {image}; the session holds a batch of {self._batch}")
        return self._sparse.run(pixels, counts, image)


@dataclass(frozen=True, eq=False)
class _Network:
    """A compiled network, and the branches that were cut off it, compiled together."""

    compiled: openvino.CompiledModel
    branches: tuple[SparseBranch, ...] = ()
    compiled_branches: openvino.CompiledModel | None = None

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(branch.feature_name for branch in self.branches)


class OpenVINOEngine:
    """A network compiled for this machine's CPU.

    Args:
        model: an ONNX file (or an OpenVINO .xml).
        options: precision, threads, cache.

    Raises:
        EngineError: the file cannot be read or compiled, or the CPU lacks the precision that was asked for.
    """

    def __init__(self, model: str | Path, options: OpenVINOOptions | None = None) -> None:
        options = options or OpenVINOOptions()
        core = openvino.Core()
        self.precision = choose_precision(core, options.precision)
        self.threads = options.threads or _available_cores()
        try:
            with compiler_settings(self.precision, options) as settings:
                self._network = _compile(core, model, settings, self.precision, options)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO could not compile {Path(model).name}: {first_line(error)}") from error
        compiled, branches = self._network.compiled, self._network.branches
        self.inputs = tuple(_specification(port) for port in compiled.inputs)
        self.outputs = tuple(
            _specification(port, channels_last=True)
            for port in compiled.outputs
            if port.any_name not in self._network.feature_names
        )
        self.sparse_outputs = tuple(
            TensorSpecification(
                branch.name, (self.inputs[0].shape[0], branch.channels, branch.height, branch.width), "float32"
            )
            for branch in branches
        )
        self._lock = threading.Lock()
        # By batch, the one used last at the end.
        self._idle: OrderedDict[int, list[OpenVINOSession]] = OrderedDict()
        if branches:
            with self.session() as session:
                session.prepare()

    @property
    def description(self) -> Mapping[str, str]:
        """Runtime, version, device, precision and threads, as shown to a person."""
        return {
            "runtime": "openvino",
            "version": openvino.__version__.split("-")[0],
            "device": "cpu",
            "precision": self.precision,
            "threads": str(self.threads),
        }

    @contextmanager
    def session(self, batch: int | None = None) -> Iterator[OpenVINOSession]:
        """Lend a session for `batch` images; made when none is idle, kept for the next caller afterwards.

        See `rfkernels.engines.Engine`.

        Those of the batch sizes used last are kept; a session holds all memory of a run.
        """
        fixed = self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else None
        batch = checked_batch(batch, fixed)
        with self._lock:
            idle = self._idle.get(batch)
            session = idle.pop() if idle else None
        if session is None:
            session = OpenVINOSession(self._network, batch)
        try:
            yield session
        finally:
            session.end_loan()
            with self._lock:
                self._idle.setdefault(batch, []).append(session)
                self._idle.move_to_end(batch)
                while len(self._idle) > _IDLE_BATCH_SIZES:
                    self._idle.popitem(last=False)


@contextmanager
def compiler_settings(precision: str, options: OpenVINOOptions) -> Iterator[dict[str, Any]]:
    """What OpenVINO is told for the lowest latency of one request, and its cache to itself while the block lasts.

    Raises:
        EngineError: there can be no such cache.
    """
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _PRECISION_NAMES[precision],
        "INFERENCE_NUM_THREADS": options.threads or _available_cores(),
        # A thread bound to a core waits for whatever else runs there; one that may move does not. On an idle machine
        # the two are equal.
        "ENABLE_CPU_PINNING": False,
    }
    cache_directory = _prepare_cache_directory(options.cache_directory)
    if cache_directory is not None:
        settings["CACHE_DIR"] = str(cache_directory)
    with _alone_in(cache_directory):
        yield settings


def _compile(
    core: openvino.Core, path: str | Path, settings: Mapping[str, Any], precision: str, options: OpenVINOOptions
) -> _Network:
    is_bfloat16 = precision == "bf16"

    def compiled(*, wish: bool) -> _Network | None:
        network = core.read_model(str(path))
        branches = cut_branches(network, options.sparse_outputs)
        if wish and not prefer_blocks_of_channels(core, network):
            return None
        network = arrange_ports(
            network,
            bfloat16=options.bfloat16_ports and is_bfloat16,
            bfloat16_outputs=[branch.feature_name for branch in branches] if is_bfloat16 else [],
        )
        compiled_network = core.compile_model(network, "CPU", settings)
        if not branches:
            return _Network(compiled_network)
        feature_type = openvino.Type.bf16 if is_bfloat16 else openvino.Type.f32
        compiled_branches = core.compile_model(branches_network(branches, feature_type), "CPU", settings)
        return _Network(compiled_network, tuple(branches), compiled_branches)

    refusal: object = "the attribute is unknown"
    if is_bfloat16:
        try:
            if (result := compiled(wish=True)) is not None:
                return result
        except (RuntimeError, TypeError, KeyError, AttributeError) as error:
            refusal = first_line(error)
    result = compiled(wish=False)
    assert result is not None
    if is_bfloat16:
        # A release may do away with it; the network gives the same without, only slower.
        _logger.warning("OpenVINO %s chooses its convolutions by itself: %s", openvino.__version__, refusal)
    return result


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An uninitialised C-contiguous array whose first byte lies on a multiple of 64."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def supported_precisions() -> tuple[str, ...]:
    """The precisions that this machine's CPU computes in, as `OpenVINOOptions.precision` names them."""
    return _precisions_of(openvino.Core())


def runtime_facts() -> Mapping[str, str]:
    """The processor as the runtime names it, and the runtime's version."""
    return {
        "cpu": openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"),
        "openvino": openvino.__version__.split("-")[0],
    }


def _precisions_of(core: openvino.Core) -> tuple[str, ...]:
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("fp32", "bf16") if "BF16" in capabilities else ("fp32",)


def choose_precision(core: openvino.Core, wanted: Precision) -> str:
    """The precision that is meant, where this CPU computes in it.

    Raises:
        EngineError: it does not.
    """
    available = _precisions_of(core)
    if wanted == "auto":
        return available[-1]
    if wanted not in available:
        raise EngineError(
            f'precision is "{wanted}", which this CPU does not compute in; use one of {", ".join(available)}'
        )
    return wanted


def _available_cores() -> int:
    # What the process may use, not what the machine has: containers and taskset narrow it.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _prepare_cache_directory(wanted: str | Path | Literal[False] | None) -> Path | None:
    if wanted is False:
        return None
    if wanted is not None:
        directory = Path(wanted)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EngineError(
                f"cache_directory {directory} cannot be made: {error.strerror}; choose another or False"
            ) from error
        return directory
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - Path's raises
    directory = Path(base) / "rfkernels" / "openvino"
    if not directory.is_absolute():
        _logger.warning("compiled networks are not cached: neither XDG_CACHE_HOME nor HOME names a folder")
        return None
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _logger.warning("compiled networks are not cached: %s cannot be made (%s)", directory, error.strerror)
        return None
    if not os.access(directory, os.W_OK):
        _logger.warning("compiled networks are not cached: %s is not writable", directory)
        return None
    return directory


@contextmanager
def _alone_in(cache_directory: Path | None) -> Iterator[None]:
    """One process or thread at a time: OpenVINO maps files of the cache that another process may still be writing."""
    with ExitStack() as stack:
        if cache_directory is not None and sys.platform != "win32":
            try:
                lock = stack.enter_context((cache_directory / "lock").open("ab"))
                fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
            except OSError as error:
                _logger.warning("%s is used without a lock: %s", cache_directory, error)
        yield


def _specification(port: openvino.ConstOutput, *, channels_last: bool = False) -> TensorSpecification:
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape)
    if channels_last and len(shape) == PLANAR_RANK:
        shape = (shape[0], shape[3], shape[1], shape[2])
    is_bfloat16 = port.element_type == openvino.Type.bf16
    return TensorSpecification(port.any_name, shape, "bfloat16" if is_bfloat16 else _array_dtype(port).name)


def _array_dtype(port: openvino.ConstOutput) -> np.dtype[Any]:
    # NumPy has no bfloat16; OpenVINO's arrays of it claim to be float16.
    return np.dtype(np.uint16 if port.element_type == openvino.Type.bf16 else port.element_type.to_dtype())


def first_line(error: Exception) -> str:
    # OpenVINO's messages are a stack of source positions; the last line that holds words is the cause.
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")]
    return lines[-1] if lines else type(error).__name__
