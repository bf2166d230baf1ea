"""The one door for images: whatever a caller holds goes in, uint8 pixels come out, or `InputImageLoadError`."""

from rfkernels.images.image import DEFAULT_MAX_PIXELS, ColorOrder, Image, ImageOptions
from rfkernels.images.load import ImageSource, load_image

__all__ = ["DEFAULT_MAX_PIXELS", "ColorOrder", "Image", "ImageOptions", "ImageSource", "load_image"]
