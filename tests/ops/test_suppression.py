"""Non-maximum suppression, the second half of the op `detection`, against its NumPy definition, on every instruction
set of this machine."""

import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rfkernels import ops
from rfkernels.reference import detection as reference

pytestmark = pytest.mark.usefixtures("instruction_set")
every_example = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def clustered_boxes(rng, count, clusters=12):
    centres = rng.uniform(0, 600, (clusters, 2))[rng.integers(0, clusters, count)] + rng.normal(0, 6, (count, 2))
    sizes = rng.uniform(40, 60, (count, 2))
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)


def check_nms(boxes, scores, class_ids, **options):
    actual = ops.nms(boxes, scores, class_ids, **options)
    indices, overflowed = reference.nms(boxes, scores, class_ids, **options)
    np.testing.assert_array_equal(actual.indices, indices)
    assert actual.indices.dtype == np.int32
    assert actual.overflowed is bool(overflowed)
    return actual


@pytest.mark.parametrize("count", [0, 1, 2, 3, 15, 16, 17, 31, 100, 255, 256, 257, 2000])
@pytest.mark.parametrize("class_agnostic", [False, True])
def test_nms_equals_the_definition(count, class_agnostic, rng):
    for threshold in (0.0, 0.3, 0.45, 0.7, 1.0):
        boxes = clustered_boxes(rng, count)
        scores = rng.uniform(0, 1, count).astype(np.float32)
        class_ids = rng.integers(0, 5, count).astype(np.int32)
        check_nms(
            boxes, scores, class_ids, iou_threshold=threshold, class_agnostic=class_agnostic, max_detections=10_000
        )


@every_example
@given(
    # A coarse grid makes identical, zero-area, inverted and exactly touching boxes frequent, and IoUs such as 1/3.
    corners=st.lists(st.tuples(*[st.integers(-3, 6)] * 4), max_size=70),
    levels=st.integers(1, 9),
    options=st.fixed_dictionaries(
        {
            "iou_threshold": st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.3, 1 / 3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
            "class_agnostic": st.booleans(),
            "max_detections": st.integers(0, 80),
        }
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_nms_equals_the_definition_on_a_grid(corners, levels, options, seed):
    generator = np.random.default_rng(seed)
    boxes = np.array(corners, np.float32).reshape(-1, 4)
    scores = (generator.integers(0, levels, len(boxes)) / np.float32(levels)).astype(np.float32)
    class_ids = generator.integers(-2, 2, len(boxes)).astype(np.int32)
    check_nms(boxes, scores, class_ids, **options)


def test_nms_breaks_ties_by_the_lower_index():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 0, 60, 10], [50, 0, 60, 10]], np.float32)
    assert ops.nms(boxes, [0.5, 0.5, 0.5, 0.5]).indices.tolist() == [0, 2]
    assert ops.nms(boxes, [0.4, 0.5, -0.0, 0.0]).indices.tolist() == [1, 2]
    many = np.tile(boxes, (150, 1)) + np.arange(600, dtype=np.float32).reshape(-1, 1) * 100
    assert ops.nms(many, np.full(600, 0.5), max_detections=600).indices.tolist() == list(range(600))


def test_nms_of_one_score_order_with_every_sign_of_score(rng):
    scores = np.concatenate([rng.normal(0, 1e10, 300), rng.normal(0, 1e-42, 300), [-0.0, 0.0]]).astype(np.float32)
    boxes = np.arange(602, dtype=np.float32).reshape(-1, 1) * 20 + np.array([0, 0, 10, 10], np.float32)
    check_nms(boxes, scores, None, iou_threshold=0.5, class_agnostic=False, max_detections=602)


@pytest.mark.parametrize(
    ("inter", "union", "threshold", "suppressed"),
    [
        (3, 10, 0.3, True),  # float32(0.3) > 0.3: as torchvision has it
        (1, 5, 0.2, True),
        (3, 5, 0.6, True),
        (1, 2, 0.5, False),
        (7, 10, 0.7, False),
        (9, 20, 0.45, False),
        (9, 10, 0.9, False),
        (1, 3, 1 / 3, True),
        (1, 3, float(np.float32(1 / 3)), False),
        (1, 3, float(np.nextafter(np.float32(1 / 3), np.float32(0))), True),
        # The quotient and the threshold times the union round to different sides.
        (908645.6875, 3028819, 0.3, False),
        (5105219.5, 7293171, 0.7, True),
        (625729.0625, 1390509, 0.45, True),
    ],
)
def test_nms_on_the_knife_edge_of_the_threshold(inter, union, threshold, suppressed):
    boxes = np.array([[0, 0, union, 1], [0, 0, inter, 1]], np.float32)
    assert len(ops.nms(boxes, [0.9, 0.8], iou_threshold=threshold).indices) == (1 if suppressed else 2)


