"""`load_image`: decides what a source is, and hands it to the decoder for it."""

import base64
import binascii
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from rfkernels.errors import InputImageLoadError
from rfkernels.images import encoded, url
from rfkernels.images.arrays import from_array
from rfkernels.images.image import Image, ImageOptions, check_pixel_count, refusal
from rfkernels.images.pillow import to_rgb


class DeclaredImage(Protocol):
    """An image with its type declared, as in a V2 request: `rfkernels.schema.InferenceRequestImage`."""

    type: str
    value: Any


ImageSource: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | IO[bytes]
    | Image
    | NDArray[np.uint8]
    | PillowImage.Image
    | DeclaredImage
    | Mapping[str, Any]
)

DEFAULT_OPTIONS = ImageOptions()

_BYTES_LIKE = (bytes, bytearray, memoryview)
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII | re.IGNORECASE)
_BASE64_TEXT = re.compile(rb"[A-Za-z0-9+/\s]+={0,2}\s*")
_URL_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_READ_BYTES = 1 << 20
# The longest path the operating systems we run on accept; longer text is not asked for in the file system.
_MAX_PATH_CHARACTERS = 4096


def load_image(source: ImageSource, *, options: ImageOptions = DEFAULT_OPTIONS) -> Image:
    """Pixels of an image, from whatever holds it.

    Args:
        source: one of

            * `os.PathLike` (`pathlib.Path`): a file.
            * `str`: taken for the first of these that fits. Text that starts with "data:image/...;base64," is base64.
              Text that starts with "http://" or "https://" is a URL. Text that names an existing file is that file
              (only with `options.allow_file`). Anything else is base64.
            * `bytes`, `bytearray`, `memoryview`: an encoded image if they start with the signature of one, else base64
              text. A binary file object is read from its start and treated likewise.
            * `numpy.ndarray`: uint8, grey, BGR or BGRA; see `rfkernels.images.arrays.from_array`.
            * `PIL.Image.Image`: taken as it stands, its EXIF orientation not applied (as the V2 API does).
            * `Image`: given back as it is.
            * an object or mapping with `type` and `value`, as in a V2 request. Types, in any case: "base64", "url",
              "multipart" (the bytes or the file object of a form's part), "numpy_object", "pil", "file".
        options: limits and permissions.

    Returns:
        An `Image`. Animations and multi-page files give their first frame. Formats: JPEG, PNG, WebP, GIF, BMP, TIFF,
        AVIF, JPEG 2000 and PBM/PGM/PPM; which format it is, the contents decide, not a file name.

    Raises:
        InputImageLoadError: the source cannot be read, is not what it is declared to be, is truncated, corrupt or too
            large, or is not permitted by `options`. The message says which.
    """
    try:
        return _load(source, options)
    except InputImageLoadError:
        raise
    except MemoryError as error:
        raise refusal("there is not enough memory to decode the image.") from error


def _load(source: object, options: ImageOptions) -> Image:
    if isinstance(source, Image):
        return source
    for types, loader in _LOADERS:
        if isinstance(source, types):
            return loader(source, options)
    if hasattr(source, "type") and hasattr(source, "value"):
        return _from_declared(source.type, source.value, options)
    if hasattr(source, "read"):
        return _from_bytes(_read(source, options), options)
    raise refusal(
        f"got an object of type {type(source).__name__}; expected a path, bytes, base64 text, a URL, a NumPy array, "
        "a PIL image, or an object with type and value; several images go in a list."
    )


def _from_mapping(source: Mapping[str, object], options: ImageOptions) -> Image:
    return _from_declared(source.get("type"), source.get("value"), options)


def _from_declared(declared_type: object, value: object, options: ImageOptions) -> Image:
    kind = declared_type.lower() if isinstance(declared_type, str) else ""
    if kind == "numpy":
        # The V2 type "numpy" is a pickle, and a pickle can run any program.
        raise refusal("NumPy image type is not supported: it is a pickle. Send the image as base64.")
    if kind not in _DECLARED_LOADERS:
        raise refusal("Image declaration contains not recognised image type.")
    types, loader = _DECLARED_LOADERS[kind]
    if not isinstance(value, types) and not (kind == "multipart" and hasattr(value, "read")):
        raise refusal(f"the image is declared to be of type {kind!r}, but its value is a {type(value).__name__}.")
    return loader(value, options)


def _from_text(text: str, options: ImageOptions) -> Image:
    if _DATA_URL.match(text):
        return _from_base64(text, options)
    if _URL_SCHEME.match(text):
        return _from_url(text, options)
    if options.allow_file and len(text) <= _MAX_PATH_CHARACTERS:
        if _is_existing_file(text):
            return _from_file(text, options)
        if not _is_image_in_base64(text):
            kind = "a folder, not an image" if _is_folder(text) else "not an existing file, nor an image in base64"
            raise refusal(f"{text[:200]!r} is {kind}.")
    return _from_base64(text, options)


def _is_existing_file(text: str) -> bool:
    # An empty string would be the current directory; a null character makes the file system call raise.
    if not text or "\0" in text:
        return False
    try:
        return not Path(text).is_dir() and Path(text).exists()
    except (OSError, ValueError):
        return False


def _is_folder(text: str) -> bool:
    try:
        return bool(text) and Path(text).is_dir()
    except (OSError, ValueError):
        return False


