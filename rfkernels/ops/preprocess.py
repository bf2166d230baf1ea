"""Images to network input: resize, pad, channel swap, normalization and HWC to CHW in one pass over the output.

The resize is OpenCV's `cv2.resize(..., interpolation=cv2.INTER_LINEAR)` on uint8, bit for bit, or Pillow's
`Image.resize(..., Image.Resampling.BILINEAR)`, which is antialiased; nothing here imports either.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypedDict, cast, overload

import numpy as np
from numpy.typing import NDArray

from rfkernels import _native
from rfkernels._native import Placement
from rfkernels.device import Device, DeviceArray, Stream
from rfkernels.ops import preprocess_of_device_arrays as on_device
from rfkernels.ops.arguments import check_list, whole_number
from rfkernels.ops.images import NV12, Image, as_array, as_arrays, planes_of
from rfkernels.ops.on_device import ArrayOnDevice, dtype_of, place_of, refuse_on_host, shape_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

Mode: TypeAlias = Literal[
    "letterbox", "letterbox_reflect_edges", "stretch", "center_crop", "shortest_side_crop", "fit_longer_edge"
]
Interpolation: TypeAlias = Literal["bilinear", "antialiased"]
Rounding: TypeAlias = Literal["truncate", "half_to_even"]
Contrast: TypeAlias = Literal["stretching", "histogram_equalization", "adaptive_equalization"]
ColorOrder: TypeAlias = Literal["bgr", "rgb"]

_NO_MEAN = (0.0, 0.0, 0.0)
_NO_STD = (1.0, 1.0, 1.0)


class DrawingOptions(TypedDict, total=False):
    """The options that `preprocess` and `letterbox` have in common, for type checkers."""

    dtype: str | np.dtype[Any] | type[Any]
    interpolation: Interpolation
    swap_channels: bool
    pad_value: int
    divisor: float | None
    mean: Sequence[float] | None
    std: Sequence[float] | None
    scale: float | Sequence[float] | None
    offset: float | Sequence[float] | None
    device: Device | None
    stream: Stream | None


class LetterboxOptions(DrawingOptions, total=False):
    """The options of `letterbox`, for type checkers."""

    rounding: Rounding


class StaticCrop(NamedTuple):
    """The part of an image that is used, in percent of its sides; `int(x_min / 100 * width)` is its first column."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float


class _Normalization(NamedTuple):
    """The arguments of the native op: `first` and `second` are mean and std, or scale and offset."""

    name: str
    divisor: float
    first: Sequence[float]
    second: Sequence[float]


def plan_placement(
    height: int,
    width: int,
    *,
    size: tuple[int, int],
    mode: Mode = "letterbox",
    rounding: Rounding = "truncate",
    static_crop: StaticCrop | None = None,
) -> Placement:
    """Where an image lies on the network's input ("the canvas").

    Args:
        height, width: of the image, in pixels.
        size: (height, width) of the canvas; for "fit_longer_edge" the largest that it may be.
        mode: "letterbox" fits the image keeping its aspect ratio and pads around it ("letterbox_reflect_edges" does the
            same: V2 pads it with a constant too). "stretch" resizes both sides to the canvas. "center_crop" takes the
            middle and resizes nothing. "shortest_side_crop" resizes so that the shorter side is the canvas's and takes
            the middle, as ultralytics prepares images for classification, with `interpolation="antialiased"` in
            `preprocess`; it stretches to a canvas that is not square, as ultralytics does. "fit_longer_edge" resizes so
            that the image just fits, and the canvas is then (`resized_height`, `resized_width`) of the result.
        rounding: of a letterbox. "truncate" is V2's; "half_to_even" that of ultralytics 8.4, its padding included.
        static_crop: the part of the image to use; all of it by default.

    Returns:
        Placement(crop, resized_width, resized_height, left, top, scale_x, scale_y), in pixels. `left` and `top` are
        negative where the canvas shows only the middle. A point of the canvas lies at
        `(x - left) / scale_x + crop.x` of the image.

    Raises:
        ValueError: a size of 0, a crop that leaves nothing, a side that would be resized to more than 2^24 pixels, an
            unknown mode or rounding.

    Source: inference-models 0.39 (`common/roboflow/pre_processing.py`), ultralytics 8.4 (`LetterBox`; for
    "shortest_side_crop" `classify_transforms`: torchvision's Resize and CenterCrop). A side is never
    resized to 0, where inference-models fails: a 4000 x 1 strip becomes 640 x 1.
    """
    canvas_height, canvas_width = _height_and_width(size)
    height, width = whole_number("height", height), whole_number("width", width)
    if static_crop is None:
        crop = _native.Rectangle(x=0, y=0, width=width, height=height)
    else:
        x_min, x_max, y_min, y_max = static_crop
        crop = _native.plan_static_crop(height, width, x_min=x_min, x_max=x_max, y_min=y_min, y_max=y_max)
    if mode in ("letterbox", "letterbox_reflect_edges"):
        return _native.plan_letterbox(crop, canvas_height, canvas_width, rounding)
    if mode == "stretch":
        return _native.plan_stretch(crop, canvas_height, canvas_width)
    if mode == "center_crop":
        return _native.plan_center_crop(crop, canvas_height, canvas_width)
    if mode == "shortest_side_crop":
        return _native.plan_shortest_side_crop(crop, canvas_height, canvas_width)
    if mode == "fit_longer_edge":
        return _native.plan_fit_longer_edge(crop, canvas_height, canvas_width)
    raise ValueError(
        f"mode is {mode!r}; give 'letterbox', 'letterbox_reflect_edges', 'stretch', 'center_crop', "
        "'shortest_side_crop' or 'fit_longer_edge'"
    )


