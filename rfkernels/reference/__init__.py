<<<<<<< HEAD
"""The ops in plain NumPy, written from their definitions. Tests compare every implementation with these."""
=======
"""The ops in plain NumPy, written from their definitions: what the tests compare the kernels with."""

from rfkernels.reference.contrast_enhancement import contrast
from rfkernels.reference.preprocess import grayscale, letterbox

__all__ = ["contrast", "grayscale", "letterbox"]
>>>>>>> preprocess
