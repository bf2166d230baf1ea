"""Malformed, oversized and wrongly declared images: each is refused with its cause, and nothing else happens."""

import base64
import io
import pickle
import struct
import subprocess
import sys
import textwrap
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import encode, oriented, picture, png, png_chunk, scene, sixteen_bits, whole_files
from PIL import Image as PillowImage
from PIL import ImageFile

import rfkernels
from rfkernels.errors import InputImageLoadError
from rfkernels.images import ImageOptions, load_image

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

WHOLE = whole_files()


def replaced(data, old, new, occurrence=0):
    """`data` with one occurrence of `old` overwritten by `new`, at the same place."""
    position = -1
    for _ in range(occurrence + 1):
        position = data.index(old, position + 1)
    return data[:position] + new + data[position + len(new) :]


def png_of_size(width, height, color_type=2):
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def jpeg_of_size(width, height):
    data = WHOLE["jpeg"]
    frame = data.index(b"\xff\xc0")
    return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]


def webp_extended_of_size(width, height):
    data = WHOLE["webp-alpha"]
    canvas = data.index(b"VP8X") + 12
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return data[:canvas] + size + data[canvas + 6 :]


def jpeg_2000_of_size(width, height):
    """The codestream is made huge, the JP2 box in front keeps saying 53 x 37."""
    data = WHOLE["jp2"]
    size = data.index(b"\xff\x4f\xff\x51") + 8
    return data[:size] + struct.pack(">II", width, height) + data[size + 8 :]


def tiff_of_size(width, height):
    data = WHOLE["tiff"]
    data = replaced(data, struct.pack("<HHII", 256, 4, 1, 53), struct.pack("<HHII", 256, 4, 1, width))
    return replaced(data, struct.pack("<HHII", 257, 4, 1, 37), struct.pack("<HHII", 257, 4, 1, height))


def avif_of_size(width, height):
    data = WHOLE["avif"]
    size = data.index(b"ispe") + 8
    return data[:size] + struct.pack(">II", width, height) + data[size + 8 :]


BOMBS = {
    "png": png_of_size(60_000, 60_000),
    "png of the largest size": png_of_size(2**31 - 1, 2**31 - 1),
    "grey png": png_of_size(200_000, 200_000, color_type=0),
    "jpeg": jpeg_of_size(65_500, 65_500),
    "gif": replaced(WHOLE["gif"], struct.pack("<HH", 53, 37), struct.pack("<HH", 65_535, 65_535)),
    "bmp": replaced(WHOLE["bmp"], struct.pack("<ii", 53, 37), struct.pack("<ii", 2_000_000, 2_000_000)),
    "tiff": tiff_of_size(1_000_000, 1_000_000),
    "webp": webp_extended_of_size(16_384, 16_383),
    "jpeg 2000": jpeg_2000_of_size(4_000_000, 4_000_000),
    "ppm": b"P6\n100000 100000\n255\n" + bytes(100),
    "avif": avif_of_size(16_384, 16_384),
}

