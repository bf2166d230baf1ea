"""Pictures of responses: what is painted where, against the geometry itself. The look of it is supervision's."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as PillowImage

import rfkernels
from rfkernels import ops, schema
from rfkernels.cli.main import main
from rfkernels.images import Image
from rfkernels.tasks.drawing import draw_response, encode_jpeg
from rfkernels.tasks.supervision_package import label_font, require_supervision

HEIGHT, WIDTH = 90, 120
GREY = 100


def grey(height=HEIGHT, width=WIDTH):
    return Image(np.full((height, width, 3), GREY, np.uint8), "bgr")


def size_of(image):
    return schema.InferenceResponseImage(width=image.width, height=image.height)


def painted(image, response, **options):
    """Where the picture is no longer that of the image, bool [height, width]."""
    picture = draw_response(image, response, **{"labels": False, "stroke_width": 1, **options})
    assert picture.mode == "RGB"
    assert picture.size == (image.width, image.height)
    rgb = image.pixels if image.color_order == "rgb" else image.pixels[..., ::-1]
    return (np.asarray(picture) != rgb).any(axis=-1)


def fields(x=60.0, y=45.0, width=40.0, height=30.0, *, confidence=0.5, class_name="star", class_id=0):
    return {
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "confidence": confidence,
        "class_name": class_name,
        "class_id": class_id,
    }


def detections(image, *objects):
    predictions = [schema.ObjectDetectionPrediction(**one) for one in objects]
    return schema.ObjectDetectionInferenceResponse(image=size_of(image), predictions=predictions)


def colour_of(class_id):
    """RGB, by supervision's own palette."""
    palette = require_supervision().ColorPalette.DEFAULT
    return palette.by_idx(class_id).as_rgb()


def box_outline(first_x, first_y, last_x, last_y, height=HEIGHT, width=WIDTH):
    outline = np.zeros((height, width), bool)
    columns, rows = np.arange(width), np.arange(height)[:, None]
    inside = (columns >= first_x) & (columns <= last_x) & (rows >= first_y) & (rows <= last_y)
    within = (columns > first_x) & (columns < last_x) & (rows > first_y) & (rows < last_y)
    outline[:] = inside & ~within
    return outline


# Boxes


@pytest.mark.parametrize(
    ("box", "corners"),
    [
        ((60, 45, 40, 30), (40, 30, 79, 59)),
        ((60, 45, 120, 90), (0, 0, 119, 89)),  # the whole picture: all four sides are seen
        ((0, 45, 40, 30), (-20, 30, 19, 59)),  # partly outside: its left side is not drawn
        ((119, 89, 30, 30), (104, 74, 133, 103)),
        ((60, 45, 0, 0), (60, 45, 60, 45)),
        ((60, 45, 0, 30), (60, 30, 60, 59)),
        ((60.25, 45.25, 40, 30), (40, 30, 80, 60)),  # any pixel that it touches
        ((60, 45, 1e12, 30), (-1e6, 30, 1e6, 59)),
        ((-500, 45, 40, 30), (-520, 30, -481, 59)),
        ((60, 1e300, 40, 30), (40, 1e6, 79, 2e6)),
    ],
)
def test_a_box_is_the_outline_of_its_pixels(box, corners):
    image = grey()
    np.testing.assert_array_equal(painted(image, detections(image, fields(*box))), box_outline(*corners))


def test_a_class_has_its_colour_of_the_palette_in_either_order_of_channels():
    bgr = np.full((HEIGHT, WIDTH, 3), (200, 20, 90), np.uint8)
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    for class_id in (0, 5, 21, 10**30, -1):
        response = detections(grey(), fields(class_id=class_id))
        pictures = [
            np.asarray(draw_response(Image(pixels, order), response)) for pixels, order in ((bgr, "bgr"), (rgb, "rgb"))
        ]
        np.testing.assert_array_equal(*pictures)
        assert tuple(pictures[0][-1, -1]) == (90, 20, 200)
        assert tuple(pictures[0][50, 40]) == colour_of(class_id % 21)
    assert (bgr == (200, 20, 90)).all()  # the image is left as it was
    assert colour_of(0) != colour_of(5)


def test_the_surest_is_on_top_in_whatever_order_they_are():
    image = grey()
    sure, unsure = fields(confidence=0.9, class_id=1), fields(confidence=0.2, class_id=2)
    for objects in ([sure, unsure], [unsure, sure]):
        picture = draw_response(image, detections(image, *objects), labels=False)
        assert picture.getpixel((40, 45)) == colour_of(1)


