"""Object detection: images and options in, V2 responses out."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex, TypedDict, cast, overload

import numpy as np
from numpy.typing import NDArray

from rfkernels import ops
from rfkernels.engines import Engine, Session
from rfkernels.errors import InputImageLoadError, InvalidArgumentError, ModelFileError
from rfkernels.images import Image, ImageOptions, ImageSource, load_image
from rfkernels.model_metadata import ModelMetadata
from rfkernels.ops import Candidates, Detections, Placement
from rfkernels.schema import (
    InferenceResponseImage,
    ObjectDetectionInferenceRequest,
    ObjectDetectionInferenceResponse,
    ObjectDetectionPrediction,
    new_ids,
)
from rfkernels.tasks.convention import Convention, convention_named
from rfkernels.tasks.drawing import draw_detections, encode_jpeg
from rfkernels.tasks.preparation import Preparation

if TYPE_CHECKING:
    from typing_extensions import Unpack

# Of the outputs box_8, class_8, ... that the models of this version have.
HEAD_STRIDES = (8, 16, 32)
BOX_OUTPUTS = tuple(f"box_{stride}" for stride in HEAD_STRIDES)
# Four sides of 16 bins each.
BOX_CHANNELS = 64
# Of a network with a dynamic batch: the memory of a run grows with its batch, its speed hardly beyond this.
_LARGEST_BATCH = 16
_MOST_DETECTIONS = 2**31 - 1


@dataclass(frozen=True)
class DetectionSettings:
    """What one request wants of the detections; see `ObjectDetectionModel.infer`."""

    convention: Convention
    confidence: float
    iou_threshold: float
    max_detections: int
    class_agnostic: bool = False
    wanted_class_ids: tuple[int, ...] | None = None

    @classmethod
    def of(cls, convention: Convention) -> DetectionSettings:
        """The convention's own."""
        return cls(convention, convention.confidence, convention.iou_threshold, convention.max_detections)


class InferOptions(TypedDict, total=False):
    """The options of `ObjectDetectionModel.infer`, for type checkers."""

    confidence: float | None
    iou_threshold: float | None
    max_detections: int | None
    class_agnostic_nms: bool
    class_filter: Sequence[str] | None
    convention: str | None
    image_options: ImageOptions | None


