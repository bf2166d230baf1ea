"""What files and users say about keypoints: their shape, what each is called, and which are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar

from rfkernels.builder.checkpoint import check_class_names
from rfkernels.errors import CheckpointError
from rfkernels.model_metadata import Keypoints
from rfkernels.models.yolov8.keypoints import COCO_KEYPOINT_NAMES, COCO_KEYPOINT_SHAPE, COCO_SKELETON
from rfkernels.models.yolov8.recognise import LARGEST_KEYPOINT_COUNT, VALUES_OF_KEYPOINTS

Names = tuple[str, ...]
Edges = tuple[tuple[int, int], ...]
_Value = TypeVar("_Value")
# The same for every class, or by class id.
PerClass: TypeAlias = _Value | dict[int, _Value]

_MOST_EDGES = 10_000


def keypoint_shape_from(value: object, what: str = "kpt_shape") -> tuple[int, int]:
    """[keypoints, numbers of each] as a file or user gives it.

    Raises:
        CheckpointError: anything else.
    """
    if (
        not isinstance(value, list | tuple)
        or len(value) != 2
        or not all(isinstance(number, int) and not isinstance(number, bool) for number in value)
        or not 1 <= value[0] <= LARGEST_KEYPOINT_COUNT
        or value[1] not in VALUES_OF_KEYPOINTS
    ):
        raise CheckpointError(
            f"{what}: expected [keypoints, numbers of each], 1 to {LARGEST_KEYPOINT_COUNT} of 2 or 3 numbers"
        )
    return value[0], value[1]


def keypoint_names_from(value: object, what: str = "kpt_names") -> PerClass[Names]:
    """Names as a file or user gives them: a list for all classes, or {class id: list}; ids may be texts, as in JSON.

    Raises:
        CheckpointError: anything else.
    """
    if isinstance(value, Mapping):
        return {class_id: _names(given, what) for class_id, given in _by_class(value, what).items()}
    return _names(value, what)


def skeleton_from(value: object, what: str = "skeleton") -> PerClass[Edges]:
    """Joined keypoints as a file or user gives them: a list of pairs counted from 0 for all classes, or
    {class id: list}.

    Raises:
        CheckpointError: anything else.
    """
    if isinstance(value, Mapping):
        return {class_id: _edges(given, what) for class_id, given in _by_class(value, what).items()}
    return _edges(value, what)


def described_keypoints(
    shape: tuple[int, int],
    class_count: int,
    names: PerClass[Names] | None,
    skeleton: PerClass[Edges] | None,
    *,
    what_names: str = "kpt_names",
) -> Keypoints:
    """Everything about the keypoints of a model: what is given, COCO's where the shape is COCO's, else numbers.

    Args:
        names: for all classes, then one for each keypoint, or by class, then one at most. Numbers counted up from 0,
            as ultralytics writes them where a data set names none, are no names.
        what_names: what the names are called where they were given, for errors.
    Raises:
        CheckpointError: names or edges that the shape has no room for, or of a class that there is not.
    """
    count, values = shape
    generated = tuple(map(str, range(count)))
    default_names = COCO_KEYPOINT_NAMES if shape == COCO_KEYPOINT_SHAPE else generated
    if isinstance(names, tuple) and len(names) != count:
        raise CheckpointError(f"{what_names}: got {len(names)} names, expected one for each of {count} keypoints")
    names_of_classes = []
    for class_names in _for_classes(names, class_count, default_names, what_names):
        if not 1 <= len(class_names) <= count:
            raise CheckpointError(f"{what_names}: got {len(class_names)} names for a class, expected 1 to {count}")
        names_of_classes.append(default_names if class_names == generated else class_names)
    skeletons = []
    coco = COCO_SKELETON if shape == COCO_KEYPOINT_SHAPE else ()
    for class_names, edges in zip(names_of_classes, _for_classes(skeleton, class_count, None, "skeleton"), strict=True):
        chosen = edges if edges is not None else (coco if class_names == COCO_KEYPOINT_NAMES else ())
        if wrong := [edge for edge in chosen if max(edge) >= len(class_names)]:
            raise CheckpointError(f"skeleton: got {list(wrong[0])}, expected keypoints 0 to {len(class_names) - 1}")
        skeletons.append(chosen)
    return Keypoints(count, values, tuple(names_of_classes), tuple(skeletons))


def _for_classes(
    given: _Value | Mapping[int, _Value] | None, class_count: int, default: _Value, what: str
) -> list[_Value]:
    if isinstance(given, Mapping):
        if unknown := [class_id for class_id in given if class_id >= class_count]:
            raise CheckpointError(f"{what}: got class {unknown[0]}, the head has {class_count} classes")
        return [given.get(class_id, default) for class_id in range(class_count)]
    return [default if given is None else given] * class_count


def _by_class(value: Mapping[object, object], what: str) -> dict[int, object]:
    by_class: dict[int, object] = {}
    for key, given in value.items():
        number = int(key) if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) <= 9 else key
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**31 or number in by_class:
            raise CheckpointError(f"{what}: got a class that is no number from 0, or twice the same")
        by_class[number] = given
    return by_class


def _names(value: object, what: str) -> Names:
    if not isinstance(value, Sequence) or isinstance(value, str) or not 1 <= len(value) <= LARGEST_KEYPOINT_COUNT:
        raise CheckpointError(f"{what}: expected a list of 1 to {LARGEST_KEYPOINT_COUNT} texts, or one for each class")
    return check_class_names(value, what)


def _edges(value: object, what: str) -> Edges:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > _MOST_EDGES:
        raise CheckpointError(f"{what}: expected a list of at most {_MOST_EDGES} pairs, or one for each class")
    edges: list[tuple[int, int]] = []
    for pair in value:
        if not _is_edge(pair):
            raise CheckpointError(
                f"{what}: expected pairs of two different keypoints, counted from 0 to {LARGEST_KEYPOINT_COUNT - 1}"
            )
        edges.append((pair[0], pair[1]))
    return tuple(edges)


def _is_edge(pair: object) -> bool:
    return (
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(isinstance(end, int) and not isinstance(end, bool) for end in pair)
        and all(0 <= end < LARGEST_KEYPOINT_COUNT for end in pair)
        and pair[0] != pair[1]
    )