@pytest.mark.parametrize("stroke_width", [-(2**70), 0, 1, 2, 7, 2**70])
def test_any_stroke_width_is_drawn_and_leaves_something_of_the_box(stroke_width):
    image = grey()
    changed = painted(image, detections(image, fields()), stroke_width=stroke_width)
    assert changed[45, 40]
    assert not changed[45, 60]
    assert (changed.sum() == box_outline(40, 30, 79, 59).sum()) == (stroke_width <= 1)


def test_wide_strokes_are_drawn_on_both_sides_of_the_line():
    image = grey()
    changed = painted(image, detections(image, fields()), stroke_width=7)
    for outside, inside in (((45, 38), (45, 42)), ((45, 81), (45, 77)), ((28, 60), (32, 60)), ((61, 60), (57, 60))):
        assert changed[outside]
        assert changed[inside]
    dot = painted(image, pose(image, {0: (60, 59)}), stroke_width=4)
    assert dot[59:63, 60].all()


def test_an_absurd_stroke_is_no_wider_than_the_limit():
    # What takes minutes with a stroke that is not limited: an outline of many points, each a disc of so many pixels.
    image = grey(3000, 3000)
    wide = painted(image, detections(image, fields(1500, 1500, 2800, 2800)), stroke_width=2**40)
    assert not wide[1500, 100 + 300]
    assert wide[1500, 100 + 100]


# Labels


def test_labels_are_above_the_box_or_within_the_picture():
    image = grey()
    with_label, without = (painted(image, detections(image, fields()), labels=wanted) for wanted in (True, False))
    rows, columns = np.nonzero(with_label & ~without)
    assert len(rows) > 200
    assert rows.max() <= 30
    assert columns.min() >= 40
    # At the top of the picture there is no room above, and at its right none beside.
    corner = painted(image, detections(image, fields(110, 10, 20, 20)), labels=True)
    rows, columns = np.nonzero(corner)
    assert corner[:4, 119].any()
    assert columns.min() < 80  # moved to the left


@pytest.mark.parametrize("box", [(-500, 45, 40, 30), (60, -100, 40, 30), (141, 45, 40, 30), (60, 106, 40, 30)])
def test_what_is_outside_the_picture_has_no_label(box):
    image = grey()
    assert not painted(image, detections(image, fields(*box)), labels=True).any()


@pytest.mark.parametrize("other", ["stаr", "Stern", "ster", "stär", "σταρ", "نجم"])
def test_names_of_other_letters_are_other_labels(other):
    # The first has a Cyrillic letter that looks like the Latin one: it is drawn, and alike.
    image = grey()
    pictures = [draw_response(image, detections(image, fields(class_name=name))).tobytes() for name in ("star", other)]
    assert (pictures[0] == pictures[1]) == (other == "stаr")


def test_letters_beyond_ascii_have_a_shape_of_their_own():
    from PIL import ImageFont

    font = ImageFont.truetype(label_font(), 20)
    missing = bytes(font.getmask("\uffff"))
    assert [letter for letter in "äñßжЩΩשع€…�" if bytes(font.getmask(letter)) == missing] == []


@pytest.mark.parametrize("name", ["", "a\nb", "\x00\x1b[31m", "\ud800", "中文", "x" * 10**6, "👩‍👩‍👧", "  "])
def test_any_name_is_one_line(name):
    image = grey()
    changed = painted(image, detections(image, fields(class_name=name)), labels=True)
    assert changed[30 - 24 : 30].any()
    assert not changed[: 30 - 24].any()


# Masks


def blob(height, width, *, seed=3):
    """A mask of one part without holes: the union of a disc and a bar through it."""
    rows, columns = np.mgrid[:height, :width] + np.random.default_rng(seed).random((2, 1, 1))
    disc = np.hypot((rows - height / 2) / height, (columns - width / 2) / width) < 0.25
    bar = (abs(rows - height / 2) < height / 12 + 1) & (columns > width / 8) & (columns < width * 7 / 8)
    return disc | bar


def box_fields(mask, scale=(1.0, 1.0)):
    rows, columns = np.nonzero(mask)
    x1, x2, y1, y2 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    return fields((x1 + x2) / 2, (y1 + y2) / 2, float(x2 - x1), float(y2 - y1))


