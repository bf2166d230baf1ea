"""Masks of detections: against the definition, in every form, layout and convention."""

import numpy as np
import pytest

from rfkernels import _native, ops
from rfkernels.ops import Rectangle
from rfkernels.reference import masks as reference

# image, network's input
SIZES = [
    ((48, 64), (64, 64)),  # the padding ends on whole prototype pixels
    ((97, 61), (96, 64)),
    ((301, 203), (64, 96)),  # enlarged 25 times
    ((9, 13), (64, 64)),  # smaller than the prototypes: antialiased
    ((1, 1), (32, 32)),
    ((16, 16), (64, 64)),  # of the size of the prototypes
    ((96, 64), (64, 64)),  # as wide as the network's input, and higher
    ((16, 33), (64, 64)),  # as high as the prototypes, and wider
    ((1, 200), (64, 64)),  # nothing is left between the paddings
    ((200, 3), (64, 64)),
]
CONVENTIONS = ("v2", "ultralytics", "ultralytics_native")


def plan(image_size, network_size, convention):
    """(placement, grid of the op, grid of the definition)."""
    rounding = "truncate" if convention == "v2" else "half_to_even"
    placement = ops.plan_placement(*image_size, size=network_size, rounding=rounding)
    return placement, *grids(placement, image_size, network_size, convention)