class ObjectDetectionModel:
    """A detection network with its preprocessing and post-processing. Safe to call from several threads.

    Args:
        engine: the compiled network.
        metadata: of the model's file.
        convention: the numbers to give where a call does not say; the model's own by default.

    Raises:
        ModelFileError: the network's inputs and outputs are not those that the metadata describe.
        InvalidArgumentError: the engine computes other outputs at chosen pixels than all boxes in the order of levels.
    """

    def __init__(self, engine: Engine, metadata: ModelMetadata, convention: str | None = None) -> None:
        self.engine = engine
        self.metadata = metadata
        self.convention = convention_named(convention or metadata.convention)
        self._preparation = Preparation(metadata)
        # A name may stand for several classes: weights may give it twice.
        self._class_ids: dict[str, list[int]] = {}
        for index, name in enumerate(metadata.class_names):
            self._class_ids.setdefault(name, []).append(index)
        _check_network(engine, metadata)
        self._input_name = engine.inputs[0].name
        height, width = metadata.image_size
        self._grids = [(height // stride, width // stride) for stride in HEAD_STRIDES]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by class id."""
        return self.metadata.class_names

    @overload
    def infer(
        self, images: list[ImageSource], **options: Unpack[InferOptions]
    ) -> list[ObjectDetectionInferenceResponse]: ...

    @overload
    def infer(self, images: ImageSource, **options: Unpack[InferOptions]) -> ObjectDetectionInferenceResponse: ...

    def infer(
        self,
        images: ImageSource | list[ImageSource],
        *,
        confidence: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        class_agnostic_nms: bool = False,
        class_filter: Sequence[str] | None = None,
        convention: str | None = None,
        image_options: ImageOptions | None = None,
    ) -> ObjectDetectionInferenceResponse | list[ObjectDetectionInferenceResponse]:
        """Detect objects.

        Args:
            images: a path, bytes, base64 text, URL (see `image_options`), BGR or grey uint8 array, Pillow image, or
                a list of them.
            confidence: in [0, 1]; the score of a detection is greater. Default: the convention's.
            iou_threshold: in [0, 1]; a box whose IoU with a better one is greater is dropped. Default: see above.
            max_detections: most detections of one image, the surest. Default: the convention's.
            class_agnostic_nms: boxes of different classes suppress each other too.
            class_filter: names of the classes to give; None gives all.
            convention: "v2" or "ultralytics"; None is the model's.
            image_options: what kinds of images are let in, and how large.

        Returns:
            The V2 response; a list of them for a list of images. Boxes are in pixels of the original image.

        Raises:
            InputImageLoadError: an image cannot be read.
            InvalidArgumentError: an option is out of its range, or names an unknown class.
        """
        chosen = self.convention if convention is None else convention_named(convention)
        settings = DetectionSettings(
            chosen,
            _fraction("confidence", chosen.confidence if confidence is None else confidence),
            _fraction("iou_threshold", chosen.iou_threshold if iou_threshold is None else iou_threshold),
            _at_least_zero("max_detections", chosen.max_detections if max_detections is None else max_detections),
            _truth("class_agnostic_nms", class_agnostic_nms),
            self._ids_of(class_filter, refuse_unknown=True),
        )
        started = time.perf_counter()
        several = isinstance(images, list)
        loaded = _load_all("images", images, _checked(image_options))
        detections = self.detect_images(loaded, settings)
        responses = self._respond(loaded, detections, started)
        return responses if several else responses[0]

    def infer_from_request(
        self, request: ObjectDetectionInferenceRequest, *, image_options: ImageOptions | None = None
    ) -> ObjectDetectionInferenceResponse | list[ObjectDetectionInferenceResponse]:
        """Answer a V2 request; a list of responses where `request.image` is a list.

        As in V2, thresholds outside 0..1 are no error, unknown names in `class_filter` match nothing, and
        `max_candidates`, `fix_batch_size` and the active-learning fields are accepted and have no effect.

        Raises:
            InputImageLoadError: an image cannot be read.
            InvalidArgumentError: a threshold is NaN, or max_detections below 0.
        """
        if not isinstance(request, ObjectDetectionInferenceRequest):
            raise InvalidArgumentError(
                f"request is a {type(request).__name__}; give a schema.ObjectDetectionInferenceRequest"
            )
        started = time.perf_counter()
        settings = self._settings_of(request)
        options = _checked(image_options)
        options = replace(options, auto_orient=options.auto_orient and not request.disable_preproc_auto_orient)
        loaded = _load_all("image", request.image, options)
        preparation = self._preparation.without(
            static_crop=bool(request.disable_preproc_static_crop),
            grayscale=bool(request.disable_preproc_grayscale),
            contrast=bool(request.disable_preproc_contrast),
        )
        detections = self.detect_images(loaded, settings, preparation)
        responses = self._respond(loaded, detections, started, request.id)
        if request.visualize_predictions:
            for image, response in zip(loaded, responses, strict=True):
                picture = draw_detections(
                    image,
                    response.predictions,
                    labels=bool(request.visualization_labels),
                    stroke_width=request.visualization_stroke_width or 1,
                )
                response.visualization = encode_jpeg(picture)
        return responses if isinstance(request.image, list) else responses[0]

    def detect_images(
        self,
        images: Sequence[Image],
        settings: DetectionSettings | None = None,
        preparation: Preparation | None = None,
    ) -> list[Detections]:
        """Detections as arrays, for those who do not need a response.

        Args:
            images: from `rfkernels.images.load_image`.
            settings: those of the model's convention by default.
            preparation: the model's own by default.
        """
        settings = settings or DetectionSettings.of(self.convention)
        preparation = preparation or self._preparation
        results: list[Detections] = []
        for start, stop, batch in self._batches(len(images)):
            with self.engine.session(batch) as session:
                placements = self.prepare(images[start:stop], session, settings.convention, preparation)
                outputs = session.run()
                results += self.finish(session, outputs, images[start:stop], placements, settings)
        return results

    def prepare(
        self, images: Sequence[Image], session: Session, convention: Convention, preparation: Preparation | None = None
    ) -> list[Placement]:
        """Write the images into the session's input; returns where each lies in it."""
        canvas, drawn = session.canvas(self._input_name)
        return (preparation or self._preparation).write(images, canvas, convention, drawn)

    def finish(
        self,
        session: Session,
        outputs: Mapping[str, NDArray[Any]],
        images: Sequence[Image],
        placements: Sequence[Placement],
        settings: DetectionSettings,
    ) -> list[Detections]:
        """What the session's run has given to detections in pixels of the original images.

        Where the engine computes boxes at chosen pixels, that is `select`, `boxes_of` and `decode`.
        """
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
        return len(self.engine.sparse_outputs) > 0

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

    def respond(self, image: Image, detections: Detections) -> ObjectDetectionInferenceResponse:
        """Detections of one image as a V2 response: centre-based boxes, names, fresh ids."""
        # Plain Python numbers, which are doubles: for a hundred boxes that is quicker than eight calls into NumPy, and
        # a centre computed in float32 would print 1234.5000001 where V2 prints 1234.5.
        names = self.metadata.class_names
        predictions = [
            ObjectDetectionPrediction(
                x=(x1 + x2) / 2,
                y=(y1 + y2) / 2,
                width=x2 - x1,
                height=y2 - y1,
                confidence=score,
                class_name=names[class_id],
                class_id=class_id,
                detection_id=identifier,
            )
            for (x1, y1, x2, y2), score, class_id, identifier in zip(
                detections.boxes.tolist(),
                detections.scores.tolist(),
                detections.class_ids.tolist(),
                new_ids(len(detections)),
                strict=True,
            )
        ]
        return ObjectDetectionInferenceResponse(
            image=InferenceResponseImage(width=image.width, height=image.height), predictions=predictions
        )

    def _respond(
        self, images: Sequence[Image], detections: Sequence[Detections], started: float, identifier: str | None = None
    ) -> list[ObjectDetectionInferenceResponse]:
        responses = [self.respond(image, found) for image, found in zip(images, detections, strict=True)]
        identifier = identifier or new_ids(1)[0]
        # As in V2, each image of a batch carries the time of the whole batch.
        elapsed = time.perf_counter() - started
        for response in responses:
            response.inference_id = identifier
            response.time = elapsed
        return responses

    def _settings_of(self, request: ObjectDetectionInferenceRequest) -> DetectionSettings:
        # "best" is the threshold that the training's evaluation recommends, "default" the model's; a model without
        # such advice has the convention's for both. V2 checks no range: a threshold above 1 lets nothing pass, as 1
        # does (a score is never greater), one below 0 lets everything pass, as 0 does.
        convention = self.convention
        confidence = convention.confidence if isinstance(request.confidence, str) else request.confidence
        iou_threshold = convention.iou_threshold if request.iou_threshold is None else request.iou_threshold
        return DetectionSettings(
            convention,
            min(max(_number("confidence", confidence), 0.0), 1.0),
            min(max(_number("iou_threshold", iou_threshold), 0.0), 1.0),
            _at_least_zero(
                "max_detections",
                convention.max_detections if request.max_detections is None else request.max_detections,
            ),
            bool(request.class_agnostic_nms),
            # An empty list filters nothing, as in V2.
            self._ids_of(request.class_filter or None, refuse_unknown=False),
        )

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

    def _batches(self, count: int) -> Iterator[tuple[int, int, int]]:
        """Slices of the images, and the batch that each is run as: what the network was built for, or so many."""
        size = self.engine.inputs[0].shape[0]
        step = size or _LARGEST_BATCH
        for start in range(0, count, step):
            stop = min(start + step, count)
            yield start, stop, size or stop - start


def _load_all(name: str, sources: ImageSource | Sequence[ImageSource], options: ImageOptions) -> list[Image]:
    """The images of a request; where one of a list cannot be read, the error says which."""
    if not isinstance(sources, list):
        return [load_image(cast("ImageSource", sources), options=options)]
    loaded = []
    for index, source in enumerate(sources):
        try:
            loaded.append(load_image(source, options=options))
        except InputImageLoadError as error:
            raise InputImageLoadError(f"{name}[{index}]: {error}") from error
    return loaded


def _check_network(engine: Engine, metadata: ModelMetadata) -> None:
    """Metadata and graph come from one file, but nothing else has compared them: a result may not depend on it."""
    batch = None if metadata.batch == "dynamic" else metadata.batch
    height, width = metadata.image_size
    class_count = len(metadata.class_names)
    expected_input = (batch, 3, height, width)
    shapes = {output.name: output.shape for output in engine.outputs + engine.sparse_outputs}
    found = [(tensor.dtype, tensor.shape) for tensor in engine.inputs]
    # bfloat16 is what an engine may make of it.
    if found not in ([("float32", expected_input)], [("bfloat16", expected_input)]):
        raise ModelFileError(f"the network's inputs are {found}, its metadata say one float32 {expected_input}")
    if metadata.output_format == "decoded":
        fits = len(shapes) == 1 and all(
            len(shape) == 3 and shape[1] in (None, 4 + class_count) for shape in shapes.values()
        )
        expected = f"one [batch, {4 + class_count}, anchors]"
    else:
        wanted = {
            f"{kind}_{stride}": (batch, channels, height // stride, width // stride)
            for kind, channels in (("box", BOX_CHANNELS), ("class", class_count))
            for stride in HEAD_STRIDES
        }
        fits, expected = shapes == wanted, str(wanted)
    if not fits:
        raise ModelFileError(f"the network's outputs are {shapes}, its metadata say {expected}; build the model again")
    # The anchors of candidates are numbered through the levels, and so are the pixels of sparse outputs.
    sparse = tuple(output.name for output in engine.sparse_outputs)
    if sparse not in ((), BOX_OUTPUTS):
        raise InvalidArgumentError(f"engine has the sparse outputs {sparse}; ask it for {BOX_OUTPUTS}, in this order")


def _checked(image_options: ImageOptions | None) -> ImageOptions:
    if image_options is None:
        return ImageOptions()
    if not isinstance(image_options, ImageOptions):
        raise InvalidArgumentError(f"image_options is {image_options!r}; give rfkernels.ImageOptions(...)")
    return image_options


def _truth(name: str, value: bool) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise InvalidArgumentError(f"{name} is {value!r}; give True or False")
    return bool(value)


def _number(name: str, value: float) -> float:
    # NumPy's numbers are welcome, texts, truth values and arrays of several are not.
    if isinstance(value, bool | str) or not isinstance(value, SupportsFloat) or np.ndim(value) > 0:
        raise InvalidArgumentError(f"{name} is {value!r}; give a number from 0 to 1")
    if math.isnan(value):
        raise InvalidArgumentError(f"{name} is nan; give a number from 0 to 1")
    return float(value)


def _fraction(name: str, value: float) -> float:
    number = _number(name, value)
    if not 0.0 <= number <= 1.0:
        raise InvalidArgumentError(f"{name} is {value}; give a number from 0 to 1")
    return number


def _at_least_zero(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex) or operator.index(value) < 0:
        raise InvalidArgumentError(f"{name} is {value!r}; give a whole number from 0")
    # More than there can be is all there are.
    return min(operator.index(value), _MOST_DETECTIONS)
