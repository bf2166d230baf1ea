"""Decoding and detection against their NumPy definition, on every instruction set of this machine. Suppression on its
own: test_suppression.py."""

import numpy as np
import pytest
from heads import (
    CROPPED,
    DEFAULTS,
    LETTERBOXED,
    Corner,
    Placed,
    anchor_by_anchor,
    assert_close,
    assert_same,
    make_heads,
    make_prediction,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rfkernels import ops
from rfkernels.reference import detection as reference
from rfkernels.reference.bfloat16 import from_bfloat16

pytestmark = pytest.mark.usefixtures("instruction_set")
every_example = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# detect_from_decoded: only fp32 additions, divisions and comparisons, so equal to the definition bit for bit


@pytest.mark.parametrize("class_count", [1, 2, 17, 80, 365])
@pytest.mark.parametrize("anchors", [1, 5, 64, 1025, 2049])
def test_decoded_equals_the_definition(class_count, anchors, rng):
    prediction = make_prediction(rng, class_count=class_count, anchors=anchors, batch=2)
    for convention in ("v2", "ultralytics"):
        options = DEFAULTS | {"convention": convention, "confidence": 0.6, "max_detections": 40}
        arguments = ([LETTERBOXED, CROPPED], [(1080, 1920), (400, 500)])
        expected = reference.detect_from_decoded(prediction, *arguments, options=reference.Options(**options))
        assert_same(ops.detect_from_decoded(prediction, *arguments, **options), expected)
        assert_same(ops.detect_from_decoded(anchor_by_anchor(prediction), *arguments, **options), expected)


@every_example
@given(
    options=st.fixed_dictionaries(
        {
            "confidence": st.sampled_from([0.0, 0.25, 0.4, 0.5, 1.0]),
            "class_confidences": st.none()
            | st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=5, max_size=5).map(np.float32),
            "iou_threshold": st.just(0.3),
            "class_agnostic": st.booleans(),
            "max_detections": st.integers(0, 50),
            "wanted_classes": st.none() | st.lists(st.integers(0, 4), max_size=5),
            "class_filter_stage": st.sampled_from(["before_suppression", "after_cut"]),
            "convention": st.sampled_from(["v2", "ultralytics"]),
        }
    ),
    scale=st.floats(0.05, 20.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_decoded_equals_the_definition_with_any_options(options, scale, seed):
    generator = np.random.default_rng(seed)
    prediction = make_prediction(generator, class_count=5, anchors=int(generator.integers(1, 200)))
    # Few distinct scores: equal to thresholds and to each other, between classes and between anchors.
    prediction[:, 4:] = np.rint(prediction[:, 4:] * 4) / 4
    prediction[0, generator.integers(0, 9, 6), generator.integers(0, prediction.shape[2], 6)] = generator.choice(
        np.array([np.nan, np.inf, -np.inf, 1e38], np.float32), 6
    )
    arguments = ([Placed(3, -4, scale, scale / 2, Corner(1, 2))], [(333, 480)])
    expected = reference.detect_from_decoded(prediction, *arguments, options=reference.Options(**options))
    assert_same(ops.detect_from_decoded(prediction, *arguments, **options), expected)
    assert_same(ops.detect_from_decoded(anchor_by_anchor(prediction), *arguments, **options), expected)


def one_box_prediction(box, score=0.9):
    x1, y1, x2, y2 = box
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, score], np.float32).reshape(1, 5, 1)


def test_v2_rounds_half_to_even_after_clamping():
    prediction = one_box_prediction((10.5, 11.5, 20.5, 300.0))
    (found,) = ops.detect_from_decoded(prediction, [Placed()], [(100, 100)])
    assert found.boxes.tolist() == [[10, 12, 20, 100]]
    assert found.network_boxes.tolist() == [[10.5, 11.5, 20.5, 300.0]]
    (found,) = ops.detect_from_decoded(prediction, [Placed()], [(100, 100)], convention="ultralytics")
    assert found.boxes.tolist() == [[10.5, 11.5, 20.5, 100]]


