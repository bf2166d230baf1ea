"""OpenVINO on the emulated device's memory: what stands in for TensorRT where there is no GPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from rfkernels import _native
from rfkernels.device import Device, DeviceArray, Stream, host_call
from rfkernels.engines.engine import TensorSpecification, checked_batch
from rfkernels.engines.openvino import OpenVINOOptions, choose_precision, compiler_settings, first_line
from rfkernels.engines.silent_openvino import openvino
from rfkernels.errors import EngineError, InvalidArgumentError


class EmulatedEngine:
    """A network that runs on the CPU and reads and writes the emulated device's memory, in the order of a stream.

    Outputs lie as TensorRT writes them: C-contiguous float32, every channel a plane.

    Args:
        model: an ONNX file.
        device: the emulated device.
        options: precision, threads, cache. Inputs and outputs are float32 and all computed, whatever it says of them.

    Raises:
        EngineError: the file cannot be read or compiled, or the CPU lacks the precision that was asked for.
        InvalidArgumentError: another device.
    """

    def __init__(self, model: str | Path, device: Device, options: OpenVINOOptions | None = None) -> None:
        if device.kind != "emulated":
            raise InvalidArgumentError(f"device is {device}; OpenVINO runs on the emulated device alone")
        options = options or OpenVINOOptions()
        core = openvino.Core()
        self.device = device
        self._precision = choose_precision(core, options.precision)
        try:
            with compiler_settings(self._precision, options) as settings:
                self._compiled = core.compile_model(core.read_model(str(model)), "CPU", settings)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO could not compile {Path(model).name}: {first_line(error)}") from error
        self.inputs = tuple(map(_specification, self._compiled.inputs))
        self.outputs = tuple(map(_specification, self._compiled.outputs))
        # None are computed at chosen pixels only: on a device that would take a wait in the middle.
        self.sparse_outputs: tuple[TensorSpecification, ...] = ()

    @property
    def description(self) -> Mapping[str, str]:
        """Runtime, version, device and precision, as shown to a person."""
        return {
            "runtime": "openvino",
            "version": openvino.__version__.split("-")[0],
            "device": "emulated",
            "precision": self._precision,
        }

    def create_session(self, batch: int | None = None) -> EmulatedSession:
        """Memory for a batch of images. See `rfkernels.engines.DeviceEngine`."""
        return EmulatedSession(self._compiled, self.device, checked_batch(batch, self.inputs[0].shape[0]))


class EmulatedSession:
    """One request in flight. See `rfkernels.engines.DeviceSession`."""

    def __init__(self, compiled: openvino.CompiledModel, device: Device, batch: int) -> None:
        self._request = compiled.create_infer_request()
        self._tensors: list[openvino.Tensor] = []
        self.inputs: Mapping[str, DeviceArray] = MappingProxyType(
            {port.any_name: self._lend(port, device, batch) for port in compiled.inputs}
        )
        self.outputs: Mapping[str, DeviceArray] = MappingProxyType(
            {port.any_name: self._lend(port, device, batch) for port in compiled.outputs}
        )
        request = self._request
        written = [(memory.address, memory.nbytes) for memory in self.outputs.values()]

        # Not a method: what Python cannot look into, as the native call, must not lead back to the session.
        def run() -> None:
            request.infer(share_inputs=True, share_outputs=True)
            for address, size in written:
                _native.emulation.mark_written(address, size)

        self._call = host_call(run)

    def enqueue(self, stream: Stream) -> None:
        """Put the network on a stream. See `rfkernels.engines.DeviceSession`."""
        stream.call_host(self._call)
        for memory in self.outputs.values():
            memory.written_on(stream)

    def check(self) -> None:
        """Raise what went wrong in the last run. See `rfkernels.engines.DeviceSession`."""
        try:
            self._call.raise_if_failed()
        except RuntimeError as error:
            raise EngineError(f"OpenVINO could not run the network: {first_line(error)}") from error

    def _lend(self, port: openvino.ConstOutput, device: Device, batch: int) -> DeviceArray:
        shape = [batch if size.is_dynamic else size.get_length() for size in port.partial_shape]
        memory = device.empty(shape, "float32", purpose=port.any_name)
        # The emulated device's memory is the host's.
        values = memory.host_view()
        tensor = openvino.Tensor(values, openvino.Shape(shape), openvino.Type.f32)
        self._request.set_tensor(port, tensor)
        self._tensors.append(tensor)
        return memory


def _specification(port: openvino.ConstOutput) -> TensorSpecification:
    if port.element_type != openvino.Type.f32:
        raise EngineError(f"{port.any_name} is {port.element_type.get_type_name()}; the emulated device takes float32")
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape)
    if any(size is None for size in shape[1:]):
        raise EngineError(f"{port.any_name} has shape {shape}; only the batch may be open on a device")
    return TensorSpecification(port.any_name, shape, np.dtype(np.float32).name)
