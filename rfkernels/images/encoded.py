"""Encoded bytes to an `Image`: recognise the format by its first bytes, decode, turn upright."""

from rfkernels.images import jpeg, pillow
from rfkernels.images.image import Image, ImageOptions
from rfkernels.images.orientation import apply_orientation, read_orientation

_SIGNATURES = (
    (jpeg.SIGNATURE, "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
)
_NETPBM_KINDS = (b"1", b"2", b"3", b"4", b"5", b"6")
_AVIF_BRANDS = (b"avif", b"avis", b"mif1", b"msf1")


def sniff(data: bytes) -> str | None:
    """The format of an encoded image by its signature; None for anything that is not one of the formats read here."""
    for signature, format_name in _SIGNATURES:
        if data.startswith(signature):
            return format_name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp" and (data[8:12] in _AVIF_BRANDS or b"avif" in data[16:64]):
        return "AVIF"
    # Two letters are a weak signature: the size of the information header that follows tells a BMP from text.
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124):
        return "BMP"
    if data[:1] == b"P" and data[1:2] in _NETPBM_KINDS and data[2:3].isspace():
        return "PNM"
    return None


def decode(data: bytes, format_name: str, options: ImageOptions) -> Image:
    """Decode the first frame of an encoded image.

    Args:
        data: the encoded image.
        format_name: what `sniff` says it is.

    Returns:
        An `Image` with color_order "rgb" and C-contiguous pixels.

    Raises:
        InputImageLoadError: the image is truncated, corrupt, too large or of an unsupported kind.
    """
    if format_name == "JPEG":
        header = jpeg.read_header(data)
        pixels, exif = jpeg.decode(data, header, options), header.exif
    else:
        pixels, exif = pillow.decode(data, format_name, options)
    if options.auto_orient and exif:
        pixels = apply_orientation(pixels, read_orientation(exif))
    return Image(pixels, "rgb")
