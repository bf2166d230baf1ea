"""One request on a device: its memory, its kernels and its network, captured once and put on a stream at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, NamedTuple, Protocol, TypeVar

from rfkernels.device import Device, DeviceArray, Graph, Stream
from rfkernels.device_blocks import ParameterBlock, ParameterBlockFullError
from rfkernels.engines.engine import DeviceEngine, DeviceSession
from rfkernels.images import Image
from rfkernels.ops import Placement
from rfkernels.ops.preprocess_on_device import PreprocessOnDevice
from rfkernels.tasks.convention import Convention
from rfkernels.tasks.device_images import ImageOnDevice, wait_for_all
from rfkernels.tasks.preparation import DescriptorsTooLargeError, Preparation
from rfkernels.tasks.staging import Staging

_PARAMETER_BYTES = 1 << 20

SettingsT_contra = TypeVar("SettingsT_contra", contravariant=True)
SettingsT = TypeVar("SettingsT")
FoundT = TypeVar("FoundT")


class MoreRoomError(Exception):
    """What a run has found takes more room than the request has: so many bytes."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"{needed} bytes")
        self.needed = needed


class DeviceParts(NamedTuple):
    """What a request has that a task's part of it is made with."""

    session: DeviceSession
    parameters: ParameterBlock
    stream: Stream


class Room(NamedTuple):
    """How much a request is made for, where what is usual was too little; in bytes.

    Attributes:
        descriptors: for what describes the images.
        results: for what is found.
        parameters: for what else the kernels are told.
    """

    descriptors: int = 0
    results: int = 0
    parameters: int = 0


class Finish(Protocol[SettingsT_contra, FoundT]):
    """What a task does on the device with the network's outputs. Made for one session's memory."""

    def fits(self, images: Sequence[Image], settings: SettingsT_contra) -> bool:
        """Whether there is room for what these settings may find in these images."""

    def describe(self, images: Sequence[Image], placements: Sequence[Placement], settings: SettingsT_contra) -> None:
        """Say what the next run looks for."""

    def enqueue(self, stream: Stream) -> None:
        """Put the kernels on a stream, and the copy of what they find."""

    def read(
        self, images: Sequence[Image], placements: Sequence[Placement], settings: SettingsT_contra
    ) -> list[FoundT]:
        """What the last run has found in each image, after a wait for its stream.

        Raises:
            MoreRoomError: it takes more room than there is, and is not there.
        """


class DeviceRequest(Generic[SettingsT, FoundT]):
    """Memory for one request in flight, and its graph: upload, preprocess, network, the task's kernels, download.

    Args:
        engine: the compiled network.
        batch: images of a run.
        preparation: the model's.
        make_finish: makes the task's part.
        room: more than is usual.
    """

    def __init__(
        self,
        engine: DeviceEngine,
        batch: int,
        preparation: Preparation,
        make_finish: Callable[[DeviceParts], Finish[SettingsT, FoundT]],
        room: Room = Room(),  # noqa: B008 - it has no state
    ) -> None:
        device = engine.device
        self.batch = batch
        self.stream = device.stream()
        self._session = engine.create_session(batch)
        self._parameters = ParameterBlock(device, _PARAMETER_BYTES + room.descriptors + room.parameters)
        (canvas,) = self._session.inputs.values()
        self._drawing = PreprocessOnDevice(
            canvas, self._parameters, interpolation=preparation.interpolation, descriptor_bytes=room.descriptors
        )
        self.finish = make_finish(DeviceParts(self._session, self._parameters, self.stream))
        self._staging = Staging(device)
        self._graph: Graph | None = None

    def run(
        self, images: Sequence[Image], preparation: Preparation, convention: Convention, settings: SettingsT
    ) -> list[FoundT]:
        """Find what is in up to `batch` images: one graph launch, one wait."""
        arrived: list[DeviceArray] = []
        try:
            arrived += (image.arrive(self.stream) for image in images if isinstance(image, ImageOnDevice))
            return self._run(images, preparation, convention, settings)
        except BaseException:
            # What is on the stream uses images, and memory and functions of this request, which nobody will keep.
            wait_for_all(self.stream)
            raise

    def _run(
        self, images: Sequence[Image], preparation: Preparation, convention: Convention, settings: SettingsT
    ) -> list[FoundT]:
        placements = preparation.describe(images, self._drawing, self._staging, convention)
        self.finish.describe(images, placements, settings)
        if self._graph is None:
            # The first run is not captured: runtimes make things ready in it.
            self._enqueue()
            self.stream.synchronize()
            self._session.check()
            with self.stream.capture() as graphs:
                self._enqueue()
            (self._graph,) = graphs
        else:
            self._graph.launch(self.stream, is_waited_for=True)
            self.stream.synchronize()
            self._session.check()
        return self.finish.read(images, placements, settings)

    def _enqueue(self) -> None:
        self._parameters.upload(self.stream)
        self._drawing.enqueue(self.stream)
        self._session.enqueue(self.stream)
        self.finish.enqueue(self.stream)


class DeviceRequests(Generic[SettingsT, FoundT]):
    """Requests that wait to be used again. Safe to use from several threads."""

    def __init__(
        self,
        engine: DeviceEngine,
        preparation: Preparation,
        make_finish: Callable[[DeviceParts, Sequence[Image], SettingsT, Room], Finish[SettingsT, FoundT]],
    ) -> None:
        self._engine = engine
        self._preparation = preparation
        self._make_finish = make_finish
        self._lock = threading.Lock()
        self._idle: list[DeviceRequest[SettingsT, FoundT]] = []

    @property
    def device(self) -> Device:
        """Where they run."""
        return self._engine.device

    def run(
        self,
        images: Sequence[Image],
        batch: int,
        preparation: Preparation,
        convention: Convention,
        settings: SettingsT,
    ) -> list[FoundT]:
        """Find what is in up to `batch` images."""
        room = Room()
        while True:
            try:
                with self._lent(images, batch, settings, room) as request:
                    return request.run(images, preparation, convention, settings)
            # Another request then, with half as much again: what comes next may be larger.
            except DescriptorsTooLargeError as error:
                room = room._replace(descriptors=error.needed * 3 // 2)
            except MoreRoomError as error:
                room = room._replace(results=error.needed * 3 // 2)
            except ParameterBlockFullError as error:
                room = room._replace(parameters=room.parameters + (error.needed - error.capacity) * 3 // 2)

    @contextmanager
    def _lent(
        self, images: Sequence[Image], batch: int, settings: SettingsT, room: Room
    ) -> Iterator[DeviceRequest[SettingsT, FoundT]]:
        request = None
        with self._lock:
            for index, idle in enumerate(self._idle):
                if room == Room() and idle.batch == batch and idle.finish.fits(images, settings):
                    request = self._idle.pop(index)
                    break
        if request is None:
            request = DeviceRequest(
                self._engine,
                batch,
                self._preparation,
                lambda parts: self._make_finish(parts, images, settings, room),
                room,
            )
        yield request
        # Not after an error: nobody knows what is still on its stream.
        with self._lock:
            # The newest first: it has the most room.
            self._idle.insert(0, request)
            del self._idle[_MOST_IDLE:]


_MOST_IDLE = 4
