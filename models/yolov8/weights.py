"""The weights of a network: the shape of each by its key in a state dict, and whether a set of weights is complete."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from rfkernels.models.graph import Weights
from rfkernels.models.yolov8.heads import BINS_PER_SIDE, BOX_CHANNELS, head_convolutions
from rfkernels.models.yolov8.layers import Convolution, layer_convolutions
from rfkernels.models.yolov8.network import Network

from rfkernels.errors import CheckpointError

_KEYS_SHOWN = 3
_SUFFIXES_NOT_NEEDED = (".num_batches_tracked",)


def convolutions(network: Network) -> tuple[Convolution, ...]:
    """All convolutions of a network, in running order."""
    before_head = [convolution for layer in network.layers for convolution in layer_convolutions(layer)]
    return (*before_head, *head_convolutions(network))


def dfl_key(network: Network) -> str | None:
    """The key of the fixed weights that stand for the bins of a box's sides; None: the network has no boxes."""
    return None if network.is_classifier else f"{network.head_name}.dfl.conv.weight"


def weight_shapes(network: Network, *, folded: bool) -> dict[str, tuple[int, ...]]:
    """Shape of every float weight of a network by its key in a state dict, the fixed ones of the DFL included.

    Args:
        folded: whether the batch normalisations have been folded into the convolutions.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for convolution in convolutions(network):
        shapes |= convolution.weight_shapes(folded=folded)
    if (fixed := dfl_key(network)) is not None:
        shapes[fixed] = (1, BINS_PER_SIDE, 1, 1)
    return shapes


def check_weights(weights: Weights, network: Network) -> None:
    """Check that the weights are exactly those of a network: no key missing or unknown, every shape right, all finite.

    Raises:
        CheckpointError: naming the key, what was got and what was expected.
    """
    if network.class_count < 1:
        raise CheckpointError(f"class count: got {network.class_count}, expected 1 or more")
    expected: dict[str, tuple[int, ...]] = {}
    for convolution in convolutions(network):
        folded = f"{convolution.name}.conv.bias" in weights
        expected |= convolution.weight_shapes(folded=folded)
    name = network.description
    if missing := [key for key in expected if key not in weights]:
        raise CheckpointError(f"{missing[0]}: missing; {name} expects it ({len(missing)} missing: {shown(missing)})")
    fixed = dfl_key(network)
    unknown = [
        key for key in weights if key not in expected and key != fixed and not key.endswith(_SUFFIXES_NOT_NEEDED)
    ]
    if unknown:
        raise CheckpointError(f"{unknown[0]}: not a weight of {name} ({len(unknown)} unknown: {shown(unknown)})")
    for key, shape in expected.items():
        values = weights[key]
        if values.shape != shape:
            raise CheckpointError(f"{key}: got shape {values.shape}, expected {shape} for {name}")
        if values.dtype != np.float32:
            raise CheckpointError(f"{key}: got {values.dtype}, expected float32")
        if not np.isfinite(values).all():
            kind = "NaN" if np.isnan(values).any() else "infinite"
            count = int(values.size - np.isfinite(values).sum())
            raise CheckpointError(f"{key}: got {count} values that are not finite ({kind}), expected numbers")
    bins = None if fixed is None else weights.get(fixed)
    if bins is not None and not np.array_equal(bins.reshape(-1), np.arange(BINS_PER_SIDE)):
        raise CheckpointError(
            f"{fixed}: expected the fixed values 0 to {BINS_PER_SIDE - 1} ({BOX_CHANNELS} box channels)"
        )


def shown(keys: Iterable[str]) -> str:
    """The first few keys, each cut to a length that an error message can bear."""
    names = list(keys)
    listed = ", ".join(repr(name[:80]) for name in names[:_KEYS_SHOWN])
    return listed + (", ..." if len(names) > _KEYS_SHOWN else "")
