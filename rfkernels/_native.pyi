"""Types of the native module. One section for each op; rfkernels.ops documents them."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# instruction set

def supported_instruction_sets() -> list[str]: ...
def active_instruction_set() -> str: ...
def force_instruction_set(name: str) -> None: ...

# detection

# float32, or the bits of bfloat16
_Values = NDArray[np.float32] | NDArray[np.uint16]
# boxes, scores, class_ids, anchor_indices, network_boxes, overflowed
_Found = tuple[
    NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], bool
]

def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int32] | None,
    iou_threshold: float,
    class_agnostic: bool,
    max_detections: int,
) -> tuple[NDArray[np.int32], bool]: ...
def detect_from_heads(
    heads: Sequence[tuple[_Values, _Values]],
    strides: Sequence[int],
    placements: Sequence[Any],
    image_sizes: Sequence[tuple[int, int]],
    confidence: float,
    class_confidences: NDArray[np.float32] | None,
    wanted_classes: NDArray[np.uint8] | None,
    filter_before_suppression: bool,
    whole_pixels: bool,
    iou_threshold: float,
    class_agnostic: bool,
    max_detections: int,
) -> list[_Found]: ...
def select_candidates(
    classes: Sequence[_Values],
    confidence: float,
    class_confidences: NDArray[np.float32] | None,
    wanted_classes: NDArray[np.uint8] | None,
    filter_before_suppression: bool,
) -> list[tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32], tuple[int, ...]]]: ...
def detect_from_candidates(
    candidates: Sequence[tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]],
    boxes: Sequence[Sequence[_Values]],
    grids: Sequence[tuple[int, int]],
    strides: Sequence[int],
    placements: Sequence[Any],
    image_sizes: Sequence[tuple[int, int]],
    wanted_classes: NDArray[np.uint8] | None,
    whole_pixels: bool,
    iou_threshold: float,
    class_agnostic: bool,
    max_detections: int,
) -> list[_Found]: ...
def detect_from_decoded(
    prediction: _Values,
    placements: Sequence[Any],
    image_sizes: Sequence[tuple[int, int]],
    confidence: float,
    class_confidences: NDArray[np.float32] | None,
    wanted_classes: NDArray[np.uint8] | None,
    filter_before_suppression: bool,
    whole_pixels: bool,
    iou_threshold: float,
    class_agnostic: bool,
    max_detections: int,
) -> list[_Found]: ...

# preprocess

class Rectangle:
    def __init__(self, *, x: int, y: int, width: int, height: int) -> None: ...
    @property
    def x(self) -> int: ...
    @property
    def y(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...

class Placement:
    def __init__(
        self,
        *,
        crop: Rectangle,
        resized_width: int,
        resized_height: int,
        left: int,
        top: int,
        scale_x: float,
        scale_y: float,
    ) -> None: ...
    @property
    def crop(self) -> Rectangle: ...
    @property
    def resized_width(self) -> int: ...
    @property
    def resized_height(self) -> int: ...
    @property
    def left(self) -> int: ...
    @property
    def top(self) -> int: ...
    @property
    def scale_x(self) -> float: ...
    @property
    def scale_y(self) -> float: ...

def plan_static_crop(
    height: int, width: int, *, x_min: float, x_max: float, y_min: float, y_max: float
) -> Rectangle: ...
def plan_letterbox(crop: Rectangle, height: int, width: int, rounding: str) -> Placement: ...
def plan_stretch(crop: Rectangle, height: int, width: int) -> Placement: ...
def plan_center_crop(crop: Rectangle, height: int, width: int) -> Placement: ...
def plan_shortest_side_crop(crop: Rectangle, height: int, width: int) -> Placement: ...
def plan_fit_longer_edge(crop: Rectangle, height: int, width: int) -> Placement: ...
def preprocess_into(
    out: NDArray[Any],
    images: Sequence[NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]],
    placements: Sequence[Placement],
    *,
    swap_channels: bool,
    pad_value: int,
    normalization: str,
    divisor: float,
    first: Sequence[float],
    second: Sequence[float],
    keep_padding: bool,
    interpolation: str,
) -> None: ...
def grayscale(image: NDArray[np.uint8], *, color_order: str) -> NDArray[np.uint8]: ...
def contrast(image: NDArray[np.uint8], *, kind: str) -> NDArray[np.uint8]: ...
def write_neighbourhoods(
    pixels: NDArray[np.int32],
    counts: Sequence[int],
    grids: Sequence[tuple[int, int, int, int]],
    outer: Sequence[NDArray[np.int32]],
    inner: Sequence[NDArray[np.int32]],
    row_counts: NDArray[np.int64],
) -> list[tuple[int, int]]: ...

# keypoints

def keypoints_from_heads(
    heads: Sequence[_Values],
    strides: Sequence[int],
    anchor_indices: Sequence[NDArray[np.int32]],
    placements: Sequence[Any],
    image_sizes: Sequence[tuple[int, int]],
    dimensions: int,
    keypoint_confidence: float,
    whole_pixels: bool,
) -> list[NDArray[np.float32]]: ...
def keypoints_from_rows(
    rows: Sequence[_Values],
    anchor_indices: Sequence[NDArray[np.int32]],
    grids: Sequence[tuple[int, int]],
    strides: Sequence[int],
    placements: Sequence[Any],
    image_sizes: Sequence[tuple[int, int]],
    dimensions: int,
    keypoint_confidence: float,
    whole_pixels: bool,
) -> list[NDArray[np.float32]]: ...

# masks

class MaskGrid:
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def source(self) -> Rectangle: ...
    @property
    def presampling(self) -> int: ...
    @property
    def resized_width(self) -> int: ...
    @property
    def resized_height(self) -> int: ...
    @property
    def left(self) -> int: ...
    @property
    def top(self) -> int: ...
    @property
    def antialias(self) -> bool: ...
    @property
    def cut_probabilities(self) -> bool: ...
    @property
    def box_left(self) -> float: ...
    @property
    def box_top(self) -> float: ...
    @property
    def box_scale_x(self) -> float: ...
    @property
    def box_scale_y(self) -> float: ...
    @property
    def box_offset_x(self) -> float: ...
    @property
    def box_offset_y(self) -> float: ...

# points, first_points, first_contours, areas
_Polygons = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

def plan_mask_grid(
    placement: Placement,
    image_size: tuple[int, int],
    network_size: tuple[int, int],
    prototype_size: tuple[int, int],
    convention: str,
    resolution_factor: float,
) -> MaskGrid: ...
def masks_to_polygons(
    prototypes: _Values,
    coefficients: NDArray[np.float32],
    boxes: NDArray[np.float32],
    grid: MaskGrid,
    all_contours: bool,
) -> _Polygons: ...
def masks_to_run_lengths(
    prototypes: _Values, coefficients: NDArray[np.float32], boxes: NDArray[np.float32], grid: MaskGrid
) -> tuple[list[str], NDArray[np.int64]]: ...
def masks_to_bits_into(
    out: NDArray[np.uint8],
    prototypes: _Values,
    coefficients: NDArray[np.float32],
    boxes: NDArray[np.float32],
    grid: MaskGrid,
) -> None: ...
def masks_to_dense_into(
    out: NDArray[np.uint8],
    prototypes: _Values,
    coefficients: NDArray[np.float32],
    boxes: NDArray[np.float32],
    grid: MaskGrid,
) -> None: ...
def find_contours(mask: NDArray[np.uint8], all_contours: bool) -> _Polygons: ...
def encode_run_lengths(mask: NDArray[np.uint8]) -> tuple[list[str], NDArray[np.int64]]: ...
def decode_run_lengths_into(out: NDArray[np.uint8], counts: str) -> None: ...

# connected components

def connected_components_into(
    labels: NDArray[np.int32], areas: NDArray[np.int32], masks: NDArray[np.uint8]
) -> None: ...
def clean_mask_logits_into(
    out: NDArray[np.float32],
    logits: NDArray[np.float32],
    max_hole_area: int,
    max_sprinkle_area: int,
    threshold: float,
) -> None: ...

# Devices. Addresses, streams, events and graphs are numbers; a view is (address, dtype, shape, strides in bytes).

_View: TypeAlias = tuple[int, str, tuple[int, ...], tuple[int, ...]]

class HostCall:
    def __init__(self, function: Callable[[], None]) -> None: ...
    def raise_if_failed(self) -> None: ...

class Device:
    @staticmethod
    def open(kind: str, ordinal: int) -> Device: ...
    @property
    def kind(self) -> str: ...
    @property
    def ordinal(self) -> int: ...
    @property
    def name(self) -> str: ...
    def counters(self) -> dict[str, int]: ...
    def allocate(self, bytes: int, purpose: str) -> int: ...
    def allocate_pinned(self, bytes: int, purpose: str) -> int: ...
    def release(self, memory: int) -> None: ...
    def release_pinned(self, memory: int) -> None: ...
    def locate(self, address: int) -> str: ...
    def copy(self, to: int, from_: int, bytes: int, direction: str, stream: int) -> None: ...
    def fill(self, memory: int, byte: int, bytes: int, stream: int) -> None: ...
    def create_stream(self) -> int: ...
    def destroy_stream(self, stream: int) -> None: ...
    def synchronize(self, stream: int) -> None: ...
    def call_host(self, call: HostCall, stream: int) -> None: ...
    def create_event(self) -> int: ...
    def destroy_event(self, event: int) -> None: ...
    def record_event(self, event: int, stream: int) -> None: ...
    def wait_event(self, event: int, stream: int) -> None: ...
    def synchronize_event(self, event: int) -> None: ...
    def query_event(self, event: int) -> bool: ...
    def is_captured(self, stream: int) -> bool: ...
    def begin_capture(self, stream: int) -> None: ...
    def end_capture(self, stream: int) -> int: ...
    def launch_graph(self, graph: int, stream: int) -> None: ...
    def destroy_graph(self, graph: int) -> None: ...

class ImportedTensor:
    @property
    def address(self) -> int: ...
    @property
    def device(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> tuple[int, int, int]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...] | None: ...
    @property
    def read_only(self) -> bool: ...
    def release(self) -> None: ...

def import_dlpack(capsule: object, name: str) -> ImportedTensor: ...
def export_dlpack(
    owner: object,
    address: int,
    shape: Sequence[int],
    strides: Sequence[int],
    dtype: tuple[int, int],
    device: tuple[int, int],
    *,
    read_only: bool,
    versioned: bool,
) -> object: ...

class _Emulation:
    has_hooks: bool
    def configure(
        self,
        *,
        lanes: str = "sequential",
        blocks: str = "sequential",
        seed: int = 1,
        resident_blocks: int = 1,
        preemption: float = 0.0,
        check: bool = True,
        count_traffic: bool = False,
        eager: bool = False,
    ) -> None: ...
    def take_findings(self) -> list[tuple[str, str, str, int]]: ...
    def take_records(self) -> list[dict[str, Any]]: ...
    def mark_written(self, address: int, bytes: int) -> None: ...
    def live_allocations(self) -> tuple[int, int]: ...
    def occupancy(
        self, architecture: int, *, lanes: int, registers: int, shared_bytes: int
    ) -> tuple[int, int, int]: ...

# Absent in a build without the emulated device.
emulation: _Emulation

def preprocess_descriptor_bytes(
    placements: Sequence[Placement], interpolation: str, height: int, width: int
) -> int: ...
def describe_preprocess(
    descriptors: NDArray[np.uint8],
    images: Sequence[_View | tuple[_View, _View]],
    placements: Sequence[Placement],
    destination: _View,
    *,
    swap_channels: bool,
    pad_value: int,
    normalization: str,
    divisor: float,
    first: Sequence[float],
    second: Sequence[float],
    keep_padding: bool,
    interpolation: str,
) -> None: ...
def preprocess_on_device(
    device: Device, descriptors: int, destination: _View, interpolation: str, stream: int
) -> None: ...
def detection_descriptor_bytes(image_count: int, class_count: int) -> int: ...
def detection_scratch_bytes(image_count: int, anchor_count: int, max_detections: int) -> int: ...
def describe_detection(
    descriptors: NDArray[np.uint8],
    placements: Sequence[object],
    image_sizes: Sequence[tuple[int, int]],
    class_count: int,
    confidence: float,
    class_confidences: NDArray[np.float32] | None,
    wanted_classes: NDArray[np.uint8] | None,
    filter_before_suppression: bool,
    whole_pixels: bool,
    iou_threshold: float,
    class_agnostic: bool,
    max_detections: int,
) -> None: ...
def detect_from_heads_on_device(
    device: Device,
    heads: Sequence[tuple[_View, _View]],
    strides: Sequence[int],
    descriptors: int,
    results: dict[str, _View],
    scratch: int,
    stream: int,
) -> None: ...
def detect_from_decoded_on_device(
    device: Device, prediction: _View, descriptors: int, results: dict[str, _View], scratch: int, stream: int
) -> None: ...
def nms_scratch_bytes(count: int, max_detections: int) -> int: ...
def nms_on_device(
    device: Device,
    boxes: _View,
    scores: _View,
    class_ids: _View | None,
    iou_threshold: float,
    class_agnostic: bool,
    max_detections: int,
    indices: _View,
    count: _View,
    flags: _View,
    scratch: int,
    stream: int,
) -> None: ...
def keypoint_descriptor_bytes(image_count: int) -> int: ...
def describe_keypoints(
    descriptors: NDArray[np.uint8],
    placements: Sequence[object],
    image_sizes: Sequence[tuple[int, int]],
    dimensions: int,
    keypoint_confidence: float,
    whole_pixels: bool,
) -> None: ...
def keypoints_from_heads_on_device(
    device: Device,
    heads: Sequence[_View],
    strides: Sequence[int],
    dimensions: int,
    descriptors: int,
    anchor_indices: _View,
    counts: _View,
    points: _View,
    stream: int,
) -> None: ...

MASK_SUMMARY_BYTES: int
MASK_RECORD_BYTES: int

# image_count, max_detections, prototype_height, prototype_width, most_grid_height, most_grid_width
_MaskLayout: TypeAlias = tuple[int, int, int, int, int, int]

def mask_descriptor_bytes(layout: _MaskLayout) -> int: ...
def mask_scratch_bytes(layout: _MaskLayout, arena_runs: int) -> int: ...
def describe_masks(descriptors: NDArray[np.uint8], layout: _MaskLayout, grids: Sequence[MaskGrid]) -> None: ...
def masks_on_device(
    device: Device,
    form: str,
    layout: _MaskLayout,
    prototypes: _View,
    coefficient_levels: Sequence[_View],
    coefficient_rows: _View | None,
    anchor_indices: _View | None,
    boxes: _View,
    counts: _View,
    descriptors: int,
    summary: int,
    records: int,
    arena: int,
    arena_capacity: int,
    scratch: int,
    stream: int,
) -> None: ...
def mask_summary(summary: NDArray[np.uint8]) -> tuple[int, bool]: ...
def polygons_from_bits(
    summary: NDArray[np.uint8],
    records: NDArray[np.uint8],
    first: int,
    count: int,
    arena: NDArray[np.uint64],
    all_contours: bool,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]: ...
def run_lengths_from_runs(
    summary: NDArray[np.uint8],
    records: NDArray[np.uint8],
    first: int,
    count: int,
    arena: NDArray[np.int32],
    grid: MaskGrid,
) -> tuple[list[str], NDArray[np.int64]]: ...

# count, height, width
_StackShape: TypeAlias = tuple[int, int, int]

def connected_components_scratch_bytes(shape: _StackShape) -> int: ...
def connected_components_on_device(
    device: Device,
    masks: int,
    shape: _StackShape,
    labels: int,
    areas: int,
    scratch: int,
    scratch_bytes: int,
    stream: int,
) -> None: ...
def clean_mask_logits_scratch_bytes(shape: _StackShape) -> int: ...
def clean_mask_logits_on_device(
    device: Device,
    logits: int,
    half: bool,
    shape: _StackShape,
    max_hole_area: int,
    max_sprinkle_area: int,
    threshold: float,
    out: int,
    scratch: int,
    scratch_bytes: int,
    stream: int,
) -> None: ...