def preprocess_into(
    out: NDArray[Any] | ArrayOnDevice,
    images: Sequence[Image],
    placements: Sequence[Placement],
    *,
    interpolation: Interpolation = "bilinear",
    swap_channels: bool = False,
    pad_value: int = 114,
    divisor: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    scale: float | Sequence[float] | None = None,
    offset: float | Sequence[float] | None = None,
    keep_padding: bool = False,
    device: Device | None = None,
    stream: Stream | None = None,
) -> None:
    """Writes images of any sizes, each where its placement puts it, into a network's input.

    Each output value is `(value / divisor - mean[c]) / std[c]`, in float32 with every step rounded: the numbers that
    torch gives. Where `scale` or `offset` is given it is `value * scale[c] + offset[c]` instead. Channels are those of
    the output, after the swap.

    Args:
        out: float32, float16, uint16 or uint8 [n, 3, height, width], C-contiguous and writeable. float16 is the float32
            result rounded to nearest, ties to even; uint16 takes the bits of the same in bfloat16, which NumPy lacks
            (`torch.Tensor.view(torch.uint16)`); uint8 holds the values as they are. On a device float32, float16,
            bfloat16 or uint8, with columns that follow each other; images and planes may lie any distance apart.
        images: n of uint8 [height, width] or [height, width, 1 | 3 | 4]. Grey becomes three equal channels, a fourth
            channel is ignored. Rows may lie any distance apart; an array whose pixels do not follow each other
            (a transposed one, every second column) is copied first, but not on a device. There images lie on the
            device or in pinned memory of the host. Or `NV12`, as the BGR picture that it stands for.
        placements: n, from `plan_placement`.
        interpolation: "bilinear" is OpenCV's INTER_LINEAR, of two by two pixels. "antialiased" is Pillow's BILINEAR, of
            all pixels that a resized one covers, in Pillow's fixed point, columns before rows (Pillow 13 takes the rows
            first where that is quicker, in high images say, and is then 1 off here and there). Where nothing is made
            smaller the two are almost the same.
        swap_channels: True turns BGR into RGB and RGB into BGR.
        pad_value: 0 to 255, for what no image covers; normalized like a pixel.
        divisor: 255 by default.
        mean, std: 3 numbers each; 0 and 1 by default.
        scale, offset: 3 numbers each, or one for all; 1 and 0 by default.
        keep_padding: write only what the images cover. For an `out` into which the same placements, padding and
            normalization were drawn before: the padding is there already.
        device, stream: where `out` or the images are on a device, see `rfkernels.ops`.

    Raises:
        ValueError: shapes, dtypes or numbers of arguments that do not fit, NV12 whose sides are not even, `out` that is
            read-only or shares memory with an image, normalization asked for in uint8; the message names the argument.
        MemoryError: no memory for a few rows of working space.

    Runs on the calling thread, without the GIL.
    """
    _check_images(images)
    place = place_of((out, *(plane for image in images for plane in planes_of(image))), device, stream)
    for index, placement in enumerate(placements):
        if not isinstance(placement, Placement):
            raise ValueError(f"placements[{index}] is {placement!r}; give a Placement, from plan_placement")
    if not 0 <= whole_number("pad_value", pad_value) <= 255:
        raise ValueError(f"pad_value is {pad_value}; give 0 to 255")
    dtype = cast("NDArray[Any]", out).dtype.name if place is None else dtype_of(out, "out", place)
    normalization = normalization_of(dtype, divisor=divisor, mean=mean, std=std, scale=scale, offset=offset)
    if place is not None:
        drawing = on_device.Drawing(interpolation, swap_channels, pad_value, *normalization, keep_padding)
        on_device.preprocess_into(place, out, images, placements, drawing)
        return
    _native.preprocess_into(
        cast("NDArray[Any]", out),
        [as_arrays(image) for image in images],
        placements,
        swap_channels=swap_channels,
        pad_value=pad_value,
        normalization=normalization.name,
        divisor=normalization.divisor,
        first=normalization.first,
        second=normalization.second,
        keep_padding=keep_padding,
        interpolation=interpolation,
    )