def test_the_crop_offset_is_added_and_the_whole_image_clamps():
    placement = Placed(left=10, top=0, scale_x=0.5, scale_y=2.0, crop=Corner(100, 7))
    (found,) = ops.detect_from_decoded(one_box_prediction((0, 20, 110, 40)), [placement], [(25, 250)])
    assert found.boxes.tolist() == [[80, 17, 250, 25]]


def test_the_confidence_is_strict_in_float32():
    prediction = one_box_prediction((0, 0, 10, 10), score=np.float32(0.4))
    assert len(ops.detect_from_decoded(prediction, [Placed()], [(50, 50)], confidence=0.4)[0]) == 0
    below = float(np.nextafter(np.float32(0.4), np.float32(0)))
    assert len(ops.detect_from_decoded(prediction, [Placed()], [(50, 50)], confidence=below)[0]) == 1


def test_the_stage_of_the_class_filter_matters():
    # Anchor 0, of class 0, suppresses anchor 1, of class 1, and takes the only place.
    prediction = np.zeros((1, 6, 2), np.float32)
    prediction[0, :4] = np.array([5, 5, 10, 10]).reshape(4, 1)
    prediction[0, 4, 0], prediction[0, 5, 1] = 0.9, 0.8
    options = {"wanted_classes": [1], "class_agnostic": True}
    (after,) = ops.detect_from_decoded(prediction, [Placed()], [(50, 50)], **options)
    (before,) = ops.detect_from_decoded(prediction, [Placed()], [(50, 50)], convention="ultralytics", **options)
    assert after.class_ids.tolist() == []
    assert before.class_ids.tolist() == [1]


# detect_from_heads


@pytest.mark.parametrize("class_count", [1, 2, 17, 80, 365])
@pytest.mark.parametrize("size", [(32, 32), (96, 64), (160, 544)])
def test_heads_equal_the_definition_in_both_layouts(class_count, size, rng):
    heads = make_heads(rng, class_count=class_count, size=size, batch=2)
    arguments = ([LETTERBOXED, CROPPED], [(1080, 1920), (400, 500)])
    expected = reference.detect_from_heads(
        heads, *arguments, strides=(8, 16, 32), options=reference.Options(**DEFAULTS)
    )
    actual = ops.detect_from_heads(heads, *arguments, **DEFAULTS)
    assert sum(map(len, actual)) > 0
    assert_close(actual, expected)
    transposed = [(anchor_by_anchor(box), anchor_by_anchor(classes)) for box, classes in heads]
    assert_same(ops.detect_from_heads(transposed, *arguments, **DEFAULTS), actual)
    # The two parts of a head side by side in one tensor, as a network ending in a concatenation has them.
    joined = [anchor_by_anchor(np.concatenate(head, axis=1)) for head in heads]
    sliced = [(array[:, :64], array[:, 64:]) for array in joined]
    assert_same(ops.detect_from_heads(sliced, *arguments, **DEFAULTS), actual)


def test_all_instruction_sets_give_the_same_bits(instruction_set, rng):
    from rfkernels import _native

    heads = make_heads(rng, class_count=80, size=(320, 320), batch=1)
    arguments = ([LETTERBOXED], [(1080, 1920)])
    options = DEFAULTS | {"max_detections": 5000, "convention": "ultralytics", "iou_threshold": 0.9}
    actual = ops.detect_from_heads(heads, *arguments, **options)
    _native.force_instruction_set("baseline")
    assert_same(actual, ops.detect_from_heads(heads, *arguments, **options))
    assert len(actual[0]) > 100


@pytest.mark.parametrize("class_count", [1, 7, 16, 33, 80])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, anchor_by_anchor])
def test_bfloat16_is_what_float32_of_the_same_values_is(class_count, layout, rng):
    heads = make_heads(rng, class_count=class_count, size=(96, 160), batch=2)
    heads[0][1][0, 0, 2, 3] = np.nan
    heads[1][0][1, 5, 0, 1] = np.inf
    bits = [tuple((part.view(np.uint32) >> 16).astype(np.uint16) for part in level) for level in heads]
    values = [tuple(from_bfloat16(part) for part in level) for level in bits]
    expected = ops.detect_from_heads(values, [LETTERBOXED] * 2, [(1080, 1920)] * 2, confidence=0.25)
    assert min(len(found) for found in expected) > 0
    actual = [tuple(layout(part) for part in level) for level in bits]
    assert_same(ops.detect_from_heads(actual, [LETTERBOXED] * 2, [(1080, 1920)] * 2, confidence=0.25), expected)
    mixed = [(box, classes) for (box, _), (_, classes) in zip(values, actual, strict=True)]
    assert_same(ops.detect_from_heads(mixed, [LETTERBOXED] * 2, [(1080, 1920)] * 2, confidence=0.25), expected)