MALFORMED = {
    "empty": b"",
    "one byte": b"\xff",
    "zeros": bytes(1000),
    "text": b"this is not an image, it only says so",
    "html": b"<!doctype html><html><body>404</body></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>',
    "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "zip": b"PK\x03\x04" + bytes(100),
    "pickle": pickle.dumps(scene()),
    "numpy file": b"\x93NUMPY\x01\x00" + bytes(100),
    "icon": b"\0\0\1\0\1\0\x10\x10\0\0\1\0 \0" + bytes(100),
    "icns": b"icns\0\0\0\x20ic08" + bytes(24),
    "photoshop": b"8BPS\0\1" + bytes(100),
    "fits": b"SIMPLE  =                    T" + b" " * 100,
    "mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100),
    "jpeg signature only": b"\xff\xd8\xff",
    "jpeg without a frame": b"\xff\xd8" + WHOLE["jpeg"][WHOLE["jpeg"].index(b"\xff\xda") :],
    "jpeg without tables": replaced(WHOLE["jpeg"], b"\xff\xdb", b"\xff\xfe"),
    "jpeg of no height": jpeg_of_size(53, 0),
    "jpeg larger than its data": jpeg_of_size(530, 370),
    "jpeg with a segment past its end": WHOLE["jpeg"][:20] + b"\xff\xe2\xff\xff",
    "jpeg with a segment of length 0": WHOLE["jpeg"][:20] + b"\xff\xe2\0\0" + WHOLE["jpeg"][20:],
    "jpeg with two frames": WHOLE["jpeg"][:20] + WHOLE["jpeg"][158:177] + WHOLE["jpeg"][20:],
    "jpeg with other data in its middle": WHOLE["jpeg"][:900] + bytes(range(256)) + WHOLE["jpeg"][1156:],
    "jpeg with 12 bits": replaced(WHOLE["jpeg"], b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
    "jpeg of endless scans": WHOLE["jpeg-progressive"][:-2] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" * 600 + b"\xff\xd9",
    "png signature only": b"\x89PNG\r\n\x1a\n",
    "png with a wrong checksum": replaced(WHOLE["png"], b"IHDR\0", b"IHDR\1"),
    "png of no width": png_of_size(0, 10),
    "png without data": b"\x89PNG\r\n\x1a\n"
    + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
    + png_chunk(b"IEND", b""),
    "png with data that is not compressed": b"\x89PNG\r\n\x1a\n"
    + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
    + png_chunk(b"IDAT", bytes(52))
    + png_chunk(b"IEND", b""),
    "png of an unknown colour type": png(scene()[..., 0], 5, 8),
    "png of an unknown filter": b"\x89PNG\r\n\x1a\n"
    + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    + png_chunk(b"IDAT", zlib.compress(b"\x09aaaa" * 4))
    + png_chunk(b"IEND", b""),
    "png palette without colours": b"\x89PNG\r\n\x1a\n"
    + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 3, 3, 0, 0, 0))
    + png_chunk(b"IDAT", zlib.compress(bytes(20)))
    + png_chunk(b"IEND", b""),
    "png chunk of 2 GiB": WHOLE["png"][:33] + b"\x7f\xff\xff\xffIDAT" + bytes(100),
    "png with a text that inflates to 64 MiB": png(
        scene(), 2, 8, png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(64 << 20), 9))
    ),
    "gif without an image": WHOLE["gif"][:13] + b";",
    "gif of code size 31": b"GIF89a\4\0\4\0\x80\0\0" + bytes(6) + b",\0\0\0\0\4\0\4\0\0\x1f\2\x44\1\0;",
    "bmp without an end of its header": WHOLE["bmp"][:30],
    "bmp of 7 bits": replaced(WHOLE["bmp"], struct.pack("<HH", 1, 24), struct.pack("<HH", 1, 7)),
    "bmp with its data past its end": replaced(WHOLE["bmp"], struct.pack("<I", 54), struct.pack("<I", 10_000_000)),
    "tiff with a directory past its end": b"II*\0\xff\xff\xff\x7f",
    "tiff with a directory in its header": b"II*\0\0\0\0\0",
    "tiff without tags": b"II*\0\x08\0\0\0\0\0\0\0\0\0",
    "tiff with strips past its end": replaced(
        WHOLE["tiff"], struct.pack("<HHI", 273, 4, 1), struct.pack("<HHI", 273, 4, 9)
    ),
    "tiff of an unknown compression": replaced(
        WHOLE["tiff"], struct.pack("<HHIH", 259, 3, 1, 1), struct.pack("<HHIH", 259, 3, 1, 999)
    ),
    "float tiff": encode(np.full((4, 4), np.nan, np.float32), "TIFF"),
    "int tiff": encode(np.full((4, 4), -1, np.int32), "TIFF"),
    "webp header only": WHOLE["webp"][:20],
    "webp without an image": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(10) + b"EXIF\4\0\0\0abcd",
    "avif without an image": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
    "jpeg 2000 box only": WHOLE["jp2"][:60],
    "jpeg 2000 with tiles of no size": replaced(
        WHOLE["j2k"], struct.pack(">II", 53, 37), struct.pack(">II", 0, 0), occurrence=1
    ),
    "ppm without numbers": b"P6\nwide high\n255\n",
    "ppm of a negative size": b"P6\n-5 5\n255\n" + bytes(75),
    "ppm of a huge maximum": b"P5\n2 2\n99999999\n" + bytes(8),
    "pgm of too few values": b"P2\n4 2\n255\n0 1 2 3\n",
    "pgm of values above its maximum": b"P2\n2 1\n9\n3 12\n",
}


def refusal_of(source, **options):
    with pytest.raises(InputImageLoadError, match=r"^Could not load input image\. Cause: .{10}") as raised:
        load_image(source, options=ImageOptions(**options))
    return str(raised.value)


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_images_are_refused(name):
    refusal_of(MALFORMED[name])
    if MALFORMED[name]:
        refusal_of({"type": "base64", "value": base64.b64encode(MALFORMED[name])})
        refusal_of(io.BytesIO(MALFORMED[name]))


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_by_their_declared_size(name):
    assert "pixels" in refusal_of(BOMBS[name])


def test_a_jpeg_of_too_many_scans_is_refused_before_it_is_decoded():
    assert "more than 500 scans" in refusal_of(MALFORMED["jpeg of endless scans"])


