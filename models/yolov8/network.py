"""Which of the YOLOv8 networks: task, scale, classes and keypoints, and all that follows from these four."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from rfkernels.models.yolov8.layers import BACKBONE_END, LARGEST_STRIDE, SCALES, Layer, Scale, layers

from rfkernels.errors import InvalidArgumentError

Task = Literal["detect", "segment", "pose", "classify"]

TASKS: tuple[Task, ...] = get_args(Task)
# What V2 calls them.
TASK_NAMES: dict[Task, str] = {
    "detect": "object-detection",
    "segment": "instance-segmentation",
    "pose": "keypoint-detection",
    "classify": "classification",
}
LARGEST_SIDE = 16384
SMALLEST_SIDE = 32

_CLASSIFY_MAX_CHANNELS = 1024


@dataclass(frozen=True)
class Network:
    """A YOLOv8 network without its weights.

    Attributes:
        task: as checkpoints name it; `task_name` is V2's name.
        scale: n, s, m, l or x.
        class_count: 1 or more.
        keypoint_shape: (keypoints of an object, numbers of each: 3 for x, y and confidence, or 2), for "pose" alone.
    """

    task: Task
    scale: str
    class_count: int
    keypoint_shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise InvalidArgumentError(f"task: got {self.task!r}, expected one of {', '.join(TASKS)}")
        if (self.keypoint_shape is not None) != (self.task == "pose"):
            raise InvalidArgumentError(
                f"keypoint_shape: got {self.keypoint_shape} for {self.task}, expected one for pose and for nothing else"
            )

    @property
    def task_name(self) -> str:
        """V2's name of the task."""
        return TASK_NAMES[self.task]

    @property
    def description(self) -> str:
        """For messages: "YOLOv8n pose with 1 class and 17 keypoints of 3 numbers"."""
        keypoints = (
            "" if self.keypoint_shape is None else " and {} keypoints of {} numbers".format(*self.keypoint_shape)
        )
        classes = f"{self.class_count} {'class' if self.class_count == 1 else 'classes'}"
        return f"YOLOv8{self.scale} {self.task} with {classes}{keypoints}"

    @property
    def is_classifier(self) -> bool:
        """Whether it answers for the whole image, so that it has neither neck nor levels."""
        return self.task == "classify"

    @property
    def rules(self) -> Scale:
        """Widths and repeats of its layers. Classifiers cut no scale's widths at less than 1024 channels."""
        scale = SCALES[self.scale]
        return replace(scale, max_channels=_CLASSIFY_MAX_CHANNELS) if self.is_classifier else scale

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All before the head."""
        return layers(self.rules, BACKBONE_END) if self.is_classifier else layers(self.rules)

    @property
    def head_index(self) -> int:
        """Of the layer that is the head, the last."""
        return len(self.layers)

    @property
    def head_name(self) -> str:
        """The head's name in a checkpoint."""
        return f"model.{self.head_index}"

    @property
    def stride(self) -> int:
        """Sides of the image are multiples of it. A classifier takes the mean over whatever is left of the image."""
        return 1 if self.is_classifier else LARGEST_STRIDE

    @property
    def batch_norm_epsilon(self) -> float:
        """That of ultralytics' training, where a file does not say it."""
        return 1e-5 if self.is_classifier else 1e-3
