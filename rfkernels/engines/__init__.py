"""Engines: a compiled network with named inputs and outputs as arrays on a device. One file per runtime."""

from rfkernels.engines.engine import DeviceEngine, DeviceSession, Engine, Session, TensorSpecification
from rfkernels.engines.openvino import OpenVINOEngine, OpenVINOOptions
from rfkernels.engines.tensorrt import TensorRTEngine, TensorRTOptions

__all__ = [
    "DeviceEngine",
    "DeviceSession",
    "Engine",
    "OpenVINOEngine",
    "OpenVINOOptions",
    "Session",
    "TensorRTEngine",
    "TensorRTOptions",
    "TensorSpecification",
]
