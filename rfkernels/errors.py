"""The exceptions rfkernels raises on purpose."""


class RfkernelsError(Exception):
    """Base of every error that rfkernels raises on purpose."""


class InputImageLoadError(RfkernelsError):
    """An input image could not be read, decoded or accepted."""


class ModelFileError(RfkernelsError):
    """A model file is missing, broken, or not one that rfkernels can run."""


class CheckpointError(RfkernelsError):
    """A checkpoint is malformed, unsafe, or does not hold the weights its model needs."""


class EngineError(RfkernelsError):
    """An engine could not be built or could not run."""


class UnavailableError(RfkernelsError, RuntimeError):
    """This machine or this build cannot do what was asked: an instruction set, a device."""


class DeviceError(RfkernelsError, RuntimeError):
    """A device failed at something it was asked for: memory, a copy, a kernel. The message names the call."""


class InvalidArgumentError(RfkernelsError, ValueError):
    """An argument has a type, shape or value the function does not accept."""


class InvalidMaskDecodeArgumentError(InvalidArgumentError):
    """A request asks for masks in a way that there is not: its mask_decode_mode or tradeoff_factor is out of range."""
