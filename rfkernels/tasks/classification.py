"""Classification: images and options in, V2 responses out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, overload

import numpy as np
from numpy.typing import NDArray

from rfkernels.device import Stream
from rfkernels.engines import DeviceSession, Session
from rfkernels.images import Image, ImageOptions
from rfkernels.ops import Placement
from rfkernels.ops.on_device import ArrayOnDevice
from rfkernels.schema import (
    ClassificationInferenceRequest,
    ClassificationInferenceResponse,
    ClassificationPrediction,
    InferenceResponseImage,
    MultiLabelClassificationInferenceResponse,
    MultiLabelClassificationPrediction,
)
from rfkernels.tasks.arguments import fraction, number
from rfkernels.tasks.convention import Convention, convention_named
from rfkernels.tasks.device_images import AnySource
from rfkernels.tasks.device_request import DeviceParts, Room
from rfkernels.tasks.preparation import Preparation
from rfkernels.tasks.vision_model import VisionModel

if TYPE_CHECKING:
    from typing_extensions import Unpack

ClassificationResponse = ClassificationInferenceResponse | MultiLabelClassificationInferenceResponse
# V2's, whatever the convention: ultralytics has no threshold for classes of an image.
_CONFIDENCE = 0.4
# What V2 makes of the words "best" and "default".
_CONFIDENCE_OF_WORDS, _MULTI_LABEL_CONFIDENCE_OF_WORDS = 0.5, 0.4
# Greater than any probability.
_MORE_THAN_SURE = 2.0


@dataclass(frozen=True)
class ClassificationSettings:
    """What one request wants; see `ClassificationModel.infer`."""

    convention: Convention
    confidence: float


class ClassificationOptions(TypedDict, total=False):
    """The options of `ClassificationModel.infer`, for type checkers."""

    confidence: float
    convention: str | None
    image_options: ImageOptions | None
    stream: Stream | None


class ClassificationModel(
    VisionModel[ClassificationInferenceRequest, ClassificationSettings, NDArray[np.float32], ClassificationResponse]
):
    """A classification network with its preprocessing and post-processing. Safe to call from several threads.

    Made by `rfkernels.load`; what it takes is what `VisionModel` takes. A model whose metadata say `multi_label` may
    find any number of classes in an image, and answers in V2's other form.
    """

    request_type = ClassificationInferenceRequest

    @overload
    def infer(
        self, images: list[AnySource], **options: Unpack[ClassificationOptions]
    ) -> list[ClassificationResponse]: ...

    @overload
    def infer(self, images: AnySource, **options: Unpack[ClassificationOptions]) -> ClassificationResponse: ...

    def infer(
        self,
        images: AnySource | list[AnySource],
        *,
        confidence: float = _CONFIDENCE,
        convention: str | None = None,
        image_options: ImageOptions | None = None,
        stream: Stream | None = None,
    ) -> ClassificationResponse | list[ClassificationResponse]:
        """Say of which class, or classes, an image is.

        Args:
            images: a path, bytes, base64 text, URL (see `image_options`), BGR or grey uint8 array, Pillow image, or
                a list of them. Of a model on a device also arrays there, which are read where they lie: a
                `DeviceArray`, or one of torch, CuPy, PyCUDA or Numba, uint8 [height, width] or
                [height, width, 1 | 3 | 4] of any row pitch.
            confidence: in [0, 1]; classes of less are left out (of `predicted_classes`, in the multi-label form).
            convention: "v2" or "ultralytics"; None is the model's. Classes come out the same.
            image_options: what kinds of images are let in, and how large.
            stream: of the model's device, where images are there: what was put on it before is waited for. None is
                enough where the arrays say themselves who wrote them, as all do that speak DLPack.

        Returns:
            The V2 response; a list of them for a list of images.

        Raises:
            InputImageLoadError: an image cannot be read.
            InvalidArgumentError: an option is out of its range.
        """
        chosen = self.convention if convention is None else convention_named(convention)
        settings = ClassificationSettings(chosen, fraction("confidence", confidence))
        return self._infer(images, settings, image_options, stream)

    def classify_images(
        self,
        images: Sequence[Image | ArrayOnDevice],
        convention: Convention | None = None,
        preparation: Preparation | None = None,
        *,
        stream: Stream | None = None,
    ) -> list[NDArray[np.float32]]:
        """For each image the probability of each class, float32 [classes], for those who do not need a response.

        Args:
            images: from `rfkernels.images.load_image`, or arrays on the model's device; see `infer`, as `stream`.
        """
        settings = ClassificationSettings(convention or self.convention, _CONFIDENCE)
        return self._find(self._taken(images, stream), settings, preparation)

    def finish(
        self,
        session: Session,
        outputs: Mapping[str, NDArray[Any]],
        images: Sequence[Image],
        placements: Sequence[Placement],
        settings: ClassificationSettings,
    ) -> list[NDArray[np.float32]]:
        """Logits to probabilities: of all classes together, or of each class alone in the multi-label form."""
        logits = outputs["logits"][: len(images)]
        values = logits if logits.dtype == np.float32 else (logits.astype(np.uint32) << 16).view(np.float32)
        return self.probabilities(values)

    def finish_on_device(
        self,
        parts: DeviceParts,
        images: Sequence[Image],
        settings: ClassificationSettings,
        room: Room,
    ) -> _LogitsOnDevice:
        """A few logits are copied; what becomes of them is the host's."""
        return _LogitsOnDevice(self, parts.session)

    def probabilities(self, logits: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """For each image [class_count], from float32 [n, class_count]."""
        return list(sigmoid(logits) if self.metadata.multi_label else softmax(logits))

    def respond(
        self, image: Image, found: NDArray[np.float32], settings: ClassificationSettings
    ) -> ClassificationResponse:
        """Probabilities of one image as a V2 response."""
        size = InferenceResponseImage(width=image.width, height=image.height)
        names = self.metadata.class_names
        if self.metadata.multi_label:
            sure = np.flatnonzero(found >= np.float32(settings.confidence)).tolist()
            return MultiLabelClassificationInferenceResponse(
                image=size,
                predictions={
                    name: MultiLabelClassificationPrediction(confidence=confidence, class_id=class_id)
                    for class_id, (name, confidence) in enumerate(zip(names, found.tolist(), strict=True))
                },
                predicted_classes=[names[class_id] for class_id in sure],
            )
        predictions = [
            ClassificationPrediction(class_name=names[class_id], class_id=class_id, confidence=round(confidence, 4))
            for class_id, confidence in enumerate(found.tolist())
            if confidence >= settings.confidence
        ]
        # Classes that round to the same confidence stay in the order of their ids, as in V2.
        predictions.sort(key=lambda prediction: prediction.confidence, reverse=True)
        if not predictions:
            return ClassificationInferenceResponse(image=size, predictions=predictions)
        best = predictions[0]
        return ClassificationInferenceResponse(
            image=size, predictions=predictions, top=best.class_name, confidence=best.confidence
        )

    def _settings_of(self, request: ClassificationInferenceRequest) -> ClassificationSettings:
        confidence = request.confidence
        if isinstance(confidence, str):
            confidence = _MULTI_LABEL_CONFIDENCE_OF_WORDS if self.metadata.multi_label else _CONFIDENCE_OF_WORDS
        # A class of exactly the threshold is kept, so that one above 1, which lets nothing pass, is not the same as 1.
        threshold = min(max(number("confidence", confidence), 0.0), _MORE_THAN_SURE)
        return ClassificationSettings(self.convention, threshold)

    def _convention_of(self, settings: ClassificationSettings) -> Convention:
        return settings.convention


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of classes that exclude each other, float32 [..., classes]."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


class _LogitsOnDevice:
    """Logits brought to the host. See `device_request.Finish`."""

    def __init__(self, model: ClassificationModel, session: DeviceSession) -> None:
        self._model = model
        self._logits = session.outputs["logits"]
        self._device = self._logits.device
        dtype = "uint16" if self._logits.dtype == "bfloat16" else self._logits.dtype
        self._host = self._device.pinned(self._logits.nbytes, purpose="logits on the host")
        self._values = self._host.view(dtype).reshape(self._logits.shape)

    def fits(self, images: Sequence[Image], settings: ClassificationSettings) -> bool:
        """Always: settings change nothing of the logits."""
        return True

    def describe(
        self, images: Sequence[Image], placements: Sequence[Placement], settings: ClassificationSettings
    ) -> None:
        """There is nothing to say."""

    def enqueue(self, stream: Stream) -> None:
        """Put the copy on a stream."""
        self._logits.read_into(self._values, stream)

    def read(
        self, images: Sequence[Image], placements: Sequence[Placement], settings: ClassificationSettings
    ) -> list[NDArray[np.float32]]:
        """Probabilities of each image."""
        logits = self._values[: len(images)]
        if logits.dtype == np.uint16:
            return self._model.probabilities((logits.astype(np.uint32) << 16).view(np.float32))
        return self._model.probabilities(logits.astype(np.float32))


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of classes that are independent, float32 [..., classes]."""
    powers = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + powers), powers / (1 + powers))
