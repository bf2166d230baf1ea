"""Detection and suppression of arrays on a device, in one call. C++ contract: csrc/include/rfkernels/detection.h."""

from __future__ import annotations

from collections.abc import Sequence

from rfkernels import _native
from rfkernels.device import DeviceArray
from rfkernels.device_blocks import side_by_side
from rfkernels.errors import InvalidArgumentError
from rfkernels.ops.detection_results import DetectionsOnDevice, KeptOnDevice
from rfkernels.ops.detection_search import Search
from rfkernels.ops.on_device import Place, Work, aligned_bytes


def nms(
    place: Place,
    boxes: object,
    scores: object,
    class_ids: object | None,
    *,
    iou_threshold: float,
    class_agnostic: bool,
    max_detections: int,
) -> KeptOnDevice:
    """See `ops.nms`."""
    with Work(place) as work:
        box_array, score_array = work.take(boxes, "boxes"), work.take(scores, "scores")
        class_array = None if class_ids is None else work.take(class_ids, "class_ids")
        _check(box_array, "boxes", "float32", "[n, 4]", len(box_array.shape) == 2 and box_array.shape[1] == 4)
        count = box_array.shape[0]
        _check(score_array, "scores", "float32", f"[{count}]", score_array.shape == (count,))
        if class_array is not None:
            _check(class_array, "class_ids", "int32", f"[{count}]", class_array.shape == (count,))
        room = min(count, max(max_detections, 0))
        whole, kept = _results(
            work, {"indices": ((room,), "int32"), "count": ((1,), "int32"), "flags": ((1,), "int32")}
        )
        (scratch,) = work.workspace(_native.nms_scratch_bytes(count, max_detections))
        _native.nms_on_device(
            work.device.native,
            box_array.view(),
            score_array.view(),
            None if class_array is None else class_array.view(),
            iou_threshold,
            class_agnostic,
            max_detections,
            kept["indices"].view(),
            kept["count"].view(),
            kept["flags"].view(),
            scratch,
            work.stream.handle,
        )
    return KeptOnDevice(**kept, whole=whole)


def detect_from_heads(
    place: Place, heads: Sequence[tuple[object, object]], strides: Sequence[int], search: Search
) -> DetectionsOnDevice:
    """See `ops.detect_from_heads`."""
    with Work(place) as work:
        levels = [
            (work.take(box, f"heads[{index}] box"), work.take(classes, f"heads[{index}] classes"))
            for index, (box, classes) in enumerate(heads)
        ]
        for index, (box, classes) in enumerate(levels):
            for array, part in ((box, "box"), (classes, "classes")):
                _check_values(array, f"heads[{index}] {part}", 4, "[N, channels, H, W]")
        if not levels:
            raise InvalidArgumentError("heads is empty; give the outputs of at least one level")
        shape = levels[0][1].shape
        anchor_count = sum(classes.shape[2] * classes.shape[3] for _, classes in levels)
        call = _Detection(work, "heads[0] classes", (shape[0], shape[1], anchor_count), search)
        _native.detect_from_heads_on_device(
            work.device.native,
            [(box.view(), classes.view()) for box, classes in levels],
            strides,
            call.descriptors,
            call.views,
            call.scratch,
            work.stream.handle,
        )
    return call.found


def detect_from_decoded(place: Place, prediction: object, search: Search) -> DetectionsOnDevice:
    """See `ops.detect_from_decoded`."""
    with Work(place) as work:
        array = work.take(prediction, "prediction")
        _check_values(array, "prediction", 3, "[N, 4 + class_count, A]")
        images, channels, anchor_count = array.shape
        call = _Detection(work, "prediction", (images, max(0, channels - 4), anchor_count), search)
        _native.detect_from_decoded_on_device(
            work.device.native, array.view(), call.descriptors, call.views, call.scratch, work.stream.handle
        )
    return call.found


class _Detection:
    """Descriptors on their way to the device, working memory and results of one call."""

    def __init__(self, work: Work, name: str, sizes: tuple[int, int, int], search: Search) -> None:
        image_count, class_count, anchor_count = sizes
        if min(sizes) < 1:
            raise InvalidArgumentError(
                f"{name} is of {image_count} images, {class_count} classes and {anchor_count} anchors; give some of "
                "each"
            )
        if len(search.placements) != image_count:
            raise InvalidArgumentError(
                f"placements has {len(search.placements)} entries, {name} is of {image_count} images; give one for each"
            )
        # There can be no more than there are anchors.
        room = min(max(search.max_detections, 0), anchor_count)
        descriptor_bytes = _native.detection_descriptor_bytes(image_count, class_count)
        scratch_bytes = _native.detection_scratch_bytes(image_count, anchor_count, room)
        host = aligned_bytes(descriptor_bytes)
        _native.describe_detection(
            host,
            search.placements,
            search.image_sizes,
            class_count,
            *search.settings(class_count),
        )
        self.descriptors, self.scratch = work.workspace(descriptor_bytes, scratch_bytes)
        work.upload(host, self.descriptors)
        # Its counters.
        work.device.native.fill(self.scratch, 0, 8 * image_count, work.stream.handle)
        whole, arrays = _results(
            work,
            {
                "boxes": ((image_count, room, 4), "float32"),
                "network_boxes": ((image_count, room, 4), "float32"),
                "scores": ((image_count, room), "float32"),
                "class_ids": ((image_count, room), "int32"),
                "anchor_indices": ((image_count, room), "int32"),
                "counts": ((image_count,), "int32"),
                "flags": ((image_count,), "int32"),
            },
        )
        self.views = {name: array.view() for name, array in arrays.items()}
        self.found = DetectionsOnDevice(**arrays, whole=whole)


def _results(work: Work, arrays: dict[str, tuple[tuple[int, ...], str]]) -> tuple[DeviceArray, dict[str, DeviceArray]]:
    whole, parts = side_by_side(work.device, arrays)
    # What lies between them is copied to the host too.
    work.device.native.fill(whole.address, 0, whole.nbytes, work.stream.handle)
    whole.written_on(work.stream)
    return whole, parts


def _check_values(array: DeviceArray, name: str, rank: int, shape: str) -> None:
    if array.dtype not in ("float32", "float16", "bfloat16") or len(array.shape) != rank:
        raise InvalidArgumentError(
            f"{name} is {array.dtype} {list(array.shape)}; give float32, float16 or bfloat16 {shape}"
        )


def _check(array: DeviceArray, name: str, dtype: str, shape: str, fits: bool) -> None:
    if array.dtype != dtype or not fits:
        raise InvalidArgumentError(
            f"{name} is {array.dtype} {list(array.shape)}; give {dtype} {shape}, which on a device is not converted"
        )
    array.require_contiguous(name)