def polygon_of(mask, **changes):
    (contour,) = ops.find_contours(mask, contours="most_points")
    points = [schema.Point(float(x), float(y)) for x, y in contour]
    return schema.InstanceSegmentationPrediction(**box_fields(mask) | changes, points=points)


def rle_of(mask, **changes):
    encoded = {"size": list(mask.shape), "counts": ops.encode_rle(mask)}
    return schema.InstanceSegmentationRLEPrediction(**box_fields(mask) | changes, rle=encoded)


def segmentation(image, *predictions):
    return schema.InstanceSegmentationInferenceResponse(image=size_of(image), predictions=list(predictions))


def on_a_grid(image, grid, scale, *predictions):
    """grid: height and width; scale: rows and columns of the image to one of the grid."""
    height, width = grid
    return schema.InstanceSegmentationInferenceResponse(
        image=schema.InferenceResponseImage(width=width, height=height),
        original_image=size_of(image),
        mask_metadata=schema.MaskCoordinateMetadata(width=width, height=height, scale_x=scale[1], scale_y=scale[0]),
        predictions=list(predictions),
    )


def outline_of_box(mask):
    rows, columns = np.nonzero(mask)
    return box_outline(columns.min(), rows.min(), columns.max(), rows.max(), *mask.shape)


@pytest.mark.parametrize("form", [polygon_of, rle_of])
@pytest.mark.parametrize(("height", "width"), [(90, 120), (37, 91), (9, 9), (200, 17)])
def test_a_mask_is_painted_on_its_pixels_and_no_others(form, height, width):
    image, mask = grey(height, width), blob(height, width)
    changed = painted(image, segmentation(image, form(mask)))
    np.testing.assert_array_equal(changed, mask | outline_of_box(mask))


@pytest.mark.parametrize("stroke_width", [1, 3])
def test_both_forms_of_a_mask_are_the_same_picture(stroke_width):
    image, mask = grey(), blob(HEIGHT, WIDTH)
    pictures = [
        draw_response(image, segmentation(image, form(mask)), stroke_width=stroke_width).tobytes()
        for form in (polygon_of, rle_of)
    ]
    assert pictures[0] == pictures[1]


def test_a_mask_is_translucent_and_its_outline_is_not():
    image, mask = grey(), blob(HEIGHT, WIDTH)
    picture = draw_response(image, segmentation(image, rle_of(mask, class_id=3)), labels=False, stroke_width=1)
    halfway = (np.array(colour_of(3)) + GREY) / 2
    np.testing.assert_allclose(picture.getpixel((60, 45)), halfway, rtol=0, atol=1)
    column, row = ops.find_contours(mask)[0][0]
    assert picture.getpixel((int(column), int(row))) == colour_of(3)


def test_an_rle_may_have_several_parts_and_holes():
    image, mask = grey(), np.zeros((HEIGHT, WIDTH), bool)
    mask[10:40, 10:50] = mask[60:80, 70:110] = True
    mask[20:30, 20:40] = False
    changed = painted(image, segmentation(image, rle_of(mask)))
    np.testing.assert_array_equal(changed, mask | outline_of_box(mask))


@pytest.mark.parametrize("points", [[(7, 5)], [(7, 5), (9, 5)], [(119, 89)], [(0, 0), (0, 3)]])
def test_outlines_of_one_or_two_points_are_drawn(points):
    # So small are the contours of masks of a pixel or a line.
    image = grey()
    prediction = schema.InstanceSegmentationPrediction(
        **fields(60, 45, 4, 4), points=[schema.Point(float(x), float(y)) for x, y in points]
    )
    changed = painted(image, segmentation(image, prediction))
    assert all(changed[y, x] for x, y in points)
    assert changed.sum() == box_outline(58, 43, 61, 46).sum() + max(map(max, np.ptp(points, axis=0)[None])) + 1


@pytest.mark.parametrize("form", ["polygon", "rle"])
def test_an_empty_mask_leaves_the_box(form):
    image = grey()
    if form == "polygon":
        prediction = schema.InstanceSegmentationPrediction(**fields(), points=[])
    else:
        empty = {"size": [HEIGHT, WIDTH], "counts": ops.encode_rle(np.zeros((HEIGHT, WIDTH), bool))}
        prediction = schema.InstanceSegmentationRLEPrediction(**fields(), rle=empty)
    np.testing.assert_array_equal(painted(image, segmentation(image, prediction)), box_outline(40, 30, 79, 59))


