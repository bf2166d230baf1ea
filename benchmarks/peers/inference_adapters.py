"""V2 responses as the server of inference-core makes them: the adapters' own code around a model of inference-models.

The file that holds the adapters imports a whole server (workflows, video, cloud clients). Of it only what makes a
response is run here: the named functions and methods, taken out of the installed file as they are, with the imports
that they need.
"""

from __future__ import annotations
import __future__

import ast
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rfkernels.benchmarks.peers import inference_entities

_ADAPTERS = "inference/core/models/inference_models_adapters.py"
_SEGMENTATION = "InferenceModelsInstanceSegmentationAdapter"
_KEYPOINTS = "InferenceModelsKeyPointsDetectionAdapter"
_METHODS = {
    _SEGMENTATION: ("map_inference_kwargs", "_postprocess_sync", "_build_responses_from_detections"),
    _KEYPOINTS: ("map_inference_kwargs", "postprocess"),
}
_FUNCTIONS = (
    "_resolve_masks_resolution_factor",
    "rle_masks2poly",
    "model_keypoints_to_response",
    "prepare_classification_response",
    "prepare_multi_label_classification_response",
    "_reshape_classification_confidences",
)
_CONSTANTS = ("_MASK_DECODE_MODE_TO_RESOLUTION_FACTOR",)
# Of the server's own modules, those that can be imported without the server.
_SERVER_MODULES = (
    "inference.core.entities.responses.inference",
    "inference.core.env",
    "inference.core.exceptions",
    "inference.core.utils.postprocess",
    "inference.core.utils.rle_to_polygon",
)
_LIBRARIES = ("typing", "numpy", "torch", "pycocotools", "inference_models")


class Outputs(NamedTuple):
    """What a network gave for one image, and how the image became its input."""

    predictions: Any
    metadata: Any


class PeerResponder:
    """A model of inference-models that answers as V2's server does. Its network runs once for any number of answers.

    Args:
        model: from `benchmarks.peers.inference_models_package.load_package`, of any task but object detection.
    """

    def __init__(self, model: Any) -> None:
        import inference_models

        self.model = model
        self._adapters = _adapters()
        self._is_multi_label = isinstance(model, inference_models.MultiLabelClassificationModel)
        self._adapter: Any = None
        for model_class, name in (
            (inference_models.InstanceSegmentationModel, _SEGMENTATION),
            (inference_models.KeyPointsDetectionModel, _KEYPOINTS),
        ):
            if isinstance(model, model_class):
                self._adapter = self._adapters[name]()
                self._adapter._model, self._adapter.class_names = model, list(model.class_names)

    def run(self, image: np.ndarray) -> Outputs:
        """Preprocessing and network, for a uint8 BGR [h, w, 3] image."""
        if self._adapter is None:  # A classifier's gives no more than the input; its adapter keeps the size.
            prepared, metadata = self.model.pre_process(image, input_color_format="bgr"), [image.shape[:2]]
        else:
            prepared, metadata = self.model.pre_process(image, input_color_format="bgr")
        return Outputs(self.model.forward(prepared), metadata)

    def response(self, outputs: Outputs, **options: Any) -> dict[str, Any]:
        """The response as JSON has it; options as those of `entity`."""
        document: dict[str, Any] = self.entity(outputs, **options).model_dump(by_alias=True, exclude_none=True)
        return document

    def entity(self, outputs: Outputs, **options: Any) -> Any:
        """The response, an object of the server's entities.

        Args:
            options: fields of the request, for instance `confidence` and `response_mask_format`; the peer wants
                `keypoint_confidence` in an object called `request`.
        """
        # Post-processing works in place.
        predictions = _copied(outputs.predictions)
        if self._adapter is not None:
            finish = getattr(self._adapter, "_postprocess_sync", None) or self._adapter.postprocess
            (response,) = finish(predictions, outputs.metadata, **options)
        elif self._is_multi_label:
            found = self.model.post_process(predictions, **options)
            (response,) = self._adapters["prepare_multi_label_classification_response"](
                found, outputs.metadata, self.model.class_names
            )
        else:
            found = self.model.post_process(predictions)
            (response,) = self._adapters["prepare_classification_response"](
                found, outputs.metadata, self.model.class_names, options["confidence"]
            )
        return response


def _copied(predictions: Any) -> Any:
    if isinstance(predictions, tuple | list):
        return tuple(part.clone() for part in predictions)
    return predictions.clone()


def _adapters() -> dict[str, Any]:
    """The chosen functions and classes, by name."""
    inference_entities.responses_module()  # Puts the packages above it in place, empty.
    root = Path(str(importlib.metadata.distribution("inference-core").locate_file("")))
    path = root / _ADAPTERS
    tree = ast.parse(path.read_text(encoding="utf-8"))
    chosen = [part for node in tree.body if (part := _chosen(node)) is not None]
    tree.body = chosen
    # Annotations name types of the whole server.
    code = compile(tree, str(path), "exec", flags=__future__.annotations.compiler_flag, dont_inherit=True)
    namespace: dict[str, Any] = {"__name__": "inference.core.models.inference_models_adapters"}
    exec(code, namespace)
    wanted: Sequence[str] = (*_METHODS, *_FUNCTIONS, *_CONSTANTS)
    missing = [name for name in wanted if name not in namespace]
    if missing:
        raise RuntimeError(f"{_ADAPTERS} of the installed inference-core has no {', '.join(missing)}")
    return namespace


def _chosen(node: ast.stmt) -> ast.stmt | None:
    """A statement of the adapters' file if it is wanted; of a class the wanted methods alone."""
    if isinstance(node, ast.Import):
        return node if node.names[0].name.split(".")[0] in _LIBRARIES else None
    if isinstance(node, ast.ImportFrom):
        module = str(node.module)
        return node if module in _SERVER_MODULES or module.split(".", maxsplit=1)[0] in _LIBRARIES else None
    if isinstance(node, ast.FunctionDef):
        return node if node.name in _FUNCTIONS else None
    if isinstance(node, ast.Assign):
        return node if isinstance(node.targets[0], ast.Name) and node.targets[0].id in _CONSTANTS else None
    if isinstance(node, ast.ClassDef) and node.name in _METHODS:
        methods = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name in _METHODS[node.name]]
        node.bases, node.body = [], list[ast.stmt](methods)
        return node
    return None
