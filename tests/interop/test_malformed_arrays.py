"""What the protocols allow to be said and no array can be: each is an error that names the argument."""

from __future__ import annotations

import numpy as np
import pytest
from foreign_arrays import DLPackProducer, InterfaceProducer
from taking import pixels, refused, take

from rfkernels import ops
from rfkernels.errors import InvalidArgumentError

pytestmark = pytest.mark.emulated


@pytest.mark.parametrize("typestr", ["|V2", "<V2"])
@pytest.mark.parametrize(
    "descr",
    [
        [("first", "|u1"), ("second", "|u1")],
        [("value", "<V2")],
        [("", "|u1"), ("", "|u1")],
        [("", "|u1", (2,))],
        [("", "<f2")],
        [("", ["<V2"])],
        [(("title", ""), "<V2")],
        [],
        ["<V2"],
        "<V2",
        7,
    ],
)
def test_records_are_no_bfloat16(device, stream, typestr, descr):
    memory = device.empty((4,), "bfloat16")
    message = refused(InterfaceProducer(memory.address, (4,), typestr=typestr, descr=descr), device, stream)
    assert f"has the dtype {descr!r}; give bool" in message


def test_what_numpy_says_of_a_record_is_refused(device, stream):
    memory = device.empty((4,), "bfloat16")
    said = np.zeros(4, [("first", "u1"), ("second", "u1")]).__array_interface__
    entries = {"typestr": said["typestr"], "descr": said["descr"]}
    assert "and no fields" in refused(InterfaceProducer(memory.address, (4,), **entries), device, stream)


@pytest.mark.parametrize(
    ("typestr", "descr", "dtype"),
    [
        ("<V2", [("", "<V2")], "bfloat16"),
        ("|V2", [("", "<V2")], "bfloat16"),
        ("<V2", (["", "|V2"],), "bfloat16"),
        ("<V2", None, "bfloat16"),
        ("<f4", [("", "<f4")], "float32"),
    ],
)
def test_one_entry_without_a_name_is_the_dtype(device, stream, typestr, descr, dtype):
    memory = device.empty((4,), dtype)
    assert take(InterfaceProducer(memory.address, (4,), typestr=typestr, descr=descr), device, stream).dtype == dtype


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"data": (-8, False)}, "has the address -8; give one of 0"),
        ({"data": (-8, False), "shape": (0, 4)}, "has the address -8; give one of 0"),
        ({"data": (2**63, False)}, f"has the address {2**63}; give one of 0"),
        ({"data": (2**70, False)}, f"has the address {2**70}; give one of 0"),
        ({"data": (0, np.zeros(2))}, "is broken (ValueError"),
        ({"typestr": ["<f4"]}, "has the dtype ['<f4']; give bool"),
        ({"typestr": {"<f4": 1}}, "has the dtype {'<f4': 1}; give bool"),
        ({"typestr": b"|u1"}, "has the dtype b'|u1'; give bool"),
        ({"shape": (3.0, 4)}, "is broken (TypeError"),
        ({"shape": ("3", 4)}, "is broken (TypeError"),
        ({"shape": (None, 4)}, "is broken (TypeError"),
        ({"shape": (2**63,), "strides": (0,)}, f"has shape [{2**63}], which is of 2**63 bytes or more"),
        ({"shape": (2**70,), "strides": (0,)}, f"has shape [{2**70}], which is of 2**63 bytes or more"),
        ({"shape": (0, 2**70)}, f"has shape [0, {2**70}], which is of 2**63 bytes or more"),
        ({"shape": (2**40, 2**40), "strides": (0, 0)}, f"has shape [{2**40}, {2**40}], which is of 2**63 bytes"),
        ({"shape": (2**40, 0, 2**40)}, f"has shape [{2**40}, 0, {2**40}], which is of 2**63 bytes or more"),
        ({"shape": (2**61,), "strides": (0,), "typestr": "<f4"}, f"has shape [{2**61}], which is of 2**63 bytes"),
        ({"shape": (3, 4), "strides": (2**70, 1)}, "leave all memory"),
        ({"stream": 2**70}, f"has the stream {2**70}: stream is {2**70}; give 1"),
        ({"stream": 2**64}, f"has the stream {2**64}: stream is {2**64}; give 1"),
    ],
)
@pytest.mark.parametrize("with_stream", [True, False])
def test_interfaces_of_no_array(device, stream, entries, told, with_stream):
    memory, _ = pixels(device, stream)
    producer = InterfaceProducer(memory.address, (3, 4), **entries)
    assert told in refused(producer, device, stream if with_stream else None)


def test_capsules_of_more_than_there_can_be(device, stream):
    memory, _ = pixels(device, stream)
    producer = DLPackProducer(memory.address, (2**40, 2**40), strides=(0, 0))
    assert "which is of 2**63 bytes or more" in refused(producer, device, stream)
    assert producer.deleted == 1


def test_streams_that_no_pointer_holds(gpu):
    stream = gpu.stream()
    array = gpu.upload(np.zeros(4, np.uint8), stream)
    with pytest.raises(InvalidArgumentError, match=f"stream is {2**64}; give 1"):
        array.__dlpack__(stream=2**64)


@pytest.mark.parametrize(
    ("op", "told"),
    [
        (lambda a: ops.preprocess(a, [], size=(8, 8)), "images is one {}; give a list of images"),
        (lambda a: ops.preprocess_into(a, a, []), "images is one {}; give a list of images"),
        (lambda a: ops.detect_from_heads(a, [], []), r"heads is one {}; give a list of \(box, classes\) pairs"),
        (lambda a: ops.keypoints_from_heads(a, [[0]], [], []), "heads is one {}; give a list of outputs"),
        (lambda a: ops.keypoints_from_rows(a, [[0]], [], [], grids=[]), "rows is one {}; give a list of matrices"),
        (ops.select_candidates, "classes is one {}; give a list of outputs"),
        (lambda a: ops.detect_from_candidates([], a, [], [], grids=[]), "boxes is one {}; give a list of lists"),
    ],
)
def test_one_array_in_place_of_a_list(device, stream, op, told):
    memory, values = pixels(device, stream)
    arrays = [memory, values, InterfaceProducer(memory.address, (3, 4)), DLPackProducer(memory.address, (3, 4))]
    for array in (*arrays, ops.NV12(values, values), 7):
        with pytest.raises(ValueError, match="^" + told.format(type(array).__name__)):
            op(array)
