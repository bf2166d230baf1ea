"""What the tasks that find boxes have in common: thresholds, the class filter, and the boxes themselves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from rfkernels import ops
from rfkernels.device import Stream
from rfkernels.engines import DeviceEngine, Engine, Session
from rfkernels.errors import InvalidArgumentError
from rfkernels.images import Image, ImageOptions
from rfkernels.model_metadata import ModelMetadata
from rfkernels.ops import Candidates, Detections, Placement
from rfkernels.ops.on_device import ArrayOnDevice
from rfkernels.schema import ObjectDetectionInferenceRequest, new_ids
from rfkernels.tasks.arguments import at_least_zero, fraction, fraction_of_request, truth
from rfkernels.tasks.convention import Convention, convention_named
from rfkernels.tasks.detection_settings import DetectionSettings
from rfkernels.tasks.network_check import HEAD_STRIDES
from rfkernels.tasks.preparation import Preparation
from rfkernels.tasks.vision_model import FoundT, ResponseT, VisionModel


class InferOptions(TypedDict, total=False):
    """The options of `infer` that all tasks that find boxes have, for type checkers."""

    confidence: float | None
    iou_threshold: float | None
    max_detections: int | None
    class_agnostic_nms: bool
    class_filter: Sequence[str] | None
    convention: str | None
    image_options: ImageOptions | None
    stream: Stream | None


BoxRequestT = TypeVar("BoxRequestT", bound=ObjectDetectionInferenceRequest)
BoxSettingsT = TypeVar("BoxSettingsT", bound=DetectionSettings)


class Detector(
    VisionModel[BoxRequestT, BoxSettingsT, FoundT, ResponseT], Generic[BoxRequestT, BoxSettingsT, FoundT, ResponseT]
):
    """A network that finds boxes, and perhaps more for each box. Safe to call from several threads."""

    settings_type: type[BoxSettingsT]

    def __init__(self, engine: Engine | DeviceEngine, metadata: ModelMetadata, convention: str | None = None) -> None:
        super().__init__(engine, metadata, convention)
        # A name may stand for several classes: weights may give it twice.
        self._class_ids: dict[str, list[int]] = {}
        for index, name in enumerate(metadata.class_names):
            self._class_ids.setdefault(name, []).append(index)
        height, width = metadata.image_size
        self._grids = [(height // stride, width // stride) for stride in HEAD_STRIDES]

    def detect_images(
        self,
        images: Sequence[Image | ArrayOnDevice],
        settings: BoxSettingsT | None = None,
        preparation: Preparation | None = None,
        *,
        stream: Stream | None = None,
    ) -> list[FoundT]:
        """What is found as arrays, for those who do not need a response.

        Args:
            images: from `rfkernels.images.load_image`, or arrays on the model's device; see `infer`, as `stream`.
            settings: `default_settings` by default.
            preparation: the model's own by default.
        """
        return self._find(self._taken(images, stream), settings or self.default_settings(), preparation)

    def default_settings(self, convention: Convention | None = None) -> BoxSettingsT:
        """A convention's own; of the model's convention by default."""
        chosen = convention or self.convention
        return self.settings_type(chosen, chosen.confidence, chosen.iou_threshold, chosen.max_detections)

    def finish(
        self,
        session: Session,
        outputs: Mapping[str, NDArray[Any]],
        images: Sequence[Image],
        placements: Sequence[Placement],
        settings: BoxSettingsT,
    ) -> list[FoundT]:
        """What the session's run has given to what is in each image, in pixels of the original images.

        That is `find_boxes`, then `extend`; and where the engine computes boxes at chosen pixels, `find_boxes` is
        `select`, `boxes_of` and `decode`.
        """
        detections = self.find_boxes(session, outputs, images, placements, settings)
        return self.extend(outputs, images, placements, detections, settings)

    @abstractmethod
    def extend(
        self,
        outputs: Mapping[str, NDArray[Any]],
        images: Sequence[Image],
        placements: Sequence[Placement],
        detections: list[Detections],
        settings: BoxSettingsT,
    ) -> list[FoundT]:
        """What the task wants besides the boxes, for those that were found."""

    def find_boxes(
        self,
        session: Session,
        outputs: Mapping[str, NDArray[Any]],
        images: Sequence[Image],
        placements: Sequence[Placement],
        settings: DetectionSettings,
    ) -> list[Detections]:
        """The boxes in each image."""
        count = len(images)
        if self.has_sparse_boxes:
            candidates = self.select(outputs, count, settings)
            return self.decode(candidates, self.boxes_of(session, candidates), images, placements, settings)
        arguments = self._decode_arguments(images, placements, settings) | {"confidence": settings.confidence}
        if self.metadata.output_format == "decoded":
            (prediction,) = outputs.values()
            return ops.detect_from_decoded(prediction[:count], **arguments)
        strides = HEAD_STRIDES
        heads = [(outputs[f"box_{stride}"][:count], outputs[f"class_{stride}"][:count]) for stride in strides]
        return ops.detect_from_heads(heads, strides=strides, **arguments)

    @property
    def has_sparse_boxes(self) -> bool:
        """Whether the engine computes boxes at chosen pixels only."""
        return self._device_requests is None and len(self.engine.sparse_outputs) > 0

    def select(
        self, outputs: Mapping[str, NDArray[Any]], image_count: int, settings: DetectionSettings
    ) -> list[Candidates]:
        """The anchors of each image whose class is sure enough for a box to be computed."""
        return ops.select_candidates(
            [outputs[f"class_{stride}"][:image_count] for stride in HEAD_STRIDES],
            confidence=settings.confidence,
            wanted_classes=settings.wanted_class_ids,
            convention=settings.convention.name,
        )

    def boxes_of(self, session: Session, candidates: Sequence[Candidates]) -> list[list[NDArray[np.float32]]]:
        """For each image and level the box bins [n, 64] of its candidates: the rest of the network, for them alone."""
        boxes = []
        for image, found in enumerate(candidates):
            rows = session.run_sparse(found.anchor_indices, found.level_counts, image)
            # The next image's take the place of these.
            boxes.append(list(rows) if len(candidates) == 1 else [values.copy() for values in rows])
        return boxes

    def decode(
        self,
        candidates: Sequence[Candidates],
        boxes: Sequence[Sequence[NDArray[np.float32]]],
        images: Sequence[Image],
        placements: Sequence[Placement],
        settings: DetectionSettings,
    ) -> list[Detections]:
        """Candidates and their box bins to detections in pixels of the original images."""
        return ops.detect_from_candidates(
            candidates,
            boxes,
            grids=self._grids,
            strides=HEAD_STRIDES,
            **self._decode_arguments(images, placements, settings),
        )

    def _decode_arguments(
        self, images: Sequence[Image], placements: Sequence[Placement], settings: DetectionSettings
    ) -> dict[str, Any]:
        return {
            "placements": placements,
            "image_sizes": [(image.height, image.width) for image in images],
            "iou_threshold": settings.iou_threshold,
            "class_agnostic": settings.class_agnostic,
            "max_detections": settings.max_detections,
            "wanted_classes": settings.wanted_class_ids,
            "convention": settings.convention.name,
        }

    def _settings(
        self,
        *,
        confidence: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        class_agnostic_nms: bool = False,
        class_filter: Sequence[str] | None = None,
        convention: str | None = None,
        **more: Any,  # noqa: ANN401 - the fields that a task's settings add
    ) -> BoxSettingsT:
        """Settings of the options of `infer`, checked."""
        chosen = self.convention if convention is None else convention_named(convention)
        return self.settings_type(
            chosen,
            fraction("confidence", chosen.confidence if confidence is None else confidence),
            fraction("iou_threshold", chosen.iou_threshold if iou_threshold is None else iou_threshold),
            at_least_zero("max_detections", chosen.max_detections if max_detections is None else max_detections),
            truth("class_agnostic_nms", class_agnostic_nms),
            self._ids_of(class_filter, refuse_unknown=True),
            **more,
        )

    def _settings_of(self, request: BoxRequestT) -> BoxSettingsT:
        # "best" is the threshold that the training's evaluation recommends, "default" the model's; a model without
        # such advice has the convention's for both.
        convention = self.convention
        confidence = convention.confidence if isinstance(request.confidence, str) else request.confidence
        iou_threshold = convention.iou_threshold if request.iou_threshold is None else request.iou_threshold
        return self.settings_type(
            convention,
            fraction_of_request("confidence", confidence),
            fraction_of_request("iou_threshold", iou_threshold),
            at_least_zero(
                "max_detections",
                convention.max_detections if request.max_detections is None else request.max_detections,
            ),
            bool(request.class_agnostic_nms),
            # An empty list filters nothing, as in V2.
            self._ids_of(request.class_filter or None, refuse_unknown=False),
        )

    def _convention_of(self, settings: BoxSettingsT) -> Convention:
        return settings.convention

    def _ids_of(self, class_filter: Sequence[str] | None, *, refuse_unknown: bool) -> tuple[int, ...] | None:
        if class_filter is None:
            return None
        if isinstance(class_filter, str):
            raise InvalidArgumentError(f"class_filter is the string {class_filter!r}; give a list of class names")
        if not isinstance(class_filter, Sequence) or not all(isinstance(name, str) for name in class_filter):
            raise InvalidArgumentError(f"class_filter is {class_filter!r}; give a list of class names")
        unknown = [name for name in class_filter if name not in self._class_ids]
        if unknown and refuse_unknown:
            known = ", ".join(self.metadata.class_names[:20])
            raise InvalidArgumentError(f"class_filter names {', '.join(map(repr, unknown))}; the model knows {known}")
        return tuple(index for name in class_filter for index in self._class_ids.get(name, ()))


def centred(
    boxes: NDArray[np.float32], detections: Detections
) -> Iterator[tuple[float, float, float, float, float, int, str]]:
    """For each detection x and y of its box's centre, width, height, score, class id and a fresh id.

    Args:
        boxes: float32 [n, 4], x1 y1 x2 y2: those of the detections, or where they lie in another grid.
        detections: n.
    """
    # Plain Python numbers, which are doubles: for a hundred boxes that is quicker than eight calls into NumPy, and
    # a centre computed in float32 would print 1234.5000001 where V2 prints 1234.5.
    rows = zip(
        boxes.tolist(),
        detections.scores.tolist(),
        detections.class_ids.tolist(),
        new_ids(len(detections)),
        strict=True,
    )
    for (x1, y1, x2, y2), score, class_id, identifier in rows:
        yield (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, score, class_id, identifier