def test_nms_keeps_boxes_without_area():
    point = [5, 5, 5, 5]
    assert ops.nms([point, point], [0.9, 0.8], iou_threshold=0.0).indices.tolist() == [0, 1]
    inverted = [9, 9, 1, 1]
    assert ops.nms([inverted, inverted], [0.9, 0.8], iou_threshold=0.0).indices.tolist() == [0, 1]


def test_nms_orders_scores_that_differ_in_few_bits():
    boxes = np.arange(600, dtype=np.float32).reshape(-1, 1) * 20 + np.array([0, 0, 10, 10], np.float32)
    for exponents in (np.arange(600) % 3, np.arange(600) % 100 - 50):
        scores = np.exp2(exponents).astype(np.float32)
        check_nms(boxes, scores, None, iou_threshold=0.5, class_agnostic=False, max_detections=600)


def test_nms_takes_infinite_boxes():
    infinity = np.inf
    boxes = [[-infinity, -infinity, infinity, infinity], [0, 0, 1, 1], [0, 0, infinity, 1], [infinity] * 4]
    assert ops.nms(boxes, [0.9, 0.8, 0.7, 0.6]).indices.tolist() == [0, 1, 2, 3]


def test_nms_takes_any_class_ids(rng):
    boxes = clustered_boxes(rng, 400)
    scores = rng.uniform(0, 1, 400).astype(np.float32)
    class_ids = rng.choice(np.array([-(2**31), -7, 0, 2**31 - 1]), 400).astype(np.int32)
    check_nms(boxes, scores, class_ids, iou_threshold=0.4, class_agnostic=False, max_detections=400)
    wide = ops.nms(boxes, scores, class_ids.astype(np.float64), iou_threshold=0.4, max_detections=400)
    narrow = ops.nms(boxes, scores, class_ids, iou_threshold=0.4, max_detections=400)
    np.testing.assert_array_equal(wide.indices, narrow.indices)


def test_nms_of_unaligned_arrays(rng):
    def unaligned(array):
        memory = np.empty(array.nbytes + 1, np.uint8)
        view = memory[1:].view(array.dtype).reshape(array.shape)
        view[...] = array
        assert not view.flags.aligned
        return view

    boxes, scores = clustered_boxes(rng, 100), rng.uniform(0, 1, 100).astype(np.float32)
    class_ids = rng.integers(0, 3, 100).astype(np.int32)
    expected = ops.nms(boxes, scores, class_ids)
    actual = ops.nms(unaligned(boxes), unaligned(scores), unaligned(class_ids))
    np.testing.assert_array_equal(actual.indices, expected.indices)


def test_nms_of_class_ids_that_another_thread_writes(rng):
    count = 50_000
    boxes = clustered_boxes(rng, count)
    scores = rng.uniform(0, 1, count).astype(np.float32)
    class_ids = np.zeros(count, np.int32)
    done = threading.Event()

    def write():
        while not done.is_set():
            class_ids[:] = 2**31 - 1
            class_ids[:] = 0

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(60):  # which classes it sees is left open; that it stays within its memory is not
        assert len(ops.nms(boxes, scores, class_ids, max_detections=1).indices) == 1
    done.set()
    writer.join()


def test_nms_says_when_it_cut():
    boxes = np.arange(5, dtype=np.float32).reshape(-1, 1) * 20 + np.array([0, 0, 10, 10], np.float32)
    scores = np.linspace(0.9, 0.5, 5)
    assert ops.nms(boxes, scores, max_detections=5) == (pytest.approx([0, 1, 2, 3, 4]), False)
    assert ops.nms(boxes, scores, max_detections=4) == (pytest.approx([0, 1, 2, 3]), True)


def test_nms_of_many_boxes_of_one_class(rng):
    boxes = clustered_boxes(rng, 33_600, clusters=300)
    scores = rng.uniform(0, 1, 33_600).astype(np.float32)
    check_nms(boxes, scores, None, iou_threshold=0.7, class_agnostic=False, max_detections=33_600)


BOX = [[0.0, 0.0, 1.0, 1.0]]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((BOX, [np.nan]), {}, r"scores\[0\] is NaN"),
        (([[0, 0, np.nan, 1]], [0.5]), {}, r"boxes\[0\] has a NaN"),
        ((BOX, [0.5, 0.6]), {}, r"scores has shape \(2,\) for boxes of shape \(1, 4\)"),
        (([[0, 0, 1]], [0.5]), {}, r"boxes has shape \(1, 3\)"),
        ((BOX, [0.5], [1, 2]), {}, r"class_ids has shape \(2,\)"),
        ((BOX, [0.5], [1.5]), {}, "class_ids of dtype float64"),
        ((BOX, [0.5]), {"iou_threshold": 1.5}, "iou_threshold is 1.5"),
        ((BOX, [0.5]), {"iou_threshold": np.nan}, "iou_threshold is nan"),
        ((BOX, [0.5]), {"max_detections": -1}, "max_detections is -1"),
    ],
)
def test_nms_refuses(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        ops.nms(*arguments, **options)