@pytest.mark.parametrize("confidence", [0.0, 1e-30, 0.1, 0.4, 0.5, np.nextafter(np.float32(0.5), 1), 0.62, 0.999, 1.0])
@pytest.mark.parametrize("class_count", [5, 17, 31, 32, 33, 64, 80])
def test_every_bfloat16_passes_as_its_float32_does(instruction_set, class_count, confidence, rng):
    # All 65,536 numbers, each the best of an anchor, in any of its classes.
    every = np.arange(1 << 16, dtype=np.uint32)
    values = (every << 16).view(np.float32)
    logits = np.full((1, class_count, 256, 256), -np.inf, np.float32)
    classes = rng.integers(0, class_count, 1 << 16)
    logits[0, classes, every >> 8, every & 255] = values
    bits = anchor_by_anchor((logits.view(np.uint32) >> 16).astype(np.uint16))
    (found,) = ops.select_candidates([bits], confidence=float(confidence))
    # The other layout and type has no such comparison; the definition agrees but for the last bit of a score.
    (expected,) = ops.select_candidates([logits], confidence=float(confidence))
    for name in ("anchor_indices", "scores", "class_ids"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_array_equal(found.class_ids, classes[found.anchor_indices])
    passes = np.isin(every, found.anchor_indices)
    with np.errstate(invalid="ignore"):
        scores = reference.sigmoid(values)
        assert passes[scores > np.float32(confidence) + 2e-7].all()
        assert not passes[~(scores > np.float32(confidence) - 2e-7)].any()


@pytest.mark.parametrize("layout", [np.ascontiguousarray, anchor_by_anchor])
def test_a_prediction_may_be_bfloat16(layout, rng):
    bits = (make_prediction(rng, class_count=20, anchors=333).view(np.uint32) >> 16).astype(np.uint16)
    arguments = [CROPPED], [(333, 500)]
    expected = ops.detect_from_decoded(from_bfloat16(bits), *arguments)
    assert_same(ops.detect_from_decoded(layout(bits), *arguments), expected)


@pytest.mark.parametrize("reg_max", [1, 2, 7, 16, 32])
def test_heads_of_any_number_of_bins(reg_max, rng):
    heads = make_heads(rng, class_count=3, reg_max=reg_max, strides=(4, 8))
    arguments = ([Placed()], [(64, 96)])
    expected = reference.detect_from_heads(heads, *arguments, strides=(4, 8), options=reference.Options(**DEFAULTS))
    assert_close(ops.detect_from_heads(heads, *arguments, strides=(4, 8), **DEFAULTS), expected)


@pytest.mark.parametrize("confidence", [0.0, 1e-30, 1e-6, 0.001, 0.25, 0.5, 0.9, 0.999999, 1.0])
def test_the_gate_lets_through_exactly_what_the_score_does(confidence):
    # Logits close around the threshold's own, and extreme ones.
    threshold = np.float32(confidence)
    centre = np.log(np.float64(threshold) / max(1.0 - np.float64(threshold), 1e-9)) if threshold > 0 else -90.0
    steps = np.concatenate([np.linspace(-1e-5, 1e-5, 4001), np.linspace(-20, 20, 95)])
    logits = np.concatenate([centre + steps, [-np.inf, np.inf, np.nan, -200, 200]]).astype(np.float32)
    logits = np.resize(logits, 4101).reshape(1, 1, 1, -1)
    box = np.zeros((1, 64, 1, logits.shape[-1]), np.float32)
    head = [(box, logits)]
    arguments = ([Placed()], [(100, 40_000)])
    every = {"strides": [8], "iou_threshold": 1.0, "max_detections": 10_000, "convention": "ultralytics"}
    (all_found,) = ops.detect_from_heads(head, *arguments, confidence=0.0, **every)
    (found,) = ops.detect_from_heads(head, *arguments, confidence=confidence, **every)
    expected = set(all_found.anchor_indices[all_found.scores > threshold].tolist())
    assert set(found.anchor_indices.tolist()) == expected
    scores = reference.sigmoid(logits.ravel()[all_found.anchor_indices])
    np.testing.assert_array_max_ulp(all_found.scores[scores > 2**-126], scores[scores > 2**-126], maxulp=2)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, anchor_by_anchor])
