"""The kernels on their own: NumPy arrays (or anything that shares its memory through DLPack) in, NumPy arrays out."""

from rfkernels._native import MaskGrid, Placement, Rectangle, active_instruction_set, supported_instruction_sets
from rfkernels.ops.connected_components import (
    Components,
    clean_mask_logits,
    clean_mask_logits_into,
    connected_components,
)
from rfkernels.ops.detection import (
    Candidates,
    Detections,
    Kept,
    detect_from_candidates,
    detect_from_decoded,
    detect_from_heads,
    nms,
    select_candidates,
)
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
    "Detections",
    "FeatureGrid",
    "Kept",
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
