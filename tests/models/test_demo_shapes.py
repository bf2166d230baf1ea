"""The drawn data set: labels agree with the pixels, and everything follows from the seed."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw


def _load(path):
    # By path: the demo is run from the repository and is no part of the installed package.
    spec = importlib.util.spec_from_file_location("rfkernels_demo_shapes", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


shapes = _load(Path(__file__).parents[2] / "models" / "demo" / "shapes.py")


@pytest.fixture(scope="module")
def photos():
    generator = np.random.default_rng(5)
    coarse = generator.integers(0, 256, (9, 13, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((400, 301), Image.Resampling.BILINEAR))
    return [smooth, generator.integers(0, 256, (37, 91, 3), dtype=np.uint8)]


@pytest.fixture(scope="module")
def scenes(photos):
    sizes = [(320, 320), (97, 211), (480, 641)]
    return [
        shapes.draw_scene(shapes.scene_generator(11, "train", 0, index), photos, size=sizes[index % 3])
        for index in range(45)
    ]


def test_every_class_is_drawn(scenes):
    drawn = {instance.class_id for scene in scenes for instance in scene.instances}
    assert drawn == set(range(len(shapes.CLASS_NAMES)))


def test_pictures_have_the_size_asked_for(scenes):
    assert {scene.image.shape for scene in scenes} == {(320, 320, 3), (97, 211, 3), (480, 641, 3)}
    assert all(scene.image.dtype == np.uint8 for scene in scenes)


def test_boxes_are_tight_around_masks(scenes):
    for scene in scenes:
        for instance in scene.instances:
            x1, y1, x2, y2 = (int(edge) for edge in instance.box)
            inside = instance.mask[y1:y2, x1:x2]
            assert inside.sum() == instance.mask.sum()
            for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
                assert edge.any()


def test_masks_are_large_enough_and_do_not_overlap(scenes):
    for scene in scenes:
        assert all(instance.mask.sum() >= 120 for instance in scene.instances)
        owners = sum(instance.mask.astype(int) for instance in scene.instances)
        assert np.max(owners, initial=0) <= 1


def test_keypoints_are_in_the_picture_or_marked_as_not(scenes):
    states = set()
    for scene in scenes:
        height, width = scene.image.shape[:2]
        for instance in scene.instances:
            assert instance.keypoints.shape == (len(shapes.KEYPOINT_NAMES), 3)
            for x, y, visibility in instance.keypoints:
                states.add(int(visibility))
                if visibility == shapes.NOT_IN_IMAGE:
                    assert (x, y) == (0, 0)
                else:
                    assert 0 <= x < width
                    assert 0 <= y < height
    assert states == {shapes.NOT_IN_IMAGE, shapes.OCCLUDED, shapes.VISIBLE}


@pytest.mark.parametrize("name", shapes.CLASS_NAMES)
def test_one_shape_on_a_plain_background_changes_its_mask_and_nothing_else(name, photos, monkeypatch):
    """The mask is compared with the pixels: outside of it and its antialiased border nothing may have been painted."""
    monkeypatch.setattr(shapes, "CLASS_NAMES", (name,))
    background = np.full((181, 240, 3), 128, np.uint8)
    for seed in range(12):
        scene = shapes.draw_scene(
            shapes.scene_generator(seed, "train", 0, 0),
            photos,
            shape_count=(1, 1),
            distractor_count=(0, 0),
            degrade=False,
            background=background,
        )
        (instance,) = scene.instances
        changed = (scene.image != background).any(axis=2)
        # The last pixels of a sharp tip are less than half covered, so they are painted but not in the mask.
        assert not changed[~_grown(_grown(_grown(instance.mask)))].any()
        # A texture may hold the background's very colour here and there.
        assert changed[_shrunk(instance.mask)].mean() > 0.97
    assert (background == 128).all()


@pytest.mark.parametrize("name", shapes.CLASS_NAMES)
def test_masks_and_keypoints_follow_the_outline(name, photos, monkeypatch):
    """A shape rebuilt from three keypoints (the affine map they define) covers the mask: IoU above 0.9."""
    monkeypatch.setattr(shapes, "CLASS_NAMES", (name,))
    outline = shapes.OUTLINES[name]
    for seed in range(12):
        scene = shapes.draw_scene(
            shapes.scene_generator(seed, "train", 1, 0),
            photos,
            shape_count=(1, 1),
            shape_size=(0.3, 0.8),
            distractor_count=(0, 0),
        )
        (instance,) = scene.instances
        if (instance.keypoints[:, 2] == shapes.NOT_IN_IMAGE).any():
            continue
        frame = np.column_stack([outline.keypoints, np.ones(len(outline.keypoints))])
        to_picture = np.linalg.lstsq(frame, instance.keypoints[:, :2].astype(float), rcond=None)[0]
        rebuilt = Image.new("L", scene.image.shape[1::-1])
        for index, ring in enumerate(outline.rings):
            corners = np.column_stack([ring, np.ones(len(ring))]) @ to_picture - 0.5
            ImageDraw.Draw(rebuilt).polygon([tuple(corner) for corner in corners], fill=0 if index else 1)
        expected = np.asarray(rebuilt, bool)
        assert (expected & instance.mask).sum() > 0.9 * (expected | instance.mask).sum()


def test_flipped_keypoints_are_the_outlines_mirrored():
    for outline in shapes.OUTLINES.values():
        mirrored = outline.keypoints[list(shapes.FLIPPED_KEYPOINTS)] * [-1, 1]
        np.testing.assert_allclose(mirrored, outline.keypoints, atol=1e-12)


def test_hidden_means_painted_over():
    canvas = shapes._Canvas(np.zeros((40, 40, 3), np.uint8))
    points = np.array([[5.0, 5.0], [25.0, 25.0], [39.5, 0.0], [-1.0, 3.0], [12.0, 40.0]])
    below = shapes._Placed(0, 0, np.full((30, 30), 255, np.uint8), 900, points)
    above = shapes._Placed(20, 20, np.full((10, 10), 255, np.uint8), 100, np.empty((0, 2)))
    canvas.paint(below, 0, np.full((30, 30, 3), 200, np.uint8))
    canvas.paint(above, None, np.full((10, 10, 3), 90, np.uint8))
    (instance,) = canvas.instances()
    assert instance.keypoints[:, 2].tolist() == [2, 1, 2, 0, 0]
    assert instance.mask.sum() == 800
    assert instance.box == (0, 0, 30, 30)


def test_the_same_seed_gives_the_same_picture_and_another_gives_another(photos):
    def draw(*key):
        return shapes.draw_scene(shapes.scene_generator(*key), photos)

    first, again = draw(3, "train", 2, 7), draw(3, "train", 2, 7)
    np.testing.assert_array_equal(first.image, again.image)
    for one, other in zip(first.instances, again.instances, strict=True):
        assert (one.class_id, one.box) == (other.class_id, other.box)
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
    for key in [(4, "train", 2, 7), (3, "held_out", 2, 7), (3, "train", 1, 7), (3, "train", 2, 8)]:
        assert (draw(*key).image != first.image).any()


def test_no_photo_region_is_in_both_splits():
    for photo in shapes.PHOTOS["train"]:
        for other in shapes.PHOTOS["held_out"]:
            if photo.file == other.file:
                apart_across = photo.region[2] <= other.region[0] or other.region[2] <= photo.region[0]
                apart_down = photo.region[3] <= other.region[1] or other.region[3] <= photo.region[1]
                assert apart_across or apart_down


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "photos is empty"),
        ([np.zeros((8, 8, 3), np.float32)], "float32"),
        ([np.zeros((8, 8), np.uint8)], r"\[8, 8\]"),
        ([np.zeros((8, 8, 4), np.uint8)], r"\[8, 8, 4\]"),
    ],
)
def test_wrong_photos_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        shapes.draw_scene(np.random.default_rng(0), bad)


def _grown(mask):
    padded = np.pad(mask, 1)
    rows, columns = mask.shape
    return np.logical_or.reduce(
        [padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)],
    )


def _shrunk(mask):
    return ~_grown(~mask)