@overload
def preprocess(
    images: Sequence[ArrayOnDevice],
    placements: Sequence[Placement],
    *,
    size: tuple[int, int],
    **options: Unpack[DrawingOptions],
) -> DeviceArray: ...


@overload
def preprocess(
    images: Sequence[Image],
    placements: Sequence[Placement],
    *,
    size: tuple[int, int],
    **options: Unpack[DrawingOptions],
) -> NDArray[Any]: ...


def preprocess(
    images: Sequence[Image],
    placements: Sequence[Placement],
    *,
    size: tuple[int, int],
    dtype: str | np.dtype[Any] | type[Any] = "float32",
    interpolation: Interpolation = "bilinear",
    swap_channels: bool = False,
    pad_value: int = 114,
    divisor: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    scale: float | Sequence[float] | None = None,
    offset: float | Sequence[float] | None = None,
    device: Device | None = None,
    stream: Stream | None = None,
) -> NDArray[Any] | DeviceArray:
    """`preprocess_into` a new array.

    Args:
        images, placements, interpolation, swap_channels, pad_value, divisor, mean, std, scale, offset, device, stream:
            see `preprocess_into`.
        size: (height, width) of the canvas.
        dtype: "float32", "float16", "bfloat16" or "uint8".

    Returns:
        [n, 3, height, width] of `dtype`; uint16, the bits, for "bfloat16". Of images on a device it is there, also of
        "bfloat16", and nobody has waited for it.

    Raises:
        ValueError, MemoryError: see `preprocess_into`.
    """
    _check_images(images)
    height, width = _height_and_width(size)
    if height < 1 or width < 1:
        raise ValueError(f"size is {size}; give (height, width) of at least one pixel")
    element: Any = dtype
    if isinstance(dtype, str) and dtype == "bfloat16":
        element = np.uint16
    elif _dtype_of(dtype) == np.uint16:
        raise ValueError('dtype is uint16; give "bfloat16" for its bits, or "float32", "float16" or "uint8"')
    shape = (len(images), 3, height, width)
    place = place_of([plane for image in images for plane in planes_of(image)], device, stream)
    out: NDArray[Any] | DeviceArray
    if place is None:
        out = np.empty(shape, dtype=element)
    else:
        out = on_device.empty_canvas(place, shape, "bfloat16" if element is np.uint16 else np.dtype(element).name)
        device, stream = place
    preprocess_into(
        out,
        images,
        placements,
        interpolation=interpolation,
        swap_channels=swap_channels,
        pad_value=pad_value,
        divisor=divisor,
        mean=mean,
        std=std,
        scale=scale,
        offset=offset,
        device=device,
        stream=stream,
    )
    return out


@overload
def letterbox(image: ArrayOnDevice, *, size: tuple[int, int], **options: Unpack[LetterboxOptions]) -> DeviceArray: ...


@overload
def letterbox(image: Image, *, size: tuple[int, int], **options: Unpack[LetterboxOptions]) -> NDArray[Any]: ...


def letterbox(
    image: Image,
    *,
    size: tuple[int, int],
    pad_value: int = 114,
    rounding: Rounding = "truncate",
    interpolation: Interpolation = "bilinear",
    swap_channels: bool = False,
    dtype: str | np.dtype[Any] | type[Any] = "float32",
    divisor: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    scale: float | Sequence[float] | None = None,
    offset: float | Sequence[float] | None = None,
    device: Device | None = None,
    stream: Stream | None = None,
) -> NDArray[Any] | DeviceArray:
    """One image, fitted into `size` keeping its aspect ratio, padded, and made network input.

    >>> import numpy as np, rfkernels
    >>> image = np.zeros((1080, 1920, 3), dtype=np.uint8)
    >>> rfkernels.ops.letterbox(image, size=(640, 640), swap_channels=True).shape
    (3, 640, 640)

    Args:
        image: uint8 [height, width] or [height, width, 1 | 3 | 4], or `NV12`.
        size: (height, width) of the canvas.
        rounding: "truncate" (V2) or "half_to_even" (ultralytics 8.4).
        interpolation, pad_value, swap_channels, divisor, mean, std, scale, offset, device, stream: see
            `preprocess_into`.
        dtype: "float32", "float16", "bfloat16" or "uint8" (the resized bytes themselves).

    Returns:
        [3, height, width] of `dtype`; uint16, the bits, for "bfloat16". Of an image on a device, see `preprocess`.

    Raises:
        ValueError, MemoryError: see `preprocess_into`.
    """
    place = place_of(planes_of(image), device, stream)
    if place is None:
        arrays = as_arrays(image)
        shape = arrays[0].shape if isinstance(arrays, tuple) else arrays.shape
    else:
        shape = shape_of(planes_of(image)[0], "luma of image" if isinstance(image, NV12) else "image", place)
    if len(shape) < 2:
        raise ValueError(f"image has shape {shape}; give [height, width] or [height, width, channels]")
    placement = plan_placement(shape[0], shape[1], size=size, mode="letterbox", rounding=rounding)
    canvas: NDArray[Any] | DeviceArray = preprocess(
        [image],
        [placement],
        size=size,
        dtype=dtype,
        interpolation=interpolation,
        swap_channels=swap_channels,
        pad_value=pad_value,
        divisor=divisor,
        mean=mean,
        std=std,
        scale=scale,
        offset=offset,
        device=device,
        stream=stream,
    )
    return on_device.only_image(canvas) if isinstance(canvas, DeviceArray) else cast("NDArray[Any]", canvas[0])