def test_a_nan_never_passes(layout, rng):
    heads = make_heads(rng, class_count=20)
    options = DEFAULTS | {"max_detections": 1000, "iou_threshold": 1.0}
    arguments = ([Placed()], [(96, 64)])
    (before,) = ops.detect_from_heads(heads, *arguments, **options)
    box, classes = heads[0]
    first, second, third = (before.anchor_indices[before.anchor_indices < 96])[:3].tolist()
    classes.reshape(20, -1)[:, first] = np.nan
    box.reshape(64, -1)[17, second] = np.nan
    box.reshape(64, -1)[33, third] = np.inf
    heads = [(layout(box), layout(classes)) for box, classes in heads]
    (after,) = ops.detect_from_heads(heads, *arguments, **options)
    left = ~np.isin(before.anchor_indices, [first, second, third])
    np.testing.assert_array_equal(after.anchor_indices, before.anchor_indices[left])
    # One NaN among the classes only takes that class out.
    classes.reshape(20, -1)[:, first] = -9
    classes.reshape(20, -1)[[3, 19], first] = np.nan
    classes.reshape(20, -1)[[5, 8], first] = 3
    heads[0] = (layout(box), layout(classes))
    (found,) = ops.detect_from_heads(heads, *arguments, **options)
    assert found.class_ids[found.anchor_indices == first].tolist() == [5]
    # Nor does it hide the classes that share its lane of a vector of 4, 8 or 16.
    classes.reshape(20, -1)[:, first] = -9
    classes.reshape(20, -1)[[6, 14, 18], first] = np.nan
    classes.reshape(20, -1)[2, first] = 3
    heads[0] = (layout(box), layout(classes))
    (found,) = ops.detect_from_heads(heads, *arguments, **options)
    assert found.class_ids[found.anchor_indices == first].tolist() == [2]


def test_33600_candidates_at_confidence_0(rng):
    heads = make_heads(rng, class_count=2, size=(1280, 1280))
    options = DEFAULTS | {"confidence": 0.0, "iou_threshold": 0.7}
    arguments = ([Placed()], [(1280, 1280)])
    (found,) = ops.detect_from_heads(heads, *arguments, **options)
    assert len(found) == 300
    assert found.overflowed
    (every,) = ops.detect_from_heads(heads, *arguments, **options | {"iou_threshold": 1.0, "max_detections": 33_600})
    assert len(every) == 33_600
    assert not every.overflowed
    prediction = make_prediction(rng, class_count=2, anchors=33_600)
    prediction[:, 4:] += np.float32(0.001)
    options["iou_threshold"] = 0.05  # few are kept: the definition takes its time for each
    assert_same(
        ops.detect_from_decoded(prediction, *arguments, **options),
        reference.detect_from_decoded(prediction, *arguments, options=reference.Options(**options)),
    )


def test_no_candidate_gives_empty_arrays():
    heads = [(np.zeros((1, 64, 2, 2), np.float32), np.full((1, 80, 2, 2), -20, np.float32))]
    (found,) = ops.detect_from_heads(heads, [Placed()], [(16, 16)], strides=[8])
    assert found.boxes.shape == (0, 4)
    assert found.network_boxes.shape == (0, 4)
    assert found.scores.shape == found.class_ids.shape == found.anchor_indices.shape == (0,)
    assert [found.boxes.dtype, found.scores.dtype, found.class_ids.dtype] == [np.float32, np.float32, np.int32]