@pytest.mark.parametrize("form", [polygon_of, rle_of])
@pytest.mark.parametrize("grid", [(90, 120), (45, 60), (30, 50), (37, 41), (180, 240)])
def test_a_mask_grid_is_scaled_back_to_the_picture(form, grid):
    image, mask = grey(), blob(*grid)
    scale_y, scale_x = HEIGHT / grid[0], WIDTH / grid[1]
    changed = painted(image, on_a_grid(image, grid, (scale_y, scale_x), form(mask)))
    rows = ((np.arange(HEIGHT) + 0.5) / scale_y).astype(int)
    columns = ((np.arange(WIDTH) + 0.5) / scale_x).astype(int)
    expected = mask[rows[:, None], columns]
    assert changed[expected].all()
    # Besides there is the box of the grid, scaled.
    rows, columns = np.nonzero(mask)
    x1, x2, y1, y2 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    first, last = np.floor([x1 * scale_x, y1 * scale_y]), np.ceil([x2 * scale_x, y2 * scale_y]) - 1
    box = box_outline(*first, *last)
    np.testing.assert_array_equal(changed, expected | box)


def test_a_scale_beyond_the_picture_costs_no_memory():
    image, mask = grey(), blob(30, 40)
    assert not painted(image, on_a_grid(image, mask.shape, (1e300, 1e300), rle_of(mask))).any()


# Keypoints


def pose(image, points, **changes):
    """points: {class id: (x, y)}."""
    keypoints = [schema.Keypoint(float(x), float(y), 0.9, index, f"point {index}") for index, (x, y) in points.items()]
    prediction = schema.KeypointsPrediction(**fields(**changes), keypoints=keypoints)
    return schema.KeypointsDetectionInferenceResponse(image=size_of(image), predictions=[prediction])


