"""From a model file to the task that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from rfkernels.device import open_device
from rfkernels.engines import OpenVINOEngine, OpenVINOOptions
from rfkernels.engines.openvino import Precision
from rfkernels.engines.openvino_on_device import EmulatedEngine
from rfkernels.errors import InvalidArgumentError
from rfkernels.model_metadata import read_model_metadata
from rfkernels.tasks.classification import ClassificationModel
from rfkernels.tasks.instance_segmentation import InstanceSegmentationModel
from rfkernels.tasks.keypoint_detection import KeypointDetectionModel
from rfkernels.tasks.network_check import BOX_OUTPUTS
from rfkernels.tasks.object_detection import ObjectDetectionModel

Model: TypeAlias = ObjectDetectionModel | InstanceSegmentationModel | KeypointDetectionModel | ClassificationModel
# By the task that a model's metadata name.
MODELS: dict[str, type[Model]] = {
    "object-detection": ObjectDetectionModel,
    "instance-segmentation": InstanceSegmentationModel,
    "keypoint-detection": KeypointDetectionModel,
    "classification": ClassificationModel,
}


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    precision: Precision = "auto",
    threads: int | None = None,
    cache_directory: str | Path | Literal[False] | None = None,
    convention: str | None = None,
) -> Model:
    """Load a model made by `rfkernels build`.

    Args:
        path: the .onnx file.
        device: "cpu"; or "emulated", the pipeline of a GPU (its kernels, streams and graph) on the CPU: slow, for
            tests of what is to run on a GPU. This version makes no engines for GPUs yet.
        precision: "fp32", "bf16", or "auto" for bf16 where the CPU computes in it.
        threads: CPU threads of one request; None is every core that this process may use.
        cache_directory: where the compiled network is kept for the next load; None is the user's cache folder, False
            keeps nothing.
        convention: "v2" or "ultralytics" for every call that does not say; None is the model's.

    Returns:
        The model of the file's task, ready to `infer`. It may be called from several threads.

    Raises:
        ModelFileError: the file is missing, broken, or was not made by `rfkernels build`.
        EngineError: the network could not be compiled for this machine.
        UnavailableError: this build has no emulated device.
        InvalidArgumentError: an argument is not one of those above.
    """
    if device not in ("cpu", "emulated"):
        raise InvalidArgumentError(f'device is {device!r}; this version runs on "cpu", or "emulated" for tests')
    metadata = read_model_metadata(path)
    if device == "emulated":
        emulated = EmulatedEngine(
            path,
            open_device("emulated"),
            OpenVINOOptions(precision=precision, threads=threads, cache_directory=cache_directory),
        )
        return MODELS[metadata.task](emulated, metadata, convention)
    has_boxes = metadata.output_format == "raw_heads" and metadata.task != "classification"
    options = OpenVINOOptions(
        precision=precision,
        threads=threads,
        cache_directory=cache_directory,
        bfloat16_ports=True,
        sparse_outputs=BOX_OUTPUTS if has_boxes else (),
    )
    return MODELS[metadata.task](OpenVINOEngine(path, options), metadata, convention)