def test_class_confidences_apply_to_the_best_class_only(rng):
    heads = make_heads(rng, class_count=4, size=(96, 96))
    options = DEFAULTS | {"class_confidences": np.array([0.1, 0.9, 0.3, 1.0], np.float32)}
    arguments = ([Placed()], [(96, 96)])
    expected = reference.detect_from_heads(heads, *arguments, strides=(8, 16, 32), options=reference.Options(**options))
    actual = ops.detect_from_heads(heads, *arguments, **options)
    assert_close(actual, expected)
    assert set(actual[0].class_ids.tolist()) <= {0, 1, 2}


NATIVE = {
    "crop": ops.Rectangle(x=0, y=0, width=32, height=32),
    "resized_width": 32,
    "resized_height": 32,
    "left": 0,
    "top": 0,
    "scale_x": 1.0,
    "scale_y": 1.0,
}


def good_arguments():
    head = (np.zeros((1, 64, 4, 4), np.float32), np.zeros((1, 3, 4, 4), np.float32))
    return {"heads": [head], "placements": [Placed()], "image_sizes": [(32, 32)], "strides": [8]}


BOX_HEAD = np.zeros((1, 64, 4, 4), np.float32)
CLASS_HEAD = np.zeros((1, 3, 4, 4), np.float32)
REPEATED_HEAD = np.broadcast_to(BOX_HEAD[:, :1, :1, :1], (1, 1 << 59, 1, 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": []}, "heads has 0 levels, strides has 1"),
        ({"heads": [], "strides": []}, "heads is empty"),
        ({"heads": [(BOX_HEAD.astype(np.float64), CLASS_HEAD)]}, r"heads\[0\] box has dtype float64"),
        ({"heads": [(BOX_HEAD.astype(">f4"), CLASS_HEAD)]}, r"heads\[0\] box has dtype >f4"),
        ({"heads": [(BOX_HEAD[0], CLASS_HEAD)]}, r"heads\[0\] box has 3 axes"),
        ({"heads": [(BOX_HEAD[:, :63], CLASS_HEAD)]}, r"heads\[0\] has shapes \[1, 63, 4, 4\] and \[1, 3, 4, 4\]"),
        ({"heads": [(BOX_HEAD[:, :, :2], CLASS_HEAD)]}, r"heads\[0\] has shapes"),
        ({"heads": [(BOX_HEAD[:, :, :, ::2], CLASS_HEAD)]}, r"heads\[0\] box .* copy it with numpy"),
        ({"heads": [(BOX_HEAD, CLASS_HEAD.transpose(0, 1, 3, 2))]}, r"heads\[0\] classes .* copy it with numpy"),
        (
            {"heads": [(anchor_by_anchor(BOX_HEAD)[:, :, :, :3], CLASS_HEAD[:, :, :, :3].copy())]},
            r"heads\[0\] box .* copy it with numpy",
        ),
        ({"heads": [(BOX_HEAD, CLASS_HEAD[:, :0])]}, r"heads\[0\] classes has shape .* no axis may be empty"),
        (
            {"heads": [(REPEATED_HEAD, CLASS_HEAD)]},
            r"heads\[0\] box has shape .* no axis may be longer than 2147483647",
        ),
        ({"heads": [(BOX_HEAD, CLASS_HEAD), (BOX_HEAD, CLASS_HEAD[:, :2])], "strides": [8, 16]}, r"heads\[1\] has"),
        ({"strides": [0]}, r"strides\[0\] is 0"),
        ({"placements": [], "image_sizes": []}, "placements has 0 entries for a batch of 1"),
        ({"image_sizes": []}, "placements has 1 entries, image_sizes 0"),
        ({"placements": [Placed(scale_x=0.0)]}, r"placements\[0\] has scale 0"),
        ({"placements": [Placed(scale_y=np.nan)]}, r"placements\[0\] has scale"),
        ({"placements": [Placed(scale_x=1e-300)]}, r"placements\[0\] has scale .* that float32 holds"),
        ({"placements": [Placed(scale_y=1e300)]}, r"placements\[0\] has scale .* that float32 holds"),
        ({"placements": [Placed(left=1 << 40)]}, r"placements\[0\]\.left is 1099511627776; give"),
        ({"placements": [None]}, r"placements\[0\] is None, which has no left; give an rfkernels"),
        ({"placements": ["\u00e9" * 100]}, r"placements\[0\] is '\\xe9.*\.\.\., which has no left"),
        ({"placements": [Placed(left=1.5)]}, r"placements\[0\]\.left is 1.5; give a whole number"),
        ({"placements": [Placed(scale_x="wide")]}, r"placements\[0\]\.scale_x is 'wide'; give a number"),
        ({"placements": [Placed(crop=None)]}, r"placements\[0\]\.crop is None, which has no x"),
        ({"image_sizes": [(31.9, 32)]}, r"image_sizes\[0\] height is 31.9; give a whole number"),
        ({"image_sizes": [np.array(5)]}, r"image_sizes\[0\] is array\(5\); give \(height, width\)"),
        ({"image_sizes": [(10**400, 32)]}, r"image_sizes\[0\] height is 1000.*\.\.\.; give a number"),
        ({"placements": [ops.Placement(**NATIVE | {"left": 1 << 40})]}, r"placements\[0\] has left 1099511627776"),
        ({"image_sizes": [(1 << 40, 5)]}, r"image_sizes\[0\] height is 1099511627776"),
        ({"image_sizes": [(5, np.nan)]}, r"image_sizes\[0\] width is nan"),
        ({"image_sizes": [5]}, r"image_sizes\[0\] is 5; give \(height, width\)"),
        ({"image_sizes": [(0, 5)]}, r"image_sizes\[0\] is 0 x 5"),
        ({"confidence": 1.5}, "confidence is 1.5"),
        ({"confidence": np.nan}, "confidence is nan"),
        ({"confidence": "0.5"}, "confidence is '0.5'; give a number"),
        ({"iou_threshold": [0.5]}, r"iou_threshold is \[0.5\]; give a number"),
        ({"class_confidences": [0.5]}, "class_confidences has 1 entries; give one for each of the 3 classes"),
        ({"class_confidences": [[0.5]]}, r"class_confidences has shape \(1, 1\)"),
        ({"class_confidences": [0.5, -1, 0.5]}, r"class_confidences\[1\] is -1"),
        ({"wanted_classes": [3]}, "wanted_classes has 3; the network has classes 0 to 2"),
        ({"iou_threshold": -0.1}, "iou_threshold is -0.1"),
        ({"max_detections": -1}, "max_detections is -1"),
        ({"convention": "v3"}, "convention is 'v3'"),
        ({"class_filter_stage": "never"}, "class_filter_stage is 'never'"),
    ],
)
def test_heads_are_refused(changes, message):
    assert len(ops.detect_from_heads(**good_arguments() | {"image_sizes": np.array([[32, 32]])})) == 1
    assert len(ops.detect_from_heads(**good_arguments())) == 1
    with pytest.raises(ValueError, match=message):
        ops.detect_from_heads(**good_arguments() | changes)


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (np.zeros((1, 84), np.float32), "prediction has 2 axes"),
        (np.zeros((1, 84, 10), np.float16), "prediction has dtype float16"),
        (np.zeros((1, 3, 10), np.float32), r"prediction has shape \[1, 3, 10\]"),
        (np.zeros((1, 4, 10), np.float32), r"prediction has shape \[1, 4, 10\]; give \[N, 4 \+ class_count, A\]"),
        (np.zeros((1, 84, 0), np.float32), "no axis may be empty"),
        (np.zeros((1, 84, 20), np.float32)[:, :, ::2], "copy it with numpy"),
        (np.zeros(84 * 40 + 1, np.uint8)[1:].view(np.float32).reshape(1, 84, 10), "not aligned to its elements"),
    ],
)
@pytest.mark.parametrize("wanted_classes", [None, []])
def test_predictions_are_refused(prediction, message, wanted_classes):
    with pytest.raises(ValueError, match=message):
        ops.detect_from_decoded(prediction, [Placed()], [(16, 16)], wanted_classes=wanted_classes)