def distance_to_segment(start, end):
    """Of each pixel, float [height, width]."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    start, end = np.array(start, float), np.array(end, float)
    pixels = np.stack([columns, rows], axis=-1) - start
    along = np.clip(pixels @ (end - start) / max((end - start) @ (end - start), 1e-9), 0, 1)
    return np.linalg.norm(pixels - along[..., None] * (end - start), axis=-1)


BOX = box_outline(40, 30, 79, 59)


def test_edges_join_the_keypoints_that_are_there():
    image, points = grey(), {0: (45, 35), 2: (75, 37), 16: (60, 55)}
    # 1 is not in the response, which lists 2 in the second place: class ids tell them apart, not places.
    skeleton = {0: [(0, 2), (2, 16), (0, 1), (1, 16)], 1: [(0, 16)]}
    changed = painted(image, pose(image, points), skeletons=skeleton)
    near_points = np.min([distance_to_segment(point, point) for point in points.values()], axis=0)
    edges = [distance_to_segment(points[start], points[end]) for start, end in ((0, 2), (2, 16))]
    assert changed[near_points < 1.5].all()
    for edge in edges:
        assert changed[edge < 0.35].all()
    nothing = (np.min([near_points - 2, *edges], axis=0) > 1.5) & ~BOX
    assert not changed[nothing].any()
    # Between 0 and 16, whose edge is another class's, there is nothing.
    assert not changed[45, 52:54].any()


@pytest.mark.parametrize("skeletons", [None, {}, {7: [(0, 1)]}, {0: []}, {0: [(0, 99), (-1, 0)]}])
def test_without_edges_of_the_class_there_are_points_alone(skeletons):
    # 17 points: supervision would take an empty list for leave to draw a skeleton that it knows.
    image, points = grey(), {index: (42 + index * 2, 45 + index % 5 * 2) for index in range(17)}
    alone = painted(image, pose(image, points))
    np.testing.assert_array_equal(painted(image, pose(image, points), skeletons=skeletons), alone)
    near_points = np.min([distance_to_segment(point, point) for point in points.values()], axis=0)
    assert not alone[(near_points > 3) & ~BOX].any()


def test_keypoints_at_the_corner_and_outside_are_drawn_where_they_are():
    image, skeletons = grey(), {0: [(0, 1)]}
    changed = painted(image, pose(image, {0: (0, 0), 1: (30, 15)}), skeletons=skeletons)
    assert changed[0, 0]
    edge = distance_to_segment((0, 0), (30, 15))
    assert changed[edge < 0.35].all()
    outside = painted(image, pose(image, {0: (-60, 20), 1: (30, 20)}), skeletons=skeletons)
    assert outside[20, :31].all()
    far = painted(image, pose(image, {0: (1e12, 20), 1: (90, 20)}), skeletons=skeletons)
    assert far[20, 90:].all()
    np.testing.assert_array_equal(painted(image, pose(image, {})), BOX)


# Classification


def classified(image, *classes):
    predictions = [
        schema.ClassificationPrediction(class_name=name, class_id=class_id, confidence=confidence)
        for name, class_id, confidence in classes
    ]
    top, confidence = (classes[0][0], classes[0][2]) if classes else ("", 0.0)
    return schema.ClassificationInferenceResponse(
        image=size_of(image), predictions=predictions, top=top, confidence=confidence
    )


def test_a_classified_picture_has_a_frame_and_the_label_of_the_best_class():
    image, frame = grey(), box_outline(0, 0, WIDTH - 1, HEIGHT - 1)
    response = classified(image, ("goose", 4, 0.875), ("duck", 5, 0.1))
    np.testing.assert_array_equal(painted(image, response), frame)
    picture = draw_response(image, response, stroke_width=1)
    assert picture.getpixel((WIDTH - 1, HEIGHT - 1)) == colour_of(4)
    assert (np.asarray(picture)[:20, :60] == colour_of(4)).all(axis=-1).sum() > 300
    rows, columns = np.nonzero(painted(image, response, labels=True) & ~frame)
    assert rows.max() < 24
    assert columns.min() == 1
    # Another class further down changes nothing.
    assert draw_response(image, classified(image, ("goose", 4, 0.875)), stroke_width=1).tobytes() == picture.tobytes()
    assert not painted(image, classified(image), labels=True).any()


def multi_label(image, predicted, **classes):
    predictions = {
        name: schema.MultiLabelClassificationPrediction(class_id=class_id, confidence=confidence)
        for name, (class_id, confidence) in classes.items()
    }
    return schema.MultiLabelClassificationInferenceResponse(
        image=size_of(image), predictions=predictions, predicted_classes=predicted
    )


def test_several_classes_have_labels_one_below_the_other_the_surest_first():
    image = grey()
    classes = {"goose": (4, 0.7), "pond": (6, 0.9), "fox": (8, 0.1)}
    picture = np.asarray(draw_response(image, multi_label(image, ["goose", "pond"], **classes), stroke_width=1))
    of_class = {
        class_id: np.nonzero((picture[:, 1:-1] == colour_of(class_id)).all(axis=-1)[1:-1])[0] for class_id in (4, 6, 8)
    }
    assert len(of_class[8]) == 0
    assert of_class[6].max() < of_class[4].min()
    assert not painted(image, multi_label(image, [], **classes), labels=True).any()
    many = {f"class {index}": (index, 0.9) for index in range(300)}
    assert painted(image, multi_label(image, list(many), **many), labels=True)[-2].any()
    with pytest.raises(rfkernels.InvalidArgumentError, match="'wolf' in predicted_classes"):
        draw_response(image, multi_label(image, ["wolf"], **classes))


# All of them

AWKWARD_SIZES = [(1, 1), (1, 4000), (4000, 1), (2, 3), (1, 65500)]


@pytest.mark.parametrize(("height", "width"), AWKWARD_SIZES)
def test_awkward_sizes(height, width):
    image, mask = grey(height, width), np.ones((height, width), bool)
    whole = fields(width / 2, height / 2, float(width), float(height))
    keypoint = schema.Keypoint(width - 1.0, height - 1.0, 0.5, 0, "end")
    start = schema.Keypoint(0.0, 0.0, 0.5, 1, "start")
    keypoints = schema.KeypointsPrediction(**whole, keypoints=[keypoint, start])
    responses = [
        detections(image, whole),
        segmentation(image, polygon_of(mask)),
        segmentation(image, rle_of(mask)),
        schema.KeypointsDetectionInferenceResponse(image=size_of(image), predictions=[keypoints]),
        classified(image, ("goose", 0, 0.5)),
        multi_label(image, ["goose"], goose=(0, 0.5)),
    ]
    for response in responses:
        for labels in (False, True):
            changed = painted(image, response, labels=labels, stroke_width=3, skeletons={0: [(0, 1)]})
            assert changed[0, 0]
            assert changed[-1, -1]
            with PillowImage.open(io.BytesIO(encode_jpeg(draw_response(image, response)))) as picture:
                assert picture.size == (width, height)


def test_nothing_found_is_the_picture_as_it_was():
    image = grey()
    for response in (
        detections(image),
        segmentation(image),
        schema.KeypointsDetectionInferenceResponse(image=size_of(image), predictions=[]),
    ):
        assert not painted(image, response, labels=True).any()


NOT_A_NUMBER = float("nan")


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (schema.ErrorResponse(message="no"), "response is a ErrorResponse"),
        (detections(grey(80, 120), fields()), "of 120 x 80 pixels, image has 120 x 90"),
        (detections(grey(), fields(NOT_A_NUMBER)), r"predictions\[0\] has coordinates that are not finite"),
        (pose(grey(), {0: (NOT_A_NUMBER, 1)}), r"predictions\[0\].keypoints has coordinates that are not finite"),
        (segmentation(grey(), rle_of(blob(9, 9))), r"predictions\[0\].rle is of the size \[9, 9\]"),
        (
            segmentation(
                grey(),
                schema.InstanceSegmentationRLEPrediction(**fields(), rle={"size": [HEIGHT, WIDTH], "counts": "!!"}),
            ),
            r"predictions\[0\].rle is damaged",
        ),
        (
            segmentation(
                grey(),
                schema.InstanceSegmentationPrediction(**fields(), points=[schema.Point(float("inf"), 0.0)] * 3),
            ),
            r"predictions\[0\].points has coordinates that are not finite",
        ),
        (
            segmentation(
                grey(),
                schema.InstanceSegmentationRLEPrediction(**fields(), rle={"size": [HEIGHT, WIDTH], "counts": "\ud800"}),
            ),
            r"predictions\[0\].rle is damaged",
        ),
        (
            on_a_grid(grey(), (9, 12), (1.0, NOT_A_NUMBER), rle_of(blob(9, 12))),
            "mask_metadata has the scales nan and 1.0",
        ),
        (on_a_grid(grey(), (9, 12), (0.0, 1.0), rle_of(blob(9, 12))), "mask_metadata has the scales 1.0 and 0.0"),
        (on_a_grid(grey(), (9, 12), (1.0, -1.0), rle_of(blob(9, 12))), "mask_metadata has the scales -1.0 and 1.0"),
    ],
)
def test_responses_that_cannot_be_drawn_are_refused(response, message):
    with pytest.raises(rfkernels.InvalidArgumentError, match=message):
        draw_response(grey(), response)


# The extra


@pytest.fixture
def without_supervision(monkeypatch):
    require_supervision.cache_clear()
    monkeypatch.setitem(sys.modules, "supervision", None)
    yield
    require_supervision.cache_clear()


@pytest.mark.usefixtures("without_supervision")
def test_a_missing_extra_is_named():
    with pytest.raises(rfkernels.RfkernelsError, match=r'run pip install "rfkernels\[pictures\]"'):
        draw_response(grey(), detections(grey(), fields()))


@pytest.mark.usefixtures("without_supervision")
def test_the_command_line_names_a_missing_extra_before_it_computes(small_model_path, tmp_path, capsys):
    photo = tmp_path / "photo.png"
    PillowImage.new("RGB", (9, 9)).save(photo)
    # There is no such model, which is found out later.
    assert main(["infer", "no-such-model.onnx", str(photo), "--output", str(tmp_path / "out.png")]) == 2
    assert "rfkernels[pictures]" in capsys.readouterr().err
    assert main(["infer", str(small_model_path), str(photo)]) == 0


def test_inference_does_not_import_what_draws(small_model_path):
    program = (
        "import json, sys, numpy, rfkernels, rfkernels.tasks.drawing\n"
        f"model = rfkernels.load({str(small_model_path)!r}, precision='fp32', cache_directory=False)\n"
        "model.infer(numpy.zeros((61, 97, 3), numpy.uint8))\n"
        "print(json.dumps(sorted({'supervision', 'matplotlib', 'scipy', 'cv2'} & set(sys.modules))))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd="/", capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == []


def test_drawing_warns_of_nothing():
    # supervision without OpenCV says so when it is imported; nothing is wrong with the picture.
    program = (
        "import warnings; warnings.simplefilter('error')\n"
        "from rfkernels.tasks.supervision_package import require_supervision\n"
        "print(require_supervision().__name__)"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd="/", capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("supervision\n", "")
