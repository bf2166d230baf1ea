"""What stands around a TensorRT engine: the package, its log, the plan's file, and errors that say what to do.

`tensorrt` (10 and 11) and `tensorrt_rtx` (1) have the same classes under the same names. Whatever takes a module takes
either.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from rfkernels.errors import EngineError, InvalidArgumentError, RfkernelsError, UnavailableError

_logger = logging.getLogger(__name__)
# Where nobody listens, Python would print warnings to standard error.
_logger.addHandler(logging.NullHandler())

RUNTIME_NAMES = ("tensorrt", "tensorrt_rtx")
# With these a plan of TensorRT-RTX begins.
_RTX_MAGIC = b"vtrt"
_HEADER_LENGTH_BYTES = 4
_LARGEST_HEADER_BYTES = 16 * 1024 * 1024
_MOST_LINES = 12
_LONGEST_LINE = 600
_LEVELS = {
    "INTERNAL_ERROR": logging.ERROR,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.DEBUG,
    "VERBOSE": logging.DEBUG,
}
_REBUILD = "build it again from the .onnx"

# What the runtime says, and what to do then. The first that is found counts: without a driver a damaged plan is
# reported as damaged.
_ADVICE: tuple[tuple[str, type[RfkernelsError], str], ...] = (
    (
        r"getEngineHostCodeAllowed",
        EngineError,
        "the plan brings a runtime of its own, a program that this process would execute; where you trust its source "
        "pass TensorRTOptions(engine_host_code_allowed=True), else build it again without VERSION_COMPATIBLE",
    ),
    (
        r"magicTag|does not conform to the expected format",
        EngineError,
        "this is no plan of {runtime}, or one of a release that it cannot read; " + _REBUILD + " with {runtime}",
    ),
    (
        r"header\.size == blobSize|bufferSize >= minBufferSize|empty memory buffer",
        EngineError,
        "the plan is cut short or damaged; copy it again or " + _REBUILD,
    ),
    (
        r"[Vv]ersion tag does not match|expecting library version|major version does not match"
        r"|created with TensorRT-RTX version|serialization version",
        EngineError,
        "the plan was built with another release than {runtime}; " + _REBUILD + " with this one, or install that one",
    ),
    (
        r"incompatible device|not compatible with this hardware-compatible engine|cannot run on this GPU",
        EngineError,
        "the plan was built for another compute capability than this GPU's; " + _REBUILD + " on this GPU, or for it",
    ),
    (
        r"stream is in capturing mode, but this TRT engine is not stream capturable|CUDA does not permit cudaMalloc",
        EngineError,
        "the network cannot be captured into a graph; for TensorRT-RTX build it with REQUIRE_USER_ALLOCATION, or "
        "enqueue it outside of captures",
    ),
    (
        r"cudaError 2:|[Oo]ut of memory|OutOfMemory",
        EngineError,
        "the GPU's memory does not suffice; free some, or take a smaller batch",
    ),
    (
        r"cudaError (?:3|35|36|46|100|803|804|999):|driver version is insufficient|no CUDA-capable device"
        r"|CUDA initialization failure",
        UnavailableError,
        "there is no NVIDIA driver, no GPU, or the driver is older than {runtime} asks for; install a driver, or run "
        "the .onnx on the CPU with OpenVINO",
    ),
)


def import_runtime(name: str) -> ModuleType:
    """The Python package of a runtime.

    Args:
        name: "tensorrt", or "tensorrt_rtx" for TensorRT-RTX.

    Raises:
        InvalidArgumentError: another name.
        UnavailableError: it is not installed, or its libraries cannot be loaded.
    """
    if name not in RUNTIME_NAMES:
        raise InvalidArgumentError(f'name is {name!r}; give "tensorrt" or "tensorrt_rtx"')
    package = name.replace("_", "-")
    try:
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            raise UnavailableError(f"{name} is not installed; pip install {package}") from error
        # The bindings come without the libraries where NVIDIA's own package index was not asked.
        raise UnavailableError(
            f"{name} is installed and cannot be imported: {_shortened(str(error))}; install its libraries, which come "
            f"with NVIDIA's {package} and not with PyPI's where pip did not ask NVIDIA's package index"
        ) from error


def runtime_name_of(plan: memoryview) -> str:
    """The name of the runtime that a plan is for, as `import_runtime` takes it."""
    return "tensorrt_rtx" if bytes(plan[: len(_RTX_MAGIC)]) == _RTX_MAGIC else "tensorrt"


def read_plan(plan: bytes | bytearray | memoryview | str | Path) -> tuple[memoryview, Mapping[str, Any]]:
    """A plan, and the JSON object before it, {} where there is none.

    Files of ultralytics begin with the length of a JSON text, 4 bytes, little-endian, signed, and the text. A plan
    begins with bytes that are no such length.

    Args:
        plan: the bytes, or the name of a file.

    Raises:
        EngineError: the file cannot be read, or holds nothing.
        InvalidArgumentError: neither bytes nor a name.
    """
    if isinstance(plan, str | Path):
        try:
            data = memoryview(Path(plan).read_bytes())
        except OSError as error:
            raise EngineError(f"plan {plan} cannot be read: {error.strerror or error}") from error
    elif isinstance(plan, bytes | bytearray | memoryview):
        data = memoryview(plan).cast("B")
    else:
        raise InvalidArgumentError(f"plan is a {type(plan).__name__}; give bytes, or the name of a file")
    length = int.from_bytes(data[:_HEADER_LENGTH_BYTES], "little", signed=True)
    end = _HEADER_LENGTH_BYTES + length
    if 0 < length <= _LARGEST_HEADER_BYTES and end <= len(data):
        with suppress(ValueError, RecursionError):
            header = json.loads(bytes(data[_HEADER_LENGTH_BYTES:end]))
            if isinstance(header, dict):
                data = data[end:]
                if not len(data):
                    raise EngineError(f"plan ends after its header of {end} bytes; copy it again, or {_REBUILD}")
                return data, header
    if not len(data):
        raise EngineError(f"plan is empty; copy it again, or {_REBUILD}")
    return data, {}


class RuntimeLog:
    """What a runtime logs: into the error of the call that was running, and to Python's `logging`. See `log_of`."""

    def __init__(self, module: ModuleType) -> None:
        # It must be of the module's own class, which calls it from C++: no exception may leave it.
        log = self

        class Logger(module.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                module.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:  # noqa: ANN401 - an enum of the module
                with suppress(Exception):
                    log.take(severity.name, msg)

        self.logger = Logger()
        self.runtime = f"{module.__name__} {module.__version__}"
        self._local = threading.local()

    def take(self, severity: str, message: str) -> None:
        """Keep a message."""
        _logger.log(_LEVELS.get(severity, logging.ERROR), "%s: %s", self.runtime, message)
        kept: tuple[list[str], bool] | None = getattr(self._local, "kept", None)
        if kept is None:
            return
        lines, all_severities = kept
        if len(lines) < _MOST_LINES and (all_severities or severity not in ("INFO", "VERBOSE")):
            lines.append(_shortened(message))

    @contextmanager
    def lines(self, *, all_severities: bool = False) -> Iterator[list[str]]:
        """What this thread's calls log in the `with` block, from warnings upwards."""
        before = getattr(self._local, "kept", None)
        lines: list[str] = []
        self._local.kept = lines, all_severities
        try:
            yield lines
        finally:
            self._local.kept = before

    def call(
        self,
        about: str,
        function: Callable[..., Any],
        *arguments: Any,  # noqa: ANN401 - the module's
        diagnose: Callable[[], object] | None = None,
    ) -> Any:  # noqa: ANN401
        """Call a function of the runtime that says by False or None that it failed.

        Args:
            about: the call, the tensor, the shapes: how the error begins.
            diagnose: called after a failure; what it logs belongs to the error.

        Raises:
            EngineError, UnavailableError: it failed.
        """
        cause: Exception | None = None
        with self.lines() as lines:
            try:
                result = function(*arguments)
            except Exception as error:  # of the module's own types
                result, cause = None, error
        if result is not None and result is not False:
            return result
        if diagnose is not None:
            with self.lines(all_severities=True) as more, suppress(Exception):
                diagnose()
            lines += more
        raise self.failure(about, lines, cause) from cause

    def failure(self, about: str, lines: list[str], cause: Exception | None = None) -> RfkernelsError:
        """The error of a call: what it was, what to do, what the runtime said."""
        said = [*lines, *([] if cause is None else [_shortened(str(cause))])]
        # A runtime says the same thing more than once.
        quoted = "; ".join(dict.fromkeys(said)) or "nothing"
        for pattern, kind, advice in _ADVICE:
            if re.search(pattern, quoted):
                return kind(f"{self.runtime}: {about} failed: {advice.format(runtime=self.runtime)}. It said: {quoted}")
        return EngineError(f"{self.runtime}: {about} failed. It said: {quoted}")


_logs: dict[str, tuple[ModuleType, RuntimeLog]] = {}
_logs_lock = threading.Lock()


def log_of(module: ModuleType) -> RuntimeLog:
    """The one log of a module, for as long as the process lives: runtimes keep the first logger that they are given."""
    with _logs_lock:
        known = _logs.get(module.__name__)
        if known is None or known[0] is not module:
            known = _logs[module.__name__] = (module, RuntimeLog(module))
        return known[1]


def _shortened(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + " ..."
