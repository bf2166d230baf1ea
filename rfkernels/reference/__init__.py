"""The ops in plain NumPy, written from their definitions: what every device and instruction set is compared with."""

from rfkernels.reference.contrast_enhancement import contrast
from rfkernels.reference.preprocess import grayscale, letterbox

__all__ = ["contrast", "grayscale", "letterbox"]
