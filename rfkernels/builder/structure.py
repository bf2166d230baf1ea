"""Whether the modules of a whole-model file are those of a YOLOv8 network, attribute by attribute.

Keys and shapes of weights do not show what is computed with them: a bottleneck that adds its input or not, an Upsample
that interpolates, a layer that reads another one than the table says. A whole-model file does show it, in the classes
and attributes of its modules. Source: the attributes that ultralytics 8.0 to 8.4 and torch 1.7 to 2.14 give them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from rfkernels.builder.checkpoint import ModuleRecord, normalised_name
from rfkernels.errors import CheckpointError
from rfkernels.models.yolov8.heads import (
    BINS_PER_SIDE,
    MASK_CHANNELS,
    branches,
    head_convolutions,
    keypoint_channels,
    prototypes,
)
from rfkernels.models.yolov8.layers import HEAD_SOURCES, STRIDES, Convolution, Layer, layer_convolutions
from rfkernels.models.yolov8.network import Network
from rfkernels.models.yolov8.recognise import SUPPORTED

_LAYER_CLASSES = {"convolution": "Conv", "c2f": "C2f", "sppf": "SPPF", "upsample": "Upsample", "concat": "Concat"}
_HEAD_CLASSES = {"detect": "Detect", "segment": "Segment", "pose": "Pose", "classify": "Classify"}
_PLAIN_CLASSES = {"convolution": "Conv2d", "transposed": "ConvTranspose2d", "linear": "Linear"}
# Classes of torch; all others here are those of ultralytics.
_TORCH_CLASSES = (
    *_PLAIN_CLASSES.values(),
    "AdaptiveAvgPool2d",
    "BatchNorm2d",
    "Dropout",
    "MaxPool2d",
    "ModuleList",
    "Sequential",
    "SiLU",
    "Upsample",
)
_ABSENT = object()
_MOST_ITEMS_SHOWN = 8


@dataclass(frozen=True)
class _Expected:
    """What one module must be.

    attributes: what torch and ultralytics have always written, so that its absence is an error too; newer_attributes:
    checked where they are written. sources: the layers it reads, for a layer. members: names of its children, for a
    container that runs them in order. optional: a file may lack the module, which nothing here depends on.
    """

    class_name: str
    attributes: Mapping[str, object] = field(default_factory=dict)
    newer_attributes: Mapping[str, object] = field(default_factory=dict)
    index: int | None = None
    sources: tuple[int, ...] | None = None
    members: tuple[str, ...] | None = None
    optional: bool = False


def check_structure(modules: Mapping[str, ModuleRecord], network: Network, folded_names: Iterable[str]) -> None:
    """Check that the modules of a file are those of a network, in class, order, sources and attributes.

    Args:
        modules: by their names in a state dict, in the order of the file.
        folded_names: the convolutions ("model.0", ...) whose batch normalisation the file has folded already.
    Raises:
        CheckpointError: naming the module, what was got and what was expected.
    """
    found: dict[str, ModuleRecord] = {}
    for path, record in modules.items():
        name = normalised_name(path)
        if name in found:
            raise CheckpointError(f"{name[:80]}: two modules have this name once prefixes are removed")
        found[name] = record
    expected = dict(_modules(network, frozenset(folded_names)))
    for name, module in expected.items():
        if name in found:
            _check_module(name, found[name], module)
        elif not module.optional:
            raise _mismatch(name, "nothing", module.class_name)
    for name, record in found.items():
        # Names without a layer's number are those of the containers around the layers.
        if name.startswith("model.") and name[6:7].isdigit() and name not in expected:
            raise _mismatch(name, record.class_name[:80], "no such module")
    order = [name for name in found if name.startswith("model.") and name[6:].isdigit()]
    if order != [f"model.{index}" for index in range(network.head_index + 1)]:
        raise _mismatch("model", f"layers in the order {', '.join(order)}"[:200], f"0 to {network.head_index} in order")


def _check_module(name: str, got: ModuleRecord, expected: _Expected) -> None:
    package = "torch" if expected.class_name in _TORCH_CLASSES else "ultralytics"
    if got.class_name != expected.class_name or got.package.split(".", 1)[0] != package:
        shown = got.class_name if got.class_name != expected.class_name else f"{got.package}.{got.class_name}"
        raise _mismatch(name, shown[:80], expected.class_name)
    if expected.members is not None and got.members != expected.members:
        raise _mismatch(
            name, f"members {', '.join(got.members)}"[:200], f"members {', '.join(expected.members)} in this order"
        )
    for attribute, wanted in expected.attributes.items():
        value = got.attributes.get(attribute, _ABSENT)
        if not _equals(value, wanted):
            raise _mismatch(f"{name}.{attribute}", _shown(value), _shown(wanted))
    for attribute, wanted in expected.newer_attributes.items():
        value = got.attributes.get(attribute, _ABSENT)
        if value is not _ABSENT and not _equals(value, wanted):
            raise _mismatch(f"{name}.{attribute}", _shown(value), _shown(wanted))
    if expected.sources is not None and expected.index is not None:
        sources = got.attributes.get("f", _ABSENT)
        if sources is not _ABSENT and _absolute(sources, expected.index) != expected.sources:
            raise _mismatch(f"{name}.f", _shown(sources), _relative(expected.sources, expected.index))


def _modules(network: Network, folded: frozenset[str]) -> Iterator[tuple[str, _Expected]]:
    """Every module of a network by its name in a state dict."""
    for layer in network.layers:
        blocks: dict[str, _Expected] = {}
        for convolution in layer_convolutions(layer):
            blocks |= _convolution_modules(convolution, folded)
        # A layer of one convolution is that block itself, at a place in the table.
        blocks[layer.name] = _layer_module(layer)
        yield from blocks.items()
        yield from _inner_modules(layer)
    for convolution in head_convolutions(network):
        yield from _convolution_modules(convolution, folded).items()
    yield from _classifier_modules(network) if network.is_classifier else _head_modules(network)


def _layer_module(layer: Layer) -> _Expected:
    attributes: dict[str, object] = {}
    newer: dict[str, object] = {"i": layer.index}
    if layer.kind == "upsample":
        attributes = {"mode": "nearest", "scale_factor": 2, "size": None}
    elif layer.kind == "concat":
        newer["d"] = 1
    elif layer.kind == "sppf":
        newer |= {"n": 3, "add": False}
    return _Expected(_LAYER_CLASSES[layer.kind], attributes, newer, layer.index, layer.sources)


def _inner_modules(layer: Layer) -> Iterator[tuple[str, _Expected]]:
    """What a layer holds besides its convolutions."""
    if layer.kind == "c2f":
        yield f"{layer.name}.m", _Expected("ModuleList", members=_numbers(layer.repeats))
        for repeat in range(layer.repeats):
            yield f"{layer.name}.m.{repeat}", _Expected("Bottleneck", {"add": layer.shortcut})
    elif layer.kind == "sppf":
        yield f"{layer.name}.m", _Expected("MaxPool2d", {"kernel_size": 5, "stride": 1, "padding": 2, "dilation": 1})


def _head_modules(network: Network) -> Iterator[tuple[str, _Expected]]:
    """What a head of three levels holds besides its convolutions."""
    head = network.head_name
    newer: dict[str, object] = {"i": network.head_index, "nc": network.class_count, "nl": len(STRIDES)}
    newer |= {"reg_max": BINS_PER_SIDE, "stride": list(STRIDES)}
    if network.task == "segment":
        newer |= {"nm": MASK_CHANNELS, "npr": prototypes(network).first.out_channels}
        yield f"{head}.proto", _Expected("Proto")
    elif network.keypoint_shape is not None:
        # A list as ultralytics writes it, a tuple where it was given one.
        newer |= {"kpt_shape": network.keypoint_shape, "nk": keypoint_channels(network)}
    yield head, _Expected(_HEAD_CLASSES[network.task], {}, newer, network.head_index, HEAD_SOURCES)
    for branch in branches(network):
        yield f"{head}.{branch.module}", _Expected("ModuleList", members=_numbers(len(STRIDES)))
        for level in range(len(STRIDES)):
            yield f"{head}.{branch.module}.{level}", _Expected("Sequential", members=_numbers(3))
    yield f"{head}.dfl", _Expected("DFL", optional=True)
    yield f"{head}.dfl.conv", _Expected("Conv2d", _convolution_attributes(kernel=1, stride=1), optional=True)


def _classifier_modules(network: Network) -> Iterator[tuple[str, _Expected]]:
    """What a classifier's head holds besides its convolution and matrix. Dropout computes nothing outside training."""
    head, index = network.head_name, network.head_index
    yield head, _Expected(_HEAD_CLASSES[network.task], {}, {"i": index}, index, (index - 1,))
    yield f"{head}.pool", _Expected("AdaptiveAvgPool2d", {"output_size": 1})
    yield f"{head}.drop", _Expected("Dropout", optional=True)


