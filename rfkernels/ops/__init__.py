"""The ops as functions of arrays."""

from rfkernels.ops.detection import Detections, Kept, detect_from_decoded, detect_from_heads, nms

__all__ = ["Detections", "Kept", "detect_from_decoded", "detect_from_heads", "nms"]
