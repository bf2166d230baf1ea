"""What all tasks have in common: images in batches through a network, and a response for each."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeAlias, TypeGuard, TypeVar, cast

from numpy.typing import NDArray
from PIL import Image as PillowImage

from rfkernels.device import Device, Stream
from rfkernels.engines import DeviceEngine, Engine, Session
from rfkernels.errors import InvalidArgumentError
from rfkernels.images import Image, ImageOptions
from rfkernels.model_metadata import ModelMetadata
from rfkernels.ops import Placement
from rfkernels.ops.on_device import ArrayOnDevice
from rfkernels.schema import (
    ClassificationInferenceRequest,
    ClassificationInferenceResponse,
    InstanceSegmentationInferenceResponse,
    KeypointsDetectionInferenceResponse,
    MultiLabelClassificationInferenceResponse,
    ObjectDetectionInferenceRequest,
    ObjectDetectionInferenceResponse,
    new_ids,
)
from rfkernels.tasks.arguments import checked_options, load_all
from rfkernels.tasks.convention import Convention, convention_named
from rfkernels.tasks.device_images import AnySource, load_sources
from rfkernels.tasks.device_request import DeviceParts, DeviceRequests, Finish, Room
from rfkernels.tasks.drawing import draw_response, encode_jpeg
from rfkernels.tasks.network_check import check_device_network, check_network
from rfkernels.tasks.preparation import Preparation

# Of a network with a dynamic batch: the memory of a run grows with its batch, its speed hardly beyond this.
_LARGEST_BATCH = 16

RequestT = TypeVar("RequestT", bound=ObjectDetectionInferenceRequest | ClassificationInferenceRequest)
SettingsT = TypeVar("SettingsT")
FoundT = TypeVar("FoundT")
Response: TypeAlias = (
    ObjectDetectionInferenceResponse
    | InstanceSegmentationInferenceResponse
    | KeypointsDetectionInferenceResponse
    | ClassificationInferenceResponse
    | MultiLabelClassificationInferenceResponse
)
ResponseT = TypeVar("ResponseT", bound=Response)


def is_device_engine(engine: Engine | DeviceEngine) -> TypeGuard[DeviceEngine]:
    """Whether an engine's sessions are put on streams of a device."""
    return hasattr(engine, "create_session")


