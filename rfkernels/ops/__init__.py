"""The kernels on their own: NumPy arrays (or anything that shares its memory through DLPack) in, NumPy arrays out.

Arrays on a device in, arrays there out (`rfkernels.device.DeviceArray`, which other libraries take without a copy):

* An op runs on a device where one of its arrays is there: a `DeviceArray`, or one of torch, CuPy, PyCUDA or Numba. All
  its arrays must be on that device, or in pinned memory of the host; nothing is copied or converted.
* `device` says so where no array does: the emulated device's memory, and pinned memory, are the host's to others.
* `stream` is what the kernels are put on, the device's default stream where it is None. It waits, on the device, for
  what the arrays' libraries have put on theirs, and whoever takes a result waits for it. The call itself waits for
  nothing, except where the result is a host's: outlines, run lengths and bits of masks.
* What an op reads is kept until the stream is done with it, whatever becomes of the caller's arrays.
* An op in one call cannot be captured: `PreprocessOnDevice`, `DetectionOnDevice`, `KeypointsOnDevice` and
  `MasksOnDevice` (in `rfkernels.ops.*_on_device`) are made for graphs.

Ops without a kernel refuse arrays on a device.
"""

from rfkernels._native import MaskGrid, Placement, Rectangle, active_instruction_set, supported_instruction_sets
from rfkernels.ops.candidates import Candidates, detect_from_candidates, select_candidates
from rfkernels.ops.connected_components import (
    Components,
    ComponentsOnDevice,
    clean_mask_logits,
    clean_mask_logits_into,
    connected_components,
)
from rfkernels.ops.detection import detect_from_decoded, detect_from_heads, nms
from rfkernels.ops.detection_results import Detections, DetectionsOnDevice, Kept, KeptOnDevice
from rfkernels.ops.images import NV12
from rfkernels.ops.keypoints import keypoints_from_heads, keypoints_from_rows
from rfkernels.ops.masks import (
    Polygons,
    RunLengths,
    decode_rle,
    encode_rle,
    find_contours,
    masks_to_bits,
    masks_to_dense,
    masks_to_dense_into,
    masks_to_polygons,
    masks_to_rle,
    plan_mask_grid,
)
from rfkernels.ops.neighbourhoods import FeatureGrid, neighbourhoods
from rfkernels.ops.preprocess import (
    StaticCrop,
    contrast,
    grayscale,
    letterbox,
    plan_placement,
    preprocess,
    preprocess_into,
)

__all__ = [
    "NV12",
    "Candidates",
    "Components",
    "ComponentsOnDevice",
    "Detections",
    "DetectionsOnDevice",
    "FeatureGrid",
    "Kept",
    "KeptOnDevice",
    "MaskGrid",
    "Placement",
    "Polygons",
    "Rectangle",
    "RunLengths",
    "StaticCrop",
    "active_instruction_set",
    "clean_mask_logits",
    "clean_mask_logits_into",
    "connected_components",
    "contrast",
    "decode_rle",
    "detect_from_candidates",
    "detect_from_decoded",
    "detect_from_heads",
    "encode_rle",
    "find_contours",
    "grayscale",
    "keypoints_from_heads",
    "keypoints_from_rows",
    "letterbox",
    "masks_to_bits",
    "masks_to_dense",
    "masks_to_dense_into",
    "masks_to_polygons",
    "masks_to_rle",
    "neighbourhoods",
    "nms",
    "plan_mask_grid",
    "plan_placement",
    "preprocess",
    "preprocess_into",
    "select_candidates",
    "supported_instruction_sets",
]