def grids(placement, image_size, network_size, convention, factor=1.0):
    prototype_size = (network_size[0] // 4, network_size[1] // 4)
    sizes = {"image_size": image_size, "network_size": network_size, "prototype_size": prototype_size}
    actual = ops.plan_mask_grid(placement, **sizes, convention=convention, resolution_factor=factor)
    if convention == "v2":
        expected = reference.v2_grid(placement, **sizes, resolution_factor=factor)
    elif convention == "ultralytics":
        expected = reference.ultralytics_grid(network_size, prototype_size)
    else:
        expected = reference.ultralytics_native_grid(placement, **sizes)
    return actual, expected


def fields_of(grid):
    """A grid of the op in the order of those of the definition."""
    source = grid.source
    return reference.Grid(
        (grid.height, grid.width),
        (source.y, source.x),
        (source.height, source.width),
        grid.presampling,
        (grid.resized_height, grid.resized_width),
        (grid.top, grid.left),
        grid.cut_probabilities,
        (grid.box_top, grid.box_left),
        (grid.box_scale_y, grid.box_scale_x),
        (grid.box_offset_y, grid.box_offset_x),
    )


def smooth(rng, shape):
    """Random values that change slowly along the last two axes, so that masks are blobs."""
    coarse = rng.standard_normal((*shape[:-2], -(-shape[-2] // 3) + 1, -(-shape[-1] // 3) + 1)).astype(np.float32)
    fine = np.repeat(np.repeat(coarse, 3, axis=-2), 3, axis=-1)[..., : shape[-2], : shape[-1]]
    return np.ascontiguousarray(fine + 0.3 * rng.standard_normal(shape).astype(np.float32), np.float32)


def objects(rng, network_size, count, channels=32):
    """Prototypes, coefficients and boxes; some boxes reach beyond the network's input."""
    height, width = network_size
    prototypes = smooth(rng, (channels, height // 4, width // 4))
    coefficients = (rng.standard_normal((count, channels)) / channels**0.5).astype(np.float32)
    centres = rng.uniform(0, 1, (count, 2)) * (width, height)
    sides = rng.uniform(0.05, 1.2, (count, 2)) * (width, height)
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).astype(np.float32)
    return prototypes, coefficients, boxes


def assert_masks_equal(actual, expected, compared):
    """Equal but where the value that is compared with 0 is within 2e-6 of it: the sigmoid's last bits differ."""
    differs = actual != expected
    assert np.abs(compared[differs]).max(initial=0) <= 2e-6
    assert differs.sum() <= 1 + 1e-4 * differs.size


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("image_size", "network_size"), SIZES)
def test_equals_the_definition(image_size, network_size, convention, instruction_set, rng):
    _, actual_grid, expected_grid = plan(image_size, network_size, convention)
    assert fields_of(actual_grid) == expected_grid
    prototypes, coefficients, boxes = objects(rng, network_size, 12)
    expected, compared = reference.masks(prototypes, coefficients, boxes, expected_grid)
    actual = ops.masks_to_dense(prototypes[None], coefficients, boxes, actual_grid)
    assert actual.dtype == np.bool_
    if convention == "v2":
        assert_masks_equal(actual, expected, compared)
    else:
        np.testing.assert_array_equal(actual, expected)
    assert expected.any() or expected.size < 2000


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("image_size", "network_size"), SIZES)
def test_all_forms_hold_the_same_masks(image_size, network_size, convention, instruction_set, rng):
    grid = plan(image_size, network_size, convention)[1]
    prototypes, coefficients, boxes = objects(rng, network_size, 9)
    arguments = (prototypes[None], coefficients, boxes, grid)
    dense = ops.masks_to_dense(*arguments)
    bits = ops.masks_to_bits(*arguments)
    assert bits.shape == (9, grid.height, -(-grid.width // 8))
    np.testing.assert_array_equal(np.unpackbits(bits, axis=2, bitorder="little", count=grid.width), dense)
    if grid.width % 8:
        assert not (bits[:, :, -1] >> (grid.width % 8)).any()
    lengths = ops.masks_to_rle(*arguments)
    assert lengths.size == (grid.height, grid.width)
    assert lengths.counts == [reference.rle(mask) for mask in dense]
    areas = dense.sum(axis=(1, 2))
    np.testing.assert_array_equal(lengths.areas, areas)
    outlines = ops.masks_to_polygons(*arguments, contours="all")
    best = ops.masks_to_polygons(*arguments)
    np.testing.assert_array_equal(outlines.areas, areas)
    np.testing.assert_array_equal(best.areas, areas)
    for index, mask in enumerate(dense):
        expected = reference.contours(mask)
        assert_same_contours(outlines.contours_of(index), expected)
        most = expected[int(np.argmax([len(contour) for contour in expected]))] if expected else None
        assert_same_contours(best.contours_of(index), [] if most is None else [most])


def assert_same_contours(actual, expected):
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("channels", [1, 5, 8, 17, 32, 35])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_layout_of_prototypes_gives_the_same_masks(channels, dtype, instruction_set, rng):
    grid = plan((301, 203), (64, 96), "v2")[1]
    prototypes, coefficients, boxes = objects(rng, (64, 96), 8, channels)
    values = prototypes
    if dtype == "bfloat16":
        values = (prototypes.view(np.uint32) >> 16).astype(np.uint16)
        prototypes = (values.astype(np.uint32) << 16).view(np.float32)
    expected = ops.masks_to_dense(prototypes[None], coefficients, boxes, grid)
    assert expected.any()
    channels_last = np.ascontiguousarray(values.transpose(1, 2, 0))
    batch = np.stack([np.zeros_like(values), values, np.zeros_like(values)])
    wide = np.zeros((1, channels, 16, 24), values.dtype)
    wide[0] = values
    padded = np.zeros((16, 24, channels + 3), values.dtype)
    padded[..., :channels] = channels_last
    for layout in (
        values[None],
        channels_last.transpose(2, 0, 1)[None],
        batch[1:2],
        wide,
        padded[..., :channels].transpose(2, 0, 1)[None],
    ):
        np.testing.assert_array_equal(ops.masks_to_dense(layout, coefficients, boxes, grid), expected)


@pytest.mark.parametrize("mode", ["letterbox", "stretch", "center_crop"])
@pytest.mark.parametrize(
    ("convention", "factor"),
    [("v2", 1.0), ("v2", 0.6), ("v2", 0.0), ("ultralytics", 1.0), ("ultralytics_native", 1.0)],
)
def test_static_crops_and_reduced_sizes(mode, convention, factor, rng):
    image_size, network_size = (150, 211), (64, 96)
    crop = ops.StaticCrop(x_min=11, x_max=80, y_min=23, y_max=97)
    placement = ops.plan_placement(*image_size, size=network_size, mode=mode, static_crop=crop)
    actual_grid, expected_grid = grids(placement, image_size, network_size, convention, factor)
    assert fields_of(actual_grid) == expected_grid
    prototypes, coefficients, boxes = objects(rng, network_size, 8)
    expected, compared = reference.masks(prototypes, coefficients, boxes, expected_grid)
    actual = ops.masks_to_dense(prototypes[None], coefficients, boxes, actual_grid)
    assert_masks_equal(actual, expected, compared)
    assert expected.any()


def test_grids_equal_the_definition_for_many_sizes(rng):
    for _ in range(400):
        image_size = tuple(int(side) for side in np.exp(rng.uniform(0, 8.5, 2)))
        network_size = tuple(int(side) * 32 for side in rng.integers(1, 41, 2))
        for convention in CONVENTIONS:
            _, actual, expected = plan(image_size, network_size, convention)
            assert fields_of(actual) == expected, (image_size, network_size, convention)
        placement = ops.plan_placement(*image_size, size=network_size)
        actual, expected = grids(placement, image_size, network_size, "v2", float(rng.uniform()))
        assert fields_of(actual) == expected, (image_size, network_size)
        (left, right), (top, bottom) = np.sort(rng.choice(101, (2, 2), replace=False), axis=1).tolist()
        crop = ops.StaticCrop(x_min=left, x_max=right, y_min=top, y_max=bottom)
        try:
            placement = ops.plan_placement(*image_size, size=network_size, static_crop=crop)
        except ValueError:
            continue  # no pixel is left
        for convention, factor in (("v2", float(rng.uniform())), ("ultralytics_native", 1.0)):
            actual, expected = grids(placement, image_size, network_size, convention, factor)
            assert fields_of(actual) == expected, (image_size, network_size, crop, convention, factor)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_boxes_that_end_on_whole_pixels(convention):
    """Whether an edge is at a pixel or just beyond it hangs on how the way back to the image is rounded."""
    placement, actual_grid, expected_grid = plan((211, 301), (96, 64), convention)
    prototypes = np.ones((8, 24, 16), np.float32)
    edges = np.arange(1, 302) * (64 / 301)
    boxes = np.stack([np.zeros(301), np.zeros(301), edges, edges], axis=1)
    boxes[:, 1::2] += placement.top
    boxes = np.concatenate([boxes, np.nextafter(boxes, np.float32(100), dtype=np.float32)]).astype(np.float32)
    coefficients = np.ones((len(boxes), 8), np.float32)
    expected, _ = reference.masks(prototypes, coefficients, boxes, expected_grid)
    actual = ops.masks_to_dense(prototypes[None], coefficients, boxes, actual_grid)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(("left", "top"), [(63, 0), (0, 63), (63, 63), (62, 1)])
def test_images_placed_at_the_very_edge(left, top):
    crop = Rectangle(x=0, y=0, width=9, height=9)
    placement = ops.Placement(
        crop=crop, resized_width=1, resized_height=1, left=left, top=top, scale_x=1 / 9, scale_y=1 / 9
    )
    for convention in CONVENTIONS:
        actual, expected = grids(placement, (9, 9), (64, 64), convention)
        assert fields_of(actual) == expected


def test_an_image_of_the_size_of_the_prototypes_that_does_not_fill_the_network():
    crop = Rectangle(x=0, y=0, width=16, height=16)
    placement = ops.Placement(crop=crop, resized_width=32, resized_height=32, left=8, top=24, scale_x=2.0, scale_y=2.0)
    actual, expected = grids(placement, (16, 16), (64, 64), "ultralytics_native")
    assert fields_of(actual) == expected
    assert actual.source == Rectangle(x=2, y=6, width=8, height=8)


def test_a_centre_crop_sees_nothing_beyond_the_prototypes(rng):
    """Where the network saw only the middle of an image, there is no mask around that."""
    image_size, network_size = (64, 200), (64, 64)
    placement = ops.plan_placement(*image_size, size=network_size, mode="center_crop")
    assert placement.left < 0
    actual_grid, expected_grid = grids(placement, image_size, network_size, "v2")
    assert fields_of(actual_grid) == expected_grid
    prototypes = np.ones((32, 16, 16), np.float32)
    coefficients, boxes = np.ones((1, 32), np.float32), np.array([[-500, -500, 500, 500]], np.float32)
    actual = ops.masks_to_dense(prototypes[None], coefficients, boxes, actual_grid)[0]
    expected, compared = reference.masks(prototypes, coefficients, boxes, expected_grid)
    assert_masks_equal(actual[None], expected, compared)
    columns = np.flatnonzero(actual.any(axis=0))
    assert actual.any()
    assert 60 <= columns[0] < columns[-1] <= 140


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(
    "box",
    [
        (10, 10, 10, 30),  # no area
        (30, 10, 10, 30),  # the wrong way round
        (-50, -50, -10, -10),  # outside
        (500, 500, 600, 600),
        (np.nan, 10, 30, 30),
        (10, 10, 30, np.nan),
        (10, 10, np.inf, 30),
        (-np.inf, 10, 30, 30),
        (10.2, 10.2, 10.3, 10.3),  # between two pixels
    ],
)
def test_a_box_without_pixels_gives_an_empty_mask(box, convention, rng):
    grid = plan((97, 61), (96, 64), convention)[1]
    prototypes = np.ones((1, 32, 24, 16), np.float32)
    coefficients, boxes = np.ones((1, 32), np.float32), np.array([box], np.float32)
    assert not ops.masks_to_dense(prototypes, coefficients, boxes, grid).any()
    assert not ops.masks_to_bits(prototypes, coefficients, boxes, grid).any()
    lengths = ops.masks_to_rle(prototypes, coefficients, boxes, grid)
    assert lengths.counts == [reference.rle(np.zeros((grid.height, grid.width), bool))]
    polygons = ops.masks_to_polygons(prototypes, coefficients, boxes, grid)
    assert polygons.contours_of(0) == []
    assert polygons.areas.tolist() == [0]


@pytest.mark.parametrize("value", [np.nan, -np.inf, -1e38])
def test_values_that_are_no_numbers_are_outside(value):
    for convention in CONVENTIONS:
        grid = plan((97, 61), (96, 64), convention)[1]
        prototypes = np.ones((1, 32, 24, 16), np.float32)
        coefficients = np.ones((2, 32), np.float32)
        coefficients[0, 3] = value
        boxes = np.array([[0, 0, 64, 96]] * 2, np.float32)
        masks = ops.masks_to_dense(prototypes, coefficients, boxes, grid)
        assert not masks[0].any()
        assert masks[1].any()


def test_no_detections(rng):
    grid = plan((97, 61), (96, 64), "v2")[1]
    arguments = (np.ones((1, 32, 24, 16), np.float32), np.empty((0, 32), np.float32), np.empty((0, 4), np.float32))
    assert ops.masks_to_dense(*arguments, grid).shape == (0, 97, 61)
    assert ops.masks_to_bits(*arguments, grid).shape == (0, 97, 8)
    assert ops.masks_to_rle(*arguments, grid).counts == []
    polygons = ops.masks_to_polygons(*arguments, grid)
    assert polygons.points.shape == (0, 2)
    assert polygons.first_contours.tolist() == [0]


def test_memory_of_the_callers(rng):
    grid = plan((97, 61), (96, 64), "v2")[1]
    prototypes, coefficients, boxes = objects(rng, (96, 64), 5)
    expected = ops.masks_to_dense(prototypes[None], coefficients, boxes, grid)
    for dtype in (np.bool_, np.uint8):
        out = np.ones((5, 97, 61), dtype)
        ops.masks_to_dense_into(out, prototypes[None], coefficients, boxes, grid)
        np.testing.assert_array_equal(out, expected)
    with pytest.raises(ValueError, match=r"out must be uint8 \[5, 97, 61\]"):
        ops.masks_to_dense_into(np.empty((5, 61, 97), np.bool_), prototypes[None], coefficients, boxes, grid)
    with pytest.raises(ValueError, match="out has dtype float32"):
        ops.masks_to_dense_into(np.empty((5, 97, 61), np.float32), prototypes[None], coefficients, boxes, grid)
    with pytest.raises(ValueError, match="out is not contiguous"):
        ops.masks_to_dense_into(
            np.empty((5, 97, 122), np.bool_)[:, :, ::2], prototypes[None], coefficients, boxes, grid
        )


class TestErrors:
    placement = ops.plan_placement(97, 61, size=(96, 64))
    grid = ops.plan_mask_grid(placement, image_size=(97, 61), network_size=(96, 64), prototype_size=(24, 16))
    prototypes = np.ones((1, 32, 24, 16), np.float32)
    coefficients = np.ones((2, 32), np.float32)
    boxes = np.array([[0, 0, 64, 96]] * 2, np.float32)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"prototypes": np.ones((2, 32, 24, 16), np.float32)}, r"prototypes has shape \[2, 32, 24, 16\]"),
            ({"prototypes": np.ones((32, 24, 16), np.float32)}, "prototypes has 3 axes; give 4"),
            ({"prototypes": np.ones((1, 32, 16, 24), np.float32)}, "grid is planned for 24 x 16"),
            ({"prototypes": np.ones((1, 32, 24, 16), np.float64)}, "prototypes has dtype float64"),
            ({"prototypes": np.ones((1, 32, 48, 16), np.float32)[:, :, ::2]}, "neither channel by channel"),
            ({"coefficients": np.ones((2, 31), np.float32)}, "coefficients and boxes do not fit"),
            ({"coefficients": np.ones((3, 32), np.float32)}, "coefficients and boxes do not fit"),
            ({"coefficients": np.ones((2, 32))}, "coefficients has dtype float64; give float32"),
            ({"boxes": np.ones((2, 5), np.float32)}, "coefficients and boxes do not fit"),
            ({"boxes": np.ones((2, 4), np.int64)}, "boxes has dtype int64; give float32"),
            ({"boxes": np.float32(1)}, "boxes has 0 axes; give 2"),
        ],
    )
    def test_of_what_masks_are_made_of(self, change, message):
        given = {"prototypes": self.prototypes, "coefficients": self.coefficients, "boxes": self.boxes} | change
        for op in (ops.masks_to_polygons, ops.masks_to_rle, ops.masks_to_bits, ops.masks_to_dense):
            with pytest.raises(ValueError, match=message):
                op(**given, grid=self.grid)

    def test_of_contours(self):
        with pytest.raises(ValueError, match='contours is \'largest\'; give "most_points" or "all"'):
            ops.masks_to_polygons(self.prototypes, self.coefficients, self.boxes, self.grid, contours="largest")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"image_size": (0, 61)}, "image height is 0"),
            ({"network_size": (96, -1)}, "network width is -1"),
            ({"prototype_size": (24, 0)}, "prototype width is 0"),
            ({"image_size": (96, 61)}, "placement.crop reaches beyond the image"),
            ({"resolution_factor": 1.5}, "resolution_factor is 1.5"),
            ({"resolution_factor": float("nan")}, "resolution_factor is nan"),
            ({"resolution_factor": "1"}, "resolution_factor is '1'; give a number"),
            ({"resolution_factor": 0.5, "convention": "ultralytics"}, "only the convention v2"),
            ({"convention": "yolo"}, "convention is 'yolo'"),
            ({"image_size": (97.5, 61)}, r"image_size\[0\] is 97.5; give a whole number"),
            ({"network_size": (96,)}, r"network_size is \(96,\); give two whole numbers"),
            ({"prototype_size": 24}, "prototype_size is 24; give two whole numbers"),
        ],
    )
    def test_of_grids(self, change, message):
        given = {"image_size": (97, 61), "network_size": (96, 64), "prototype_size": (24, 16)} | change
        with pytest.raises(ValueError, match=message):
            ops.plan_mask_grid(self.placement, **given)

    def test_of_images_too_large(self):
        side = 1 << 17
        placement = ops.Placement(
            crop=Rectangle(x=0, y=0, width=side, height=side),
            resized_width=64,
            resized_height=64,
            left=0,
            top=0,
            scale_x=0.001,
            scale_y=0.001,
        )
        with pytest.raises(ValueError, match="is too large; an image may have less than 2\\^31 pixels"):
            ops.plan_mask_grid(placement, image_size=(side, side), network_size=(64, 64), prototype_size=(16, 16))

    @pytest.mark.parametrize("axis", ["left", "top"])
    @pytest.mark.parametrize("convention", ["v2", "ultralytics_native"])
    def test_of_placements_far_from_the_network(self, axis, convention):
        # Of 3,000 prototypes for a single pixel of the network: the picture lies three thousand million of them away.
        far = 1 << 20
        placement = ops.Placement(
            crop=Rectangle(x=0, y=0, width=1, height=1),
            resized_width=far if axis == "left" else 1,
            resized_height=far if axis == "top" else 1,
            left=-far if axis == "left" else 0,
            top=-far if axis == "top" else 0,
            scale_x=1.0,
            scale_y=1.0,
        )
        size = (1, 3000) if axis == "left" else (3000, 1)
        with pytest.raises(ValueError, match=f"placement.{axis} puts the image on pixels -3145728000 to"):
            ops.plan_mask_grid(
                placement, image_size=(1, 1), network_size=(1, 1), prototype_size=size, convention=convention
            )