def _convolution_modules(convolution: Convolution, folded: frozenset[str]) -> dict[str, _Expected]:
    name = convolution.name
    attributes: dict[str, object] = {}
    if convolution.kind == "convolution":
        attributes = _convolution_attributes(convolution.kernel, convolution.stride)
    elif convolution.kind == "transposed":
        attributes = _convolution_attributes(convolution.kernel, convolution.stride) | {
            "padding": 0,
            "output_padding": 0,
        }
    plain = _Expected(_PLAIN_CLASSES[convolution.kind], attributes)
    if not convolution.batch_norm:
        return {name: plain}
    modules = {name: _Expected("Conv"), f"{name}.conv": plain, f"{name}.act": _Expected("SiLU")}
    if name not in folded:
        modules[f"{name}.bn"] = _Expected("BatchNorm2d")
    return modules


def _convolution_attributes(kernel: int, stride: int) -> dict[str, object]:
    return {"stride": stride, "padding": kernel // 2, "dilation": 1, "groups": 1, "padding_mode": "zeros"}


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(index) for index in range(count))


def _equals(got: object, expected: object) -> bool:
    """Whether an attribute has a value; a number also where it is given for height and width, as torch does.

    A bool is no number here, though Python thinks so.
    """
    if isinstance(expected, list | tuple):
        kinds = list if isinstance(expected, list) else (list, tuple)
        return isinstance(got, kinds) and len(got) == len(expected) and all(map(_equals, got, expected))
    if isinstance(expected, bool) or not isinstance(expected, int):
        return type(got) is type(expected) and got == expected
    numbers = got if isinstance(got, tuple | list) and len(got) == 2 else (got,)
    return all(_is_number(number) and number == expected for number in numbers)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _absolute(sources: object, index: int) -> tuple[int, ...] | None:
    """Indices of the layers that layer `index` reads; negative ones count back from it. None: no indices."""
    listed = sources if isinstance(sources, tuple | list) else (sources,)
    if not all(isinstance(item, int) and not isinstance(item, bool) for item in listed):
        return None
    return tuple(index + item if item < 0 else item for item in listed)


def _relative(sources: tuple[int, ...], index: int) -> str:
    """Sources as ultralytics writes them: -1 is the layer before."""
    listed = [-1 if source == index - 1 else source for source in sources]
    return str(listed if len(listed) > 1 else listed[0])


def _shown(value: object) -> str:
    """A value from a file, short whatever it is: nothing nested is looked into."""
    if value is _ABSENT:
        return "nothing"
    if isinstance(value, str):
        return ascii(value[:80])
    if value is None or isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list) and all(isinstance(item, int | float) for item in value[:_MOST_ITEMS_SHOWN]):
        more = ", ..." if len(value) > _MOST_ITEMS_SHOWN else ""
        inner = ", ".join(repr(item) for item in value[:_MOST_ITEMS_SHOWN]) + more
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    return f"a {type(value).__name__}"


def _mismatch(what: str, got: str, expected: str) -> CheckpointError:
    return CheckpointError(f"{what[:80]}: got {got}, expected {expected}: {SUPPORTED}")