def test_a_large_jpeg_may_have_fewer_scans():
    data = WHOLE["jpeg-progressive"]
    frame = data.index(b"\xff\xc2")
    large = data[: frame + 5] + struct.pack(">HH", 13_000, 13_000) + data[frame + 9 : -2]
    scans = b"\xff\xda\0\x08\1\1\0\0\x3f\0" * 20 + b"\xff\xd9"
    assert "more than 24 scans of 13000 x 13000" in refusal_of(large + scans)


def test_bombs_are_refused_before_memory_is_spent_on_them(tmp_path):
    for index, name in enumerate(BOMBS):
        (tmp_path / f"{index}.bin").write_bytes(BOMBS[name])
    program = """
        import pathlib, resource, sys
        from rfkernels.errors import InputImageLoadError
        from rfkernels.images import load_image
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), used + (64 << 20)))
        for path in pathlib.Path(sys.argv[1]).iterdir():
            try:
                load_image(path)
            except InputImageLoadError as error:
                print(error)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        cwd=Path(rfkernels.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    causes = result.stdout.splitlines()
    assert len(causes) == len(BOMBS)
    # None is refused for want of more than the 64 MiB that there are.
    assert [cause for cause in causes if "pixels" not in cause] == []


def test_an_image_that_does_not_fit_in_memory_is_refused():
    program = """
        import resource, sys
        from rfkernels.errors import InputImageLoadError
        from rfkernels.images import load_image
        data = sys.stdin.buffer.read()
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), used + (64 << 20)))
        try:
            load_image(data)
        except InputImageLoadError as error:
            print(error)
    """
    flat = encode(np.zeros((9000, 9000, 3), np.uint8), "JPEG")
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=Path(rfkernels.__file__).parents[1],
        input=flat,
        capture_output=True,
        check=True,
    )
    assert result.stdout.startswith(b"Could not load input image. Cause: ")


class Unreadable:
    def read(self, _size=-1):
        raise ConnectionResetError("gone")


class TextFile:
    def read(self, _size=-1):
        return "text"


class ExecutesWhenUnpickled:
    def __reduce__(self):
        return (threading.setprofile, (print,))


class Endless:
    def read(self, size):
        return bytes(size)


TEXT = base64.b64encode(WHOLE["png"]).decode()
WRONGLY_DECLARED = {
    "unknown type": ({"type": "tensor", "value": TEXT}, "Image declaration contains not recognised image type."),
    "no type": ({"value": TEXT}, "Image declaration contains not recognised image type."),
    "type is a number": ({"type": 3, "value": TEXT}, "Image declaration contains not recognised image type."),
    "type is a list": ({"type": ["base64"], "value": TEXT}, "Image declaration contains not recognised image type."),
    "empty": ({}, "Image declaration contains not recognised image type."),
    "pickle": ({"type": "numpy", "value": pickle.dumps(ExecutesWhenUnpickled())}, "it is a pickle"),
    "pickle in capitals": ({"type": "NUMPY", "value": TEXT}, "it is a pickle"),
    "base64 that is not": ({"type": "base64", "value": "!!!!"}, "Malformed base64"),
    "base64 that is raw bytes": ({"type": "base64", "value": WHOLE["png"]}, "Malformed base64"),
    "base64 with a stray character": ({"type": "base64", "value": TEXT[:99] + "*" + TEXT[100:]}, "Malformed base64"),
    "base64 of nothing": ({"type": "base64", "value": ""}, "Empty image payload."),
    "base64 of text": ({"type": "base64", "value": "aGVsbG8gd29ybGQ="}, "not an image of a known format"),
    "base64 beyond ASCII": ({"type": "base64", "value": "é" * 40}, "Malformed base64"),
    "base64 of a URL": ({"type": "base64", "value": "https://example.com/a.png"}, "Malformed base64"),
    "base64 null": ({"type": "base64", "value": None}, "its value is a NoneType"),
    "base64 number": ({"type": "base64", "value": 5}, "its value is a int"),
    "multipart text": ({"type": "multipart", "value": TEXT}, "its value is a str"),
    "multipart base64": ({"type": "multipart", "value": TEXT.encode()}, "not an image of a known format"),
    "multipart unreadable": ({"type": "multipart", "value": Unreadable()}, "ConnectionResetError: gone"),
    "numpy_object list": ({"type": "numpy_object", "value": [[1, 2], [3, 4]]}, "its value is a list"),
    "pil bytes": ({"type": "pil", "value": WHOLE["png"]}, "its value is a bytes"),
    "file null": ({"type": "file", "value": None}, "its value is a NoneType"),
    "file missing": ({"type": "file", "value": "no/such/file.png"}, "No such file"),
    "file with a null character": ({"type": "file", "value": "a\0b"}, "could not be read"),
    "url": ({"type": "url", "value": "https://example.com/a.png"}, "URLs is disabled"),
    "url bytes": ({"type": "url", "value": b"https://example.com/a.png"}, "its value is a bytes"),
    "nested": ({"type": "base64", "value": {"type": "base64", "value": TEXT}}, "its value is a dict"),
    "none": (None, "got an object of type NoneType"),
    "number": (5, "got an object of type int"),
    "list": ([WHOLE["png"]], "got an object of type list"),
    "unreadable file object": (Unreadable(), "ConnectionResetError: gone"),
    "text file object": (TextFile(), "Open the file in binary mode"),
    "missing path": (Path("no/such/file.png"), "No such file"),
    "directory": (Path(), "is a folder, not an image"),
    "directory as text": (str(Path.cwd()), "is a folder, not an image"),
    "device": (Path("/dev/zero"), "not a regular file"),
    "missing path as text": ("no/such/file.png", "is not an existing file, nor an image in base64"),
    "empty text": ("", "is not an existing file, nor an image in base64"),
    "long text": ("A" * 10_000, "not an image of a known format"),
    "text with a null character": ("a\0b", "is not an existing file, nor an image in base64"),
    "surrogate text": ("\ud800", "is not an existing file, nor an image in base64"),
    "data URL of text": ("data:text/plain;base64," + TEXT, "is not an existing file, nor an image in base64"),
    "float array": (scene().astype(np.float32), "dtype float32"),
    "uint16 array": (sixteen_bits(3), "dtype uint16"),
    "bool array": (scene() > 3, "dtype bool"),
    "object array": (np.array([[None]], dtype=object), "dtype object"),
    "array of 2 channels": (scene()[..., :2], r"shape (37, 53, 2)"),
    "array of 5 channels": (np.zeros((4, 4, 5), np.uint8), "shape (4, 4, 5)"),
    "batch of arrays": (scene()[None], "shape (1, 37, 53, 3)"),
    "array of one dimension": (np.frombuffer(WHOLE["png"], np.uint8), "got shape ("),
    "scalar array": (np.array(3, np.uint8), "got shape ()"),
    "array without rows": (np.zeros((0, 5, 3), np.uint8), "5 x 0 pixels"),
    "array without columns": (np.zeros((5, 0, 3), np.uint8), "0 x 5 pixels"),
    "broadcast array of 10 gigapixels": (np.broadcast_to(np.uint8(0), (100_000, 100_000, 3)), "more than the"),
    "float PIL": (PillowImage.fromarray(scene()[..., 0].astype(np.float32)), "no 8-bit RGB meaning"),
    "Lab PIL": (PillowImage.new("LAB", (3, 3)), "no 8-bit RGB meaning"),
    "empty PIL": (PillowImage.new("RGB", (0, 3)), "0 x 3 pixels"),
}


@pytest.mark.parametrize("name", WRONGLY_DECLARED)
def test_wrongly_declared_sources_are_refused(name):
    source, cause = WRONGLY_DECLARED[name]
    assert cause in refusal_of(source)


def test_an_endless_file_object_is_given_up_at_the_limit():
    assert "more than the 5000000 allowed" in refusal_of(Endless(), max_encoded_bytes=5_000_000)


def test_a_pickle_is_never_loaded(monkeypatch):
    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("a pickle was loaded"))
    data = pickle.dumps(ExecutesWhenUnpickled())
    for source in (data, base64.b64encode(data), {"type": "numpy", "value": data}, {"type": "base64", "value": data}):
        refusal_of(source)
    assert threading.getprofile() is None


def test_a_cut_pil_picture_is_refused():
    with PillowImage.open(io.BytesIO(WHOLE["tiff"][:3000])) as pil:
        assert "PIL image could not be loaded" in refusal_of(pil)


def test_settings_of_pillow_are_left_alone():
    def settings():
        return (PillowImage.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK, PillowImage.ID[:])

    before = settings()
    for data in (*WHOLE.values(), *MALFORMED.values()):
        try:
            load_image(data)
        except InputImageLoadError:
            continue
    assert settings() == before


def test_many_threads_get_what_one_gets():
    sources = [*WHOLE.values(), *(oriented("JPEG", orientation) for orientation in range(1, 9)), picture("P")]
    expected = [load_image(source).pixels for source in sources]
    failures = []

    def work(offset):
        for step in range(len(sources)):
            index = (step + offset) % len(sources)
            try:
                np.testing.assert_array_equal(load_image(sources[index]).pixels, expected[index])
                load_image(MALFORMED["jpeg larger than its data"])
            except InputImageLoadError:
                continue
            except AssertionError as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(7 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