@pytest.mark.parametrize("name", ["prototypes", "coefficients", "boxes"])
def test_masks_over_what_they_are_made_of_are_refused(name, rng):
    grid = plan((9, 13), (64, 64), "v2")[1]
    prototypes, coefficients, boxes = objects(rng, (64, 64), 5)
    arrays = {"prototypes": prototypes[None], "coefficients": coefficients, "boxes": boxes}
    dense, bits = (5, grid.height, grid.width), (5, grid.height, (grid.width + 7) // 8)
    expected = ops.masks_to_dense(*arrays.values(), grid)
    array = arrays[name]
    memory = np.zeros(array.nbytes + 2 * expected.size + 3, np.uint8)
    begin = -(-expected.size // 4) * 4
    end = begin + array.nbytes
    inside = memory[begin:end].view(np.float32).reshape(array.shape)
    inside[:] = array
    given = (*(arrays | {name: inside}).values(), grid)
    for place in (begin - expected.size + 1, begin, end - 1):
        with pytest.raises(ValueError, match=f"^out overlaps {name}; give it memory of its own"):
            ops.masks_to_dense_into(memory[place : place + expected.size].reshape(dense), *given)
    for place in (begin - int(np.prod(bits)) + 1, begin, end - 1):
        with pytest.raises(ValueError, match=f"^out overlaps {name}; give it memory of its own"):
            _native.masks_to_bits_into(memory[place : place + int(np.prod(bits))].reshape(bits), *given)
    np.testing.assert_array_equal(inside, array)
    for place in (begin - expected.size, end):
        out = memory[place : place + expected.size].reshape(dense)
        ops.masks_to_dense_into(out, *given)
        np.testing.assert_array_equal(out, expected)