def _is_image_in_base64(text: str) -> bool:
    try:
        return encoded.sniff(_decode_base64(text)) is not None
    except ValueError:
        return False


def _from_file(source: str | os.PathLike[str], options: ImageOptions) -> Image:
    path = Path(source)
    if not options.allow_file:
        raise refusal("Loading images from local filesystem is disabled.")
    try:
        status = path.stat()
        # Devices and pipes can be endless, or wait for ever.
        if stat.S_ISDIR(status.st_mode):
            raise refusal(f"{str(path)!r} is a folder, not an image.")
        if not stat.S_ISREG(status.st_mode):
            raise refusal(f"{str(path)!r} is not a regular file.")
        _check_encoded_size(status.st_size, options)
        with path.open("rb") as file:
            # Not `max_encoded_bytes`: a buffer of the size asked for is allocated before anything is read.
            data = file.read(status.st_size)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise refusal(f"the file {str(path)!r} could not be read: {reason}.") from error
    return _decode(data, options)


def _from_url(text: str, options: ImageOptions) -> Image:
    if not options.allow_url:
        raise refusal(
            "loading images from URLs is disabled; allow it with ImageOptions(allow_url=True) or --allow-url."
        )
    return _decode(url.download(text, options), options)


def _from_pillow(picture: PillowImage.Image, options: ImageOptions) -> Image:
    check_pixel_count(*picture.size, options)
    try:
        picture.load()
        return Image(to_rgb(picture), "rgb")
    except InputImageLoadError:
        raise
    except Exception as error:
        # A picture that Pillow has opened but not yet read can fail in any way its parser can.
        raise refusal(f"the PIL image could not be loaded ({type(error).__name__}: {error}).") from error


def _from_bytes(source: bytes | bytearray | memoryview, options: ImageOptions) -> Image:
    data = bytes(source)
    looks_like_text = data[:11].lower() == b"data:image/" or _BASE64_TEXT.fullmatch(data[:64]) is not None
    if looks_like_text and encoded.sniff(data) is None:
        return _from_base64(data, options)
    return _decode(data, options)


def _from_base64(source: str | bytes | bytearray | memoryview, options: ImageOptions) -> Image:
    try:
        text = source if isinstance(source, str) else bytes(source).decode("ascii")
        prefix = _DATA_URL.match(text)
        payload = text[prefix.end() :] if prefix else text
        data = _decode_base64(payload)
    except ValueError as error:
        raise refusal("Malformed base64 input image.") from error
    return _decode(data, options)


def _decode_base64(payload: str) -> bytes:
    """Decode strictly; line breaks are allowed, and padding may be missing, as in what browsers and shells produce."""
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error:
        compact = "".join(payload.split())
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)


def _from_part(source: object, options: ImageOptions) -> Image:
    """The part of a multipart form: the encoded image itself, never base64."""
    data = bytes(source) if isinstance(source, _BYTES_LIKE) else _read(source, options)
    return _decode(data, options)


def _read(file: Any, options: ImageOptions) -> bytes:  # noqa: ANN401 - anything with read()
    try:
        if getattr(file, "seekable", bool)():
            file.seek(0)
        # Piece by piece: a buffer of the size asked for is allocated before anything is read.
        data = bytearray()
        while len(data) <= options.max_encoded_bytes and (piece := file.read(_READ_BYTES)):
            if not isinstance(piece, bytes):
                raise refusal(f"the file object gave {type(piece).__name__}, not bytes. Open the file in binary mode.")
            data += piece
    except InputImageLoadError:
        raise
    except Exception as error:
        # The file object is the caller's, and so is what it raises.
        raise refusal(f"the file object could not be read ({type(error).__name__}: {error}).") from error
    return bytes(data)


def _check_encoded_size(size: int, options: ImageOptions) -> None:
    if size > options.max_encoded_bytes:
        raise refusal(
            f"the encoded image has {size} bytes, more than the {options.max_encoded_bytes} allowed "
            "(ImageOptions.max_encoded_bytes)."
        )


def _decode(data: bytes, options: ImageOptions) -> Image:
    if not data:
        raise refusal("Empty image payload.")
    _check_encoded_size(len(data), options)
    format_name = encoded.sniff(data)
    if format_name is None:
        raise refusal(
            "the data are not an image of a known format (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000, PBM, PGM, "
            "PPM)."
        )
    return encoded.decode(data, format_name, options)


_Loader: TypeAlias = Callable[[Any, ImageOptions], Image]

_LOADERS: tuple[tuple[tuple[type, ...], _Loader], ...] = (
    ((np.ndarray,), from_array),
    ((PillowImage.Image,), _from_pillow),
    ((os.PathLike,), _from_file),
    ((str,), _from_text),
    (_BYTES_LIKE, _from_bytes),
    ((Mapping,), _from_mapping),
)
_DECLARED_LOADERS: dict[str, tuple[tuple[type, ...], _Loader]] = {
    "base64": ((str, *_BYTES_LIKE), _from_base64),
    "url": ((str,), _from_url),
    "multipart": (_BYTES_LIKE, _from_part),
    "numpy_object": ((np.ndarray,), from_array),
    "pil": ((PillowImage.Image,), _from_pillow),
    "file": ((str, os.PathLike), _from_file),
}
