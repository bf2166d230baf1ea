"""Connected components and cleaned mask logits: against the definition, on masks of every shape and kind."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from rfkernels import _native, ops
from rfkernels.reference import connected_components as reference

SIZES = [(1, 1), (1, 9), (9, 1), (1, 64), (3, 63), (5, 65), (2, 128), (37, 91), (64, 64), (255, 257)]
DENSITIES = [0.03, 0.3, 0.41, 0.5, 0.59, 0.9]  # 0.41 and 0.59 are where 8- and 4-connected components begin to span


def spiral(height, width):
    """A path one pixel wide, one pixel apart from itself, from the corner to the middle."""
    mask = np.zeros((height, width), bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[0, 0] = True

    def free(row, column):
        return 0 <= row < height and 0 <= column < width and not mask[row, column]

    turns = 0
    while turns < 2:
        behind = (y + 2 * dy, x + 2 * dx)
        inside = 0 <= behind[0] < height and 0 <= behind[1] < width
        if free(y + dy, x + dx) and not (inside and mask[behind]):
            y, x = y + dy, x + dx
            mask[y, x] = True
            turns = 0
        else:
            dy, dx = dx, -dy
            turns += 1
    return mask


def checkerboard(height, width):
    return np.indices((height, width)).sum(axis=0) % 2 == 0


def comb(height, width):
    """Teeth that meet in the last row alone: each is a component until then."""
    mask = np.zeros((height, width), bool)
    mask[:, ::2] = True
    mask[-1] = True
    return mask


def snake(height, width):
    """Rows joined at their ends, now here, now there: a snake."""
    mask = np.zeros((height, width), bool)
    mask[::2] = True
    mask[1::4, -1] = True
    mask[3::4, 0] = True
    return mask


def diagonals(height, width):
    return (np.arange(width) + 2 * np.arange(height)[:, None]) % 3 == 0


def frame(height, width):
    mask = np.ones((height, width), bool)
    mask[1:-1, 1:-1] = False
    return mask


SHAPES = {
    "none": lambda height, width: np.zeros((height, width), bool),
    "all": lambda height, width: np.ones((height, width), bool),
    "spiral": spiral,
    "checkerboard": checkerboard,
    "comb": comb,
    "comb upside down": lambda height, width: comb(height, width)[::-1],
    "comb on its side": lambda height, width: comb(width, height).T,
    "snake": snake,
    "snake on its side": lambda height, width: snake(width, height).T,
    "diagonals": diagonals,
    "frame": frame,
}


def assert_equals_the_definition(masks):
    actual = ops.connected_components(masks)
    expected = reference.connected_components(np.asarray(masks))
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.dtype == np.int32
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_definition(shape, height, width, instruction_set):
    mask = SHAPES[shape](height, width)
    assert mask.shape == (height, width)
    assert_equals_the_definition(mask)
    assert_equals_the_definition(~mask)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("density", DENSITIES)
def test_random_masks_equal_the_definition(height, width, density, instruction_set, rng):
    assert_equals_the_definition(rng.random((3, height, width)) < density)


def test_large_masks_equal_the_definition(instruction_set, rng):
    sparse = np.zeros((1080, 1920), np.uint8)
    sparse.ravel()[rng.choice(sparse.size, 3000, replace=False)] = rng.integers(1, 256, 3000)
    sparse[400:420, 100:1900] = 255
    sparse[:, 1919] = 1
    assert_equals_the_definition(sparse)


def test_definition_written_out():
    mask = np.array(
        [
            [0, 1, 0, 0, 1],
            [1, 0, 0, 1, 0],  # joined by corners
            [0, 0, 0, 0, 0],
            [1, 1, 0, 1, 1],
            [1, 1, 1, 1, 1],  # two that meet later are one, and named by its first pixel
        ],
        np.uint8,
    )
    labels, areas = ops.connected_components(7 * mask)
    assert labels.tolist() == [
        [0, 2, 0, 0, 5],
        [2, 0, 0, 5, 0],
        [0, 0, 0, 0, 0],
        [16, 16, 0, 16, 16],
        [16, 16, 16, 16, 16],
    ]
    assert areas.tolist() == [[0, 2, 0, 0, 2], [2, 0, 0, 2, 0], [0] * 5, [9, 9, 0, 9, 9], [9] * 5]
    for ours, theirs in zip((labels, areas), reference.connected_components(mask), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_labels_are_the_least_of_all_neighbours(rng):
    # What the definition says, without following any path: no label can be lowered, and each is some pixel's own.
    for density in DENSITIES:
        mask = rng.random((67, 130)) < density
        labels, areas = ops.connected_components(mask)
        assert ((labels > 0) == mask).all()
        far = np.pad(np.where(mask, labels, mask.size + 1), 1, constant_values=mask.size + 1)
        around = np.stack([far[y : y + 67, x : x + 130] for y in range(3) for x in range(3)])
        assert (around.min(axis=0)[mask] == labels[mask]).all()
        assert (labels.ravel()[labels[mask] - 1] == labels[mask]).all()
        assert (areas[mask] == np.bincount(labels[mask])[labels[mask]]).all()


@hypothesis.given(
    arrays.arrays(
        np.uint8,
        strategies.tuples(strategies.integers(1, 3), strategies.integers(1, 12), strategies.integers(1, 140)),
        elements=strategies.sampled_from([0, 0, 1, 2, 128, 255]),
        fill=strategies.sampled_from([0, 3]),
    )
)
def test_any_mask_equals_the_definition(masks):
    assert_equals_the_definition(masks)


def test_every_mask_of_a_stack_is_on_its_own(instruction_set, rng):
    masks = rng.random((7, 33, 70)) < np.linspace(0, 1, 7)[:, None, None]
    together = ops.connected_components(masks)
    for n, mask in enumerate(masks):
        for ours, alone in zip(together, ops.connected_components(mask), strict=True):
            np.testing.assert_array_equal(ours[n], alone)


def test_masks_of_any_layout(rng):
    masks = rng.integers(0, 2, (40, 30, 6), np.uint8)
    for laid_out in (masks.T, masks[::2, ::-1, 1:5], masks.astype(bool)[..., 0], masks[3].tolist()):
        given = np.asarray(laid_out, np.uint8) if isinstance(laid_out, list) else laid_out
        assert_equals_the_definition(given)


def test_no_masks():
    labels, areas = ops.connected_components(np.zeros((0, 5, 6), bool))
    assert labels.shape == areas.shape == (0, 5, 6)
    assert ops.clean_mask_logits(np.zeros((0, 5, 6), np.float32), max_hole_area=3).shape == (0, 5, 6)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.zeros((4, 5), np.int32), r"masks has dtype int32 and shape \(4, 5\); give bool or uint8"),
        (np.zeros(5, np.uint8), r"masks has dtype uint8 and shape \(5,\)"),
        (np.zeros((1, 2, 4, 5), bool), r"masks has dtype bool and shape \(1, 2, 4, 5\)"),
        ("mask", "masks has dtype <U4"),
        (np.zeros((0, 5), np.uint8), "masks are 0 x 5 pixels; give sides from 1"),
        (np.zeros((3, 5, 0), np.uint8), "masks are 5 x 0 pixels; give sides from 1"),
    ],
)
def test_wrong_masks_are_refused(masks, message):
    with pytest.raises(ValueError, match=message):
        ops.connected_components(masks)


def some_logits(rng, shape):
    """Values on both sides of the thresholds, some of them on it, some not finite."""
    logits = rng.standard_normal(shape).astype(np.float32)
    chosen = rng.random(shape)
    for below, value in ((0.1, 0.25), (0.06, np.nan), (0.04, np.inf), (0.02, -np.inf)):
        logits[chosen < below] = value
    return logits


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("max_hole_area", "max_sprinkle_area"), [(0, 0), (1, 0), (0, 1), (4, 9), (2**40, 2**40)])
@pytest.mark.parametrize("threshold", [0.0, 0.25, -1.5])
def test_cleaning_equals_the_definition(
    height, width, max_hole_area, max_sprinkle_area, threshold, instruction_set, rng
):
    options = {"max_hole_area": max_hole_area, "max_sprinkle_area": max_sprinkle_area, "threshold": threshold}
    logits = some_logits(rng, (2, height, width))
    given = logits.copy()
    expected = reference.clean_mask_logits(logits, **options)
    np.testing.assert_array_equal(ops.clean_mask_logits(logits, **options), expected)
    np.testing.assert_array_equal(logits, given)
    if not max_hole_area and not max_sprinkle_area:
        assert expected.tobytes() == given.tobytes()

    np.testing.assert_array_equal(ops.clean_mask_logits(logits[1], **options), expected[1])
    out = np.full_like(logits, 77)
    ops.clean_mask_logits_into(out, logits, **options)
    np.testing.assert_array_equal(out, expected)
    ops.clean_mask_logits_into(logits, logits, **options)
    np.testing.assert_array_equal(logits, expected)


def test_cleaning_written_out():
    nan = np.nan
    logits = np.array(
        [
            [5, 5, 5, 0, nan, 1],  # the 1 is parted from all others
            [5, 0, 5, 5, nan, nan],  # a hole, and above it to the right one at the border
            [5, 5, 5, 5, 0, 0],
            [0, 0, 0, 0, 0, 0],
            [3, 0, 0, 0, 0, 2],  # two that hang together by a corner, as the background beside them does
            [0, 0, 0, 0, 2, 0],
        ],
        np.float32,
    )
    cleaned = ops.clean_mask_logits(logits, max_hole_area=1, max_sprinkle_area=2)
    expected = logits.copy()
    expected[0, 3] = expected[1, 1] = 10
    expected[0, 5] = expected[4, 0] = expected[4, 5] = expected[5, 4] = -10
    np.testing.assert_array_equal(cleaned, expected)
    only_holes = ops.clean_mask_logits(logits, max_hole_area=1)
    np.testing.assert_array_equal(only_holes, np.where(expected == 10, 10, logits))
    only_sprinkles = ops.clean_mask_logits(logits, max_sprinkle_area=2)
    np.testing.assert_array_equal(only_sprinkles, np.where(expected == -10, -10, logits))


def test_both_sides_are_those_of_the_logits_as_given():
    # A sprinkle of eight pixels around a hole of one: filled first, it would be one of nine, and stay.
    logits = np.full((7, 7), -4, np.float32)
    logits[2:5, 2:5] = 4
    logits[3, 3] = -4
    cleaned = ops.clean_mask_logits(logits, max_hole_area=1, max_sprinkle_area=8)
    expected = np.full((7, 7), -4, np.float32)
    expected[2:5, 2:5] = -10
    expected[3, 3] = 10
    np.testing.assert_array_equal(cleaned, expected)


@hypothesis.given(
    arrays.arrays(
        np.float32,
        strategies.tuples(strategies.integers(1, 9), strategies.integers(1, 140)),
        elements=strategies.sampled_from(np.array([-1, 0, 0.5, 1, np.nan], np.float32).tolist()),
        fill=strategies.sampled_from([-1.0, 1.0]),
    ),
    strategies.integers(0, 20),
    strategies.integers(0, 20),
    strategies.sampled_from([0.0, 0.5]),
)
def test_any_logits_equal_the_definition(logits, max_hole_area, max_sprinkle_area, threshold):
    options = {"max_hole_area": max_hole_area, "max_sprinkle_area": max_sprinkle_area, "threshold": threshold}
    np.testing.assert_array_equal(
        ops.clean_mask_logits(logits, **options), reference.clean_mask_logits(logits, **options)
    )


def test_logits_of_any_layout(rng):
    logits = some_logits(rng, (30, 40, 6))
    for laid_out in (logits.T, logits[::2, ::-1, 1:5], logits[..., 2]):
        expected = reference.clean_mask_logits(np.ascontiguousarray(laid_out), max_hole_area=3, max_sprinkle_area=5)
        actual = ops.clean_mask_logits(laid_out, max_hole_area=3, max_sprinkle_area=5)
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits": np.zeros((4, 5))}, r"logits has dtype float64 and shape \(4, 5\); give float32"),
        ({"logits": np.zeros((1, 1, 4, 5), np.float32)}, r"logits has dtype float32 and shape \(1, 1, 4, 5\)"),
        ({"logits": np.zeros((4, 0), np.float32)}, "logits are 4 x 0 pixels; give sides from 1"),
        ({"max_hole_area": -1}, "max_hole_area is -1; give pixels, or 0 to switch it off"),
        ({"max_sprinkle_area": -7}, "max_sprinkle_area is -7; give pixels, or 0 to switch it off"),
        ({"max_hole_area": 1.5}, "max_hole_area is 1.5; give a whole number"),
        ({"max_sprinkle_area": 2**63}, "max_sprinkle_area is 9223372036854775808; give a whole number of 64 bits"),
        ({"threshold": np.nan}, r"threshold is nan; give a number from -2\^24 to 2\^24"),
        ({"threshold": -np.inf}, "threshold is -inf; give a number"),
        ({"threshold": 2.0**24 + 2}, "threshold is 16777218.0+; give a number"),
        ({"threshold": "0"}, "threshold is '0'; give a number"),
    ],
)
def test_wrong_cleaning_is_refused(changes, message):
    given = {"logits": np.zeros((4, 5), np.float32), "max_hole_area": 3, "max_sprinkle_area": 3, "threshold": 2.0**24}
    ops.clean_mask_logits(**given)
    with pytest.raises(ValueError, match=message):
        ops.clean_mask_logits(**given | changes)


def test_memory_that_does_not_hold_the_results_is_refused():
    logits = np.zeros((2, 4, 5), np.float32)
    read_only = logits.copy()
    read_only.flags.writeable = False
    wider = np.zeros((2, 4, 10), np.float32)
    memory = np.zeros(2 * 4 * 5 + 4, np.float32)
    for out, given, message in (
        (np.zeros((2, 4, 5)), logits, r"out has dtype float64 and shape \(2, 4, 5\); give float32 \(2, 4, 5\)"),
        (np.zeros((1, 4, 5), np.float32), logits, r"out has dtype float32 and shape \(1, 4, 5\)"),
        (logits.tolist(), logits, "out is a list; give an array of float32"),
        (wider[:, :, ::2], logits, "out is not contiguous"),
        (read_only, logits, "out is read-only"),
        (memory[4:].reshape(2, 4, 5), memory[:-4].reshape(2, 4, 5), "out overlaps logits; give logits itself"),
        (memory[:-4].reshape(2, 4, 5), memory[4:].reshape(2, 4, 5), "out overlaps logits; give logits itself"),
    ):
        with pytest.raises(ValueError, match=message):
            ops.clean_mask_logits_into(out, given, max_hole_area=1)
    masks = np.zeros((2, 4, 5), np.uint8)
    labels = np.zeros((2, 4, 5), np.int32)
    read_only = labels.copy()
    read_only.flags.writeable = False
    for wrong, message in (
        ((labels[:1], labels, masks), r"labels has shape \(1, 4, 5\); give \[2, 4, 5\]"),
        ((labels, labels[0], masks), r"areas has shape \(4, 5\); give \[2, 4, 5\]"),
        ((labels, read_only, masks), "areas is read-only"),
        ((labels, labels, masks[0]), r"masks has 2 axes; give \[count, height, width\]"),
    ):
        with pytest.raises(ValueError, match=message):
            _native.connected_components_into(*wrong)


def test_the_definition_of_cleaning_is_what_the_components_say(rng):
    logits = some_logits(rng, (61, 67))
    cleaned = ops.clean_mask_logits(logits, max_hole_area=6, max_sprinkle_area=2, threshold=0.25)
    holes = ops.connected_components(logits <= np.float32(0.25)).areas
    sprinkles = ops.connected_components(logits > np.float32(0.25)).areas
    np.testing.assert_array_equal(cleaned == np.float32(10.25), (holes > 0) & (holes <= 6))
    np.testing.assert_array_equal(cleaned == np.float32(-9.75), (sprinkles > 0) & (sprinkles <= 2))
    changed = ~((cleaned == logits) | np.isnan(logits))
    np.testing.assert_array_equal(changed, (cleaned == np.float32(10.25)) | (cleaned == np.float32(-9.75)))