class VisionModel(ABC, Generic[RequestT, SettingsT, FoundT, ResponseT]):
    """A network with its preprocessing and post-processing. Safe to call from several threads.

    A task says what its requests and settings are, what it makes of the network's outputs (`finish`) and how that is
    answered (`respond`).

    Args:
        engine: the compiled network, on the CPU or on a device.
        metadata: of the model's file.
        convention: the numbers to give where a call does not say; the model's own by default.

    Raises:
        ModelFileError: the network's inputs and outputs are not those that the metadata describe.
        InvalidArgumentError: the engine computes other outputs at chosen pixels than all boxes in the order of levels.
    """

    request_type: type[RequestT]

    def __init__(self, engine: Engine | DeviceEngine, metadata: ModelMetadata, convention: str | None = None) -> None:
        self.metadata = metadata
        self.convention = convention_named(convention or metadata.convention)
        self._preparation = Preparation(metadata)
        self._device_requests: DeviceRequests[SettingsT, FoundT] | None = None
        if is_device_engine(engine):
            check_device_network(engine, metadata)
            self._device_requests = DeviceRequests(engine, self._preparation, self.finish_on_device)
        else:
            self.engine = cast("Engine", engine)
            check_network(self.engine, metadata)
        self._inputs = engine.inputs
        self._input_name = engine.inputs[0].name

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by class id."""
        return self.metadata.class_names

    def infer_from_request(
        self, request: RequestT, *, image_options: ImageOptions | None = None
    ) -> ResponseT | list[ResponseT]:
        """Answer a V2 request; a list of responses where `request.image` is a list.

        As in V2, thresholds outside 0..1 are no error, unknown names in `class_filter` match nothing, and
        `max_candidates`, `fix_batch_size` and the active-learning fields are accepted and have no effect.

        Raises:
            InputImageLoadError: an image cannot be read.
            InvalidArgumentError: a threshold is NaN, or max_detections below 0.
        """
        # A request of another task may be derived from this one's: it asks for what this one does not know.
        if type(request) is not self.request_type:
            raise InvalidArgumentError(
                f"request is a {type(request).__name__}; give a schema.{self.request_type.__name__}"
            )
        started = time.perf_counter()
        settings = self._settings_of(request)
        options = checked_options(image_options)
        options = replace(options, auto_orient=options.auto_orient and not request.disable_preproc_auto_orient)
        loaded = load_all("image", request.image, options)
        preparation = self._preparation.without(
            static_crop=bool(request.disable_preproc_static_crop),
            grayscale=bool(request.disable_preproc_grayscale),
            contrast=bool(request.disable_preproc_contrast),
        )
        found = self._find(loaded, settings, preparation)
        responses = self._respond(loaded, found, settings, started, request.id)
        if request.visualize_predictions:
            for image, response in zip(loaded, responses, strict=True):
                # Of a classified image the label is all there is to draw.
                labels = not isinstance(request, ObjectDetectionInferenceRequest) or request.visualization_labels
                stroke_width = request.visualization_stroke_width or 1
                picture = self.draw(image, response, labels=bool(labels), stroke_width=stroke_width)
                response.visualization = encode_jpeg(picture)
        return responses if isinstance(request.image, list) else responses[0]

    @property
    def skeletons(self) -> dict[int, tuple[tuple[int, int], ...]]:
        """For each class id the pairs of its keypoints that are joined; none for a model without keypoints."""
        return {}

    def draw(
        self, image: Image, response: Response, *, labels: bool = True, stroke_width: int = 2
    ) -> PillowImage.Image:
        """A response of this model drawn onto its image; see `drawing.draw_response`."""
        return draw_response(
            image, response, labels=labels, stroke_width=stroke_width, skeletons=self.skeletons or None
        )

    def prepare(
        self, images: Sequence[Image], session: Session, convention: Convention, preparation: Preparation | None = None
    ) -> list[Placement]:
        """Write the images into the session's input; returns where each lies in it."""
        canvas, drawn = session.canvas(self._input_name)
        return (preparation or self._preparation).write(images, canvas, convention, drawn)

    @abstractmethod
    def finish(
        self,
        session: Session,
        outputs: Mapping[str, NDArray[Any]],
        images: Sequence[Image],
        placements: Sequence[Placement],
        settings: SettingsT,
    ) -> list[FoundT]:
        """What the session's run has given to what is in each image."""

    @abstractmethod
    def finish_on_device(
        self,
        parts: DeviceParts,
        images: Sequence[Image],
        settings: SettingsT,
        room: Room,
    ) -> Finish[SettingsT, FoundT]:
        """The same on a device: what comes after the network, with room for what settings want in such images."""

    @abstractmethod
    def respond(self, image: Image, found: FoundT, settings: SettingsT) -> ResponseT:
        """What was found in one image as a V2 response."""

    @abstractmethod
    def _settings_of(self, request: RequestT) -> SettingsT:
        """What a request wants."""

    @abstractmethod
    def _convention_of(self, settings: SettingsT) -> Convention: ...

    @property
    def _device(self) -> Device | None:
        """Where the model runs; None is the CPU."""
        return None if self._device_requests is None else self._device_requests.device

    def _infer(
        self,
        images: AnySource | list[AnySource],
        settings: SettingsT,
        image_options: ImageOptions | None,
        stream: Stream | None,
    ) -> ResponseT | list[ResponseT]:
        started = time.perf_counter()
        loaded = load_sources("images", images, checked_options(image_options), self._device, stream)
        responses = self._respond(loaded, self._find(loaded, settings), settings, started)
        return responses if isinstance(images, list) else responses[0]

    def _taken(self, images: Sequence[Image | ArrayOnDevice], stream: Stream | None) -> list[Image]:
        """Loaded images as they are, and arrays on the model's device as images."""
        return load_sources("images", list(images), checked_options(None), self._device, stream)

    def _find(
        self, images: Sequence[Image], settings: SettingsT, preparation: Preparation | None = None
    ) -> list[FoundT]:
        results: list[FoundT] = []
        for start, stop, batch in self._batches(len(images)):
            if self._device_requests is not None:
                chosen = preparation or self._preparation
                part = images[start:stop]
                results += self._device_requests.run(part, batch, chosen, self._convention_of(settings), settings)
                continue
            with self.engine.session(batch) as session:
                placements = self.prepare(images[start:stop], session, self._convention_of(settings), preparation)
                outputs = session.run()
                results += self.finish(session, outputs, images[start:stop], placements, settings)
        return results

    def _batches(self, count: int) -> Iterator[tuple[int, int, int]]:
        """Slices of the images, and the batch that each is run as: what the network was built for, or so many."""
        size = self._inputs[0].shape[0]
        step = size or _LARGEST_BATCH
        for start in range(0, count, step):
            stop = min(start + step, count)
            yield start, stop, size or stop - start

    def _respond(
        self,
        images: Sequence[Image],
        found: Sequence[FoundT],
        settings: SettingsT,
        started: float,
        identifier: str | None = None,
    ) -> list[ResponseT]:
        responses = [self.respond(image, part, settings) for image, part in zip(images, found, strict=True)]
        identifier = identifier or new_ids(1)[0]
        # As in V2, each image of a batch carries the time of the whole batch.
        elapsed = time.perf_counter() - started
        for response in responses:
            response.inference_id = identifier
            response.time = elapsed
        return responses
