"""What a task sees of a runtime: names, shapes, memory to write into, memory to read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rfkernels.device import Device, DeviceArray, Stream
from rfkernels.errors import InvalidArgumentError


@dataclass(frozen=True)
class TensorSpecification:
    """One input or output of a network.

    Attributes:
        name: its name in the graph.
        shape: sizes of the axes; None where the size is chosen at run time.
        dtype: NumPy's name of the element type; "bfloat16", which NumPy lacks, is held in arrays of uint16.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


def checked_batch(batch: int | None, fixed: int | None) -> int:
    """The batch that is meant, of a network that was built for `fixed` images, or for any number where that is None.

    Raises:
        InvalidArgumentError: the network does not take it.
    """
    batch = (fixed or 1) if batch is None else batch
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1 or (fixed is not None and batch != fixed):
        wanted = f"{fixed}, which the network was built for" if fixed is not None else "1 or more"
        raise InvalidArgumentError(f"batch is {batch!r}; give {wanted}")
    return batch


class Session(Protocol):
    """One request in flight: buffers of its own, so that sessions of one engine run side by side."""

    @property
    def inputs(self) -> Mapping[str, NDArray[Any]]:
        """Arrays over the memory that the runtime reads. Write into them, then `run`; not after the loan has ended.

        An input whose `TensorSpecification.dtype` is "bfloat16" is an array of uint16 that takes its bits:
        `rfkernels.ops.preprocess_into` writes them; NumPy would turn 0.7 into 0 without a word.
        """

    def canvas(self, name: str) -> tuple[NDArray[Any], dict[int, object]]:
        """An input to draw on, and notes on what it holds, by place in the batch, for whoever draws to find again.

        Inputs keep their values from one request to the next, so what would be drawn again need not be. The notes are
        empty where anybody has asked for `inputs` since: who has the arrays may write what they like.
        """

    def run(self) -> Mapping[str, NDArray[Any]]:
        """Run the network on `inputs`.

        Returns:
            The outputs by name: views of the runtime's memory, valid until the session's next `run` or its end. An
            output of dtype "bfloat16" is an array of uint16 with its bits, as `rfkernels.ops.detect_from_heads` reads
            them; `(bits.astype(np.uint32) << 16).view(np.float32)` are the values.
        """

    def run_sparse(self, pixels: NDArray[Any], counts: Sequence[int], image: int = 0) -> Sequence[NDArray[np.float32]]:
        """Compute the engine's `sparse_outputs` at chosen pixels of an image of the last `run`.

        A value is the same whatever other pixels are asked for.

        Args:
            pixels: whole numbers [n], first those of the first sparse output, in any order, then those of the next.
                They are numbered row by row and through all sparse outputs: the second one's begin where the first
                one's end, as the anchors of a detection head do.
            counts: how many of `pixels` belong to each sparse output.
            image: place in the batch.

        Returns:
            For each sparse output float32 [count, channels], valid until the session's next `run_sparse` or its end.

        Raises:
            InvalidArgumentError: a pixel that the output does not have, counts that do not add up, or an image that
                the batch does not have.
            EngineError: there are no sparse outputs.
        """

    @property
    def seconds_in_branches(self) -> float:
        """Of the last `run_sparse`, what the runtime took: for whoever times a request's parts."""


class Engine(Protocol):
    """A compiled network. Safe to use from several threads; each takes a session."""

    @property
    def inputs(self) -> tuple[TensorSpecification, ...]:
        """The network's inputs."""

    @property
    def outputs(self) -> tuple[TensorSpecification, ...]:
        """The network's outputs, as far as `Session.run` computes them."""

    @property
    def sparse_outputs(self) -> tuple[TensorSpecification, ...]:
        """Outputs that `Session.run_sparse` computes at chosen pixels: all asked for, in that order, or none."""

    @property
    def description(self) -> Mapping[str, str]:
        """Runtime, version, device, precision and threads, as shown to a person."""

    def session(self, batch: int | None = None) -> AbstractContextManager[Session]:
        """Lend a session for `batch` images; it goes back to the pool when the `with` block ends.

        Args:
            batch: None is what the network was built for, or 1 where it takes any.

        Raises:
            InvalidArgumentError: a batch that the network does not take.
        """


class DeviceSession(Protocol):
    """One request in flight on a device: memory of its own, at addresses that stay, so that it can be captured."""

    @property
    def inputs(self) -> Mapping[str, DeviceArray]:
        """What the network reads."""

    @property
    def outputs(self) -> Mapping[str, DeviceArray]:
        """What it writes."""

    def enqueue(self, stream: Stream) -> None:
        """Put the network on a stream, which may be one that is captured. Returns at once.

        Raises:
            EngineError: the runtime refused.
        """

    def check(self) -> None:
        """After a wait for the stream: raise what went wrong in a run, where the runtime tells so late.

        Raises:
            EngineError: the network could not be run.
        """


class DeviceEngine(Protocol):
    """A network compiled for a device. Safe to use from several threads; each takes a session."""

    @property
    def device(self) -> Device:
        """Where it runs."""

    @property
    def inputs(self) -> tuple[TensorSpecification, ...]:
        """The network's inputs."""

    @property
    def outputs(self) -> tuple[TensorSpecification, ...]:
        """The network's outputs."""

    @property
    def description(self) -> Mapping[str, str]:
        """Runtime, version, device and precision, as shown to a person."""

    def create_session(self, batch: int | None = None) -> DeviceSession:
        """Memory for a batch of images, for as long as the session is kept.

        Args:
            batch: None is what the network was built for, or 1 where it takes any.

        Raises:
            InvalidArgumentError: a batch that the network does not take.
        """
