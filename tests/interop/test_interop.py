"""Arrays of other libraries, taken in without a copy: what is taken and what is refused, by producers made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from foreign_arrays import FLOAT32, LEGACY, UINT8, VERSIONED, DLPackProducer, InterfaceProducer
from taking import pixels, refused, take

from rfkernels import _native
from rfkernels.errors import InvalidArgumentError

pytestmark = pytest.mark.emulated

READ_ONLY = 1


# What is taken


@pytest.mark.parametrize("name", [LEGACY, VERSIONED])
def test_a_capsule_is_the_same_memory(device, stream, name):
    memory, values = pixels(device, stream)
    producer = DLPackProducer(memory.address, (3, 4), strides=(4, 1), name=name)
    array = take(producer, device, stream)
    assert (array.address, array.shape, array.strides, array.dtype) == (memory.address, (3, 4), (4, 1), "uint8")
    assert array.contiguous
    np.testing.assert_array_equal(array.numpy(stream), values)


@pytest.mark.parametrize("entries", [{"strides": ...}, {"strides": None}, {"strides": (4, 1)}, {"version": 2}])
def test_a_cuda_array_interface_is_the_same_memory(device, stream, entries):
    memory, values = pixels(device, stream)
    array = take(InterfaceProducer(memory.address, (3, 4), **entries), device, stream)
    assert (array.address, array.shape, array.strides, array.dtype) == (memory.address, (3, 4), (4, 1), "uint8")
    np.testing.assert_array_equal(array.numpy(stream), values)


def test_our_own_array_is_itself(device, stream):
    memory, _ = pixels(device, stream)
    assert take(memory, device, stream) is memory


def test_dlpack_is_asked_where_there_is_both(device, stream):
    memory, _ = pixels(device, stream)
    producer = DLPackProducer(memory.address, (12,))
    producer.__cuda_array_interface__ = "not looked at"  # type: ignore[attr-defined]
    assert take(producer, device, stream).shape == (12,)


@pytest.mark.parametrize(
    ("dtype", "code", "typestr"),
    [
        ("bool", (6, 8, 1), "|b1"),
        ("uint8", (1, 8, 1), "|u1"),
        ("int32", (0, 32, 1), "<i4"),
        ("float16", (2, 16, 1), "<f2"),
        ("bfloat16", (4, 16, 1), "<V2"),
        ("float32", (2, 32, 1), "<f4"),
    ],
)
def test_dtypes(device, stream, dtype, code, typestr):
    memory = device.empty((2, 3), dtype)
    assert take(DLPackProducer(memory.address, (2, 3), dtype=code), device, stream).dtype == dtype
    assert take(InterfaceProducer(memory.address, (2, 3), typestr=typestr), device, stream).dtype == dtype


@pytest.mark.parametrize("code", [(2, 64, 1), (0, 8, 1), (2, 32, 4), (5, 64, 1), (8, 8, 1)])
def test_other_dtypes_of_dlpack_are_refused(device, stream, code):
    memory, _ = pixels(device, stream, (64,))
    producer = DLPackProducer(memory.address, (2,), dtype=code)
    assert f"code {code[0]}, {code[1]} bits, {code[2]} lanes); give bool" in refused(producer, device, stream)
    assert producer.deleted == 1


@pytest.mark.parametrize("typestr", ["<f8", ">f4", "<u2", "|V4", "<c8", 3])
def test_other_dtypes_of_the_interface_are_refused(device, stream, typestr):
    memory, _ = pixels(device, stream, (64,))
    message = refused(InterfaceProducer(memory.address, (2,), typestr=typestr), device, stream)
    assert f"the dtype {typestr!r}; give bool" in message


def test_the_byte_offset_counts(device, stream):
    memory, values = pixels(device, stream)
    array = take(DLPackProducer(memory.address, (2, 4), byte_offset=4), device, stream)
    np.testing.assert_array_equal(array.numpy(stream), values[1:])


def test_pinned_memory_is_taken(device, stream):
    for place in ((1, 0), (3, 0)):
        pinned = device.pinned(6)
        pinned[:] = range(6)
        array = take(DLPackProducer(pinned.ctypes.data, (6,), device=place, owner=pinned), device, stream)
        assert array.pinned
        np.testing.assert_array_equal(array.numpy(stream), range(6))
        array.write(np.arange(6, dtype=np.uint8)[::-1].copy(), stream)
        np.testing.assert_array_equal(pinned, range(6)[::-1])


def test_managed_memory_is_where_its_pages_are(gpu):
    stream = gpu.stream()
    memory, values = pixels(gpu, stream)
    producer = DLPackProducer(memory.address, (3, 4), device=(13, 0))
    np.testing.assert_array_equal(take(producer, gpu, stream).numpy(stream), values)
    assert producer.calls == [{"stream": stream.handle, "max_version": (1, 0)}]


# Strides


@pytest.mark.parametrize("kind", ["dlpack", "interface"])
def test_rows_may_lie_any_distance_apart(device, stream, kind):
    memory, values = pixels(device, stream, (3, 16))
    strides = (16, 3, 1)
    if kind == "dlpack":
        array = take(DLPackProducer(memory.address, (3, 4, 3), strides=strides), device, stream)
    else:
        array = take(InterfaceProducer(memory.address, (3, 4, 3), strides=strides), device, stream)
    assert array.view() == (memory.address, "uint8", (3, 4, 3), strides)
    assert not array.contiguous
    assert array.nbytes == 36
    expected = values[:, :12].reshape(3, 4, 3)
    np.testing.assert_array_equal(array.numpy(stream), expected)
    np.testing.assert_array_equal(array.host_view(), expected)
    np.testing.assert_array_equal(array.part(1, 3).numpy(stream), expected[1:])
    assert [array.part(1, last).contiguous for last in (1, 2, 3)] == [True, True, False]  # none, one and two rows
    with pytest.raises(InvalidArgumentError, match=r"^heads\[0\] has shape \[3, 4, 3\].*give a contiguous copy"):
        array.require_contiguous("heads[0]")
    for copy in (array.write, array.read_into):
        with pytest.raises(InvalidArgumentError, match="C-contiguous"):
            copy(np.empty((3, 4, 3), np.uint8), stream)


def test_channels_last_heads(device, stream, rng):
    values = rng.standard_normal((1, 5, 3, 7)).astype(np.float32)  # NCHW, as a view of NHWC
    memory = device.upload(np.ascontiguousarray(values.transpose(0, 2, 3, 1)), stream)
    producer = DLPackProducer(memory.address, values.shape, strides=(999, 1, 35, 5), dtype=FLOAT32)
    array = take(producer, device, stream)
    assert array.strides == (420, 4, 140, 20)  # the first one means nothing, and is made what would be next
    np.testing.assert_array_equal(array.numpy(stream), values)


def test_strides_of_one_element_mean_nothing(device, stream):
    memory, _ = pixels(device, stream)
    array = take(InterfaceProducer(memory.address, (1, 4, 1), strides=(-7, 1, 77)), device, stream)
    assert array.contiguous
    assert array.strides == (4, 1, 1)


@pytest.mark.parametrize(
    ("typestr", "shape", "strides", "told"),
    [
        ("|u1", (3, 4), (-4, 1), "negative ones are not taken"),
        ("<f4", (2, 2), (6, 4), "no multiples of 4, the size of float32"),
        ("|u1", (3, 4), (4,), "2 axes and 1 strides"),
        ("|u1", (3, 4), (2**62, 1), "leave all memory"),
        ("|u1", (3, 2**60), (2**62, 1), "leave all memory"),
        ("|u1", (3, 4), (5000, 1), "ends 10004 bytes after it begins, in other memory"),
        ("|u1", (3, -4), None, "sizes cannot be negative"),
    ],
)
def test_absurd_shapes_and_strides_are_refused(device, stream, typestr, shape, strides, told):
    memory, _ = pixels(device, stream)
    producer = InterfaceProducer(memory.address, shape, typestr=typestr, strides=strides)
    assert told in refused(producer, device, stream)


def test_elements_that_lie_on_each_other_are_read_and_not_written(device, stream):
    memory, values = pixels(device, stream, (4,))
    producer = InterfaceProducer(memory.address, (3, 4), strides=(0, 1))
    np.testing.assert_array_equal(take(producer, device, stream).numpy(stream), np.tile(values, (3, 1)))
    assert "lie on each other" in refused(producer, device, stream, writeable=True)
    rows = InterfaceProducer(memory.address, (2, 2), strides=(1, 2))  # a transposed one: none twice
    assert take(rows, device, stream, writeable=True).strides == (1, 2)


# What is refused


def test_memory_that_kernels_do_not_reach(device, stream):
    values = np.zeros((3, 4), np.uint8)
    assert "host's, which emulated:0 does not reach; copy it with device.upload" in refused(values, device, stream)
    assert "does not reach" in refused(InterfaceProducer(values.ctypes.data, (3, 4)), device, stream)


def test_other_gpus(device, stream, gpu):
    memory, _ = pixels(device, stream)
    there = gpu.stream()
    second = DLPackProducer(memory.address, (12,), device=(2, 1))
    assert "is on cuda:1; give an array on cuda:0" in refused(second, gpu, there)
    assert second.calls == []
    assert "is on cuda:0; give an array on emulated:0" in refused(
        DLPackProducer(memory.address, (12,), device=(2, 0)), device, stream
    )
    assert "DLPack's device 10, which is no GPU" in refused(
        DLPackProducer(memory.address, (12,), device=(10, 0)), device, stream
    )
    gpu.native.locate = lambda address: "other_device"  # type: ignore[method-assign]
    assert "is on another GPU; give an array on cuda:0" in refused(InterfaceProducer(memory.address, (12,)), gpu, there)
    assert "is on emulated:0; give one on cuda:0" in refused(memory, gpu, there)


def test_a_capsule_that_is_elsewhere_than_its_library_said(device, stream):
    memory, _ = pixels(device, stream)
    producer = DLPackProducer(memory.address, (12,), device=(2, 0))
    producer.__class__ = type("Liar", (DLPackProducer,), {"__dlpack_device__": lambda self: (1, 0)})
    assert "is on cuda:0" in refused(producer, device, stream)
    assert producer.deleted == 1


def test_read_only_where_it_is_written_to(device, stream):
    memory, values = pixels(device, stream)
    for producer in (
        DLPackProducer(memory.address, (3, 4), flags=READ_ONLY),
        InterfaceProducer(memory.address, (3, 4), read_only=True),
    ):
        array = take(producer, device, stream)
        assert array.read_only
        assert array.part(0, 1).read_only
        with pytest.raises(InvalidArgumentError, match="read-only"):
            array.write(values, stream)
        assert "is read-only; give an array that may be written to" in refused(producer, device, stream, writeable=True)
        assert "is read-only" in refused(array, device, stream, writeable=True)
    assert not take(DLPackProducer(memory.address, (3, 4)), device, stream, writeable=True).read_only


@pytest.mark.parametrize("make", [DLPackProducer, InterfaceProducer])
def test_null_pointers(device, stream, make):
    assert "shape [3, 4] and a null pointer" in refused(make(0, (3, 4)), device, stream)


@pytest.mark.parametrize("make", [DLPackProducer, InterfaceProducer])
@pytest.mark.parametrize("strides", [None, (7, 7)])
def test_empty_arrays_get_an_address(device, stream, make, strides):
    array = take(make(0, (0, 4), strides=strides), device, stream)
    assert array.address != 0
    assert (array.shape, array.nbytes, array.contiguous) == ((0, 4), 0, True)


def test_addresses_that_no_element_can_have(device, stream):
    memory, _ = pixels(device, stream, (64,))
    producer = InterfaceProducer(memory.address + 2, (3,), typestr="<f4")
    assert "no multiple of 4, the size of float32" in refused(producer, device, stream)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"version": 1}, "has version 1; give 2 or 3"),
        ({"version": ...}, "has version None"),
        ({"version": 4}, "has version 4"),
        ({"mask": object()}, "has a mask"),
        ({"data": None}, "is broken (TypeError"),
        ({"data": ...}, "is broken (KeyError: 'data')"),
        ({"data": (1.5, False)}, "is broken (TypeError"),
        ({"shape": 3}, "is broken (TypeError"),
        ({"strides": "ab"}, "is broken (TypeError"),
        ({"typestr": ...}, "is broken (KeyError: 'typestr')"),
        ({"stream": 0}, "has the stream 0: stream is 0; give 1"),
        ({"stream": -1}, "has the stream -1"),
        ({"stream": "legacy"}, "has the stream 'legacy'"),
        ({"stream": 12345}, "has the stream 12345"),
    ],
)
def test_broken_interfaces(device, stream, entries, told):
    memory, _ = pixels(device, stream)
    assert told in refused(InterfaceProducer(memory.address, (3, 4), **entries), device, stream)


def test_what_is_no_array(device, stream):
    for obj in ("a text", None, [1, 2], object()):
        assert "; give a DeviceArray, or what has __dlpack__" in refused(obj, device, stream)
    producer = InterfaceProducer(0, ())
    producer.__cuda_array_interface__ = 7  # type: ignore[assignment]
    assert "is a int; it must be a dict" in refused(producer, device, stream)


def test_kernels_may_read_what_others_wrote(device, stream):
    memory = device.empty((64, 64, 3), "uint8")
    np.from_dlpack(memory)[:] = 9  # which the watch over kernels does not see
    _native.emulation.take_findings()
    array = take(DLPackProducer(memory.address, (64, 64, 3), dtype=UINT8), device, stream)
    np.testing.assert_array_equal(array.numpy(stream), np.full((64, 64, 3), 9))
    placement = _native.plan_letterbox(_native.Rectangle(x=0, y=0, width=64, height=64), 32, 32, "truncate")
    out = device.empty((1, 3, 32, 32), "float32")
    size = _native.preprocess_descriptor_bytes([placement], "bilinear", 32, 32)
    host = np.zeros(size, np.uint8)
    _native.describe_preprocess(
        host,
        [array.view()],
        [placement],
        out.view(),
        swap_channels=False,
        pad_value=114,
        normalization="multiply_add",
        divisor=1.0,
        first=(1.0,) * 3,
        second=(0.0,) * 3,
        keep_padding=False,
        interpolation="bilinear",
    )
    descriptors = device.upload(host, stream)
    _native.preprocess_on_device(device.native, descriptors.address, out.view(), "bilinear", stream.handle)
    np.testing.assert_array_equal(out.numpy(stream), np.full((1, 3, 32, 32), 9.0))
    assert _native.emulation.take_findings() == []