def grayscale(image: Image, *, color_order: ColorOrder = "bgr") -> NDArray[np.uint8]:
    """Grey in three equal channels: `(9798 * R + 19235 * G + 3735 * B + 16384) >> 15`.

    Args:
        image: uint8 [height, width, 3 | 4]; a grey image [height, width] or [height, width, 1] is copied into three.
        color_order: which channel is red.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: another dtype or shape, or another color_order.

    Source: OpenCV's cvtColor(COLOR_BGR2GRAY), bit for bit.
    """
    refuse_on_host("grayscale", image=image)
    return _native.grayscale(as_array(image), color_order=color_order)


def contrast(image: Image, *, kind: Contrast) -> NDArray[np.uint8]:
    """Contrast enhancement as V2 does it: before the resize, on all channels together.

    Args:
        image: uint8 [height, width, 3 | 4]; a grey image counts as three equal channels.
        kind: "stretching" makes the 2nd to the 98th percentile of the bytes 0 to 255; "histogram_equalization" makes
            their distribution even; "adaptive_equalization" does so for the HSV value, region by region (CLAHE).

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: another dtype or shape, or another kind.
        MemoryError: no memory for two bytes a pixel (adaptive equalization).

    Source: scikit-image 0.25 as inference-models 0.39 calls it (`rescale_intensity`, `equalize_hist`,
    `equalize_adapthist` with clip limit 0.03), byte for byte.
    """
    refuse_on_host("contrast", image=image)
    return _native.contrast(as_array(image), kind=kind)


def normalization_of(
    dtype: str,
    *,
    divisor: float | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    scale: float | Sequence[float] | None,
    offset: float | Sequence[float] | None,
) -> _Normalization:
    """What the native ops are told of a normalization, checked against the output's dtype."""
    divides = divisor is not None or mean is not None or std is not None
    multiplies = scale is not None or offset is not None
    if divides and multiplies:
        raise ValueError("scale or offset is given together with divisor, mean or std; give one kind of normalization")
    if dtype == "uint8":
        if divides or multiplies:
            raise ValueError(
                "normalization is asked for, but the output is uint8; make it float32, float16 or bfloat16"
            )
        return _Normalization("none", 1.0, _NO_MEAN, _NO_STD)
    if multiplies:
        return _Normalization("multiply_add", 1.0, _three(scale, 1.0), _three(offset, 0.0))
    return _Normalization(
        "divide",
        255.0 if divisor is None else divisor,
        _NO_MEAN if mean is None else mean,
        _NO_STD if std is None else std,
    )


def _dtype_of(dtype: str | np.dtype[Any] | type[Any]) -> np.dtype[Any]:
    try:
        return np.dtype(dtype)
    except TypeError as error:
        raise ValueError(f'dtype is {dtype!r}; give "float32", "float16", "bfloat16" or "uint8"') from error


def _check_images(images: object) -> None:
    """Refuse one image where a list of them is wanted; a NumPy array with an axis more than an image has is a list."""
    if not (isinstance(images, np.ndarray) and images.ndim == 4):
        check_list("images", images, "images")


def _height_and_width(size: tuple[int, int]) -> tuple[int, int]:
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError) as error:
        raise ValueError(f"size is {size!r}; give (height, width)") from error
    if isinstance(size, bytes) or max(abs(height), abs(width)) >= 1 << 31:
        raise ValueError(f"size is {size!r}; give (height, width) in pixels")
    return height, width


def _three(numbers: float | Sequence[float] | None, default: float) -> Sequence[float]:
    if numbers is None:
        return (default,) * 3
    return (float(cast("float", numbers)),) * 3 if np.ndim(numbers) == 0 else cast("Sequence[float]", numbers)
