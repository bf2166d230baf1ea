"""Engines: a compiled network with named inputs and outputs as arrays on a device. One file per runtime."""

from rfkernels.engines.engine import Engine, Session, TensorSpecification
from rfkernels.engines.openvino import OpenVINOEngine, OpenVINOOptions

__all__ = ["Engine", "OpenVINOEngine", "OpenVINOOptions", "Session", "TensorSpecification"]
