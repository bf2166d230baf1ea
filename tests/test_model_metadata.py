"""The metadata of a model file: written and read alike, every field checked, and read without the onnx package."""

import json

import onnx
import pytest

from rfkernels.errors import ModelFileError
from rfkernels.model_metadata import METADATA_KEY, ModelMetadata, Preprocessing, Source, read_model_metadata

METADATA = ModelMetadata(
    task="object-detection",
    family="yolov8",
    scale="n",
    class_names=("cat", "straße", "犬"),
    image_size=(64, 96),
    stride=32,
    batch=1,
    output_format="raw_heads",
    source=Source("weights.pt", "0123456789abcdef" * 4),
)


def model_with(properties):
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [70_000], bytes(280_000), raw=True)
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "g", [value], [output], [weights])
    model = onnx.helper.make_model(graph, producer_name="p", doc_string="d")
    onnx.helper.set_model_props(model, properties)
    return model.SerializeToString()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


@pytest.mark.parametrize(
    "metadata",
    [
        METADATA,
        ModelMetadata(
            **{
                **{name: getattr(METADATA, name) for name in METADATA.__dataclass_fields__},
                "scale": None,
                "batch": "dynamic",
                "output_format": "decoded",
                "convention": "ultralytics",
                "preprocessing": Preprocessing(
                    "stretch",
                    0,
                    "bgr",
                    1.5,
                    (1.0, 0.5, 0.1),
                    (-1.0, 2.0, 1e-9),
                    (0.0, 99.5, 10.0, 20.0),
                    True,
                    "stretching",
                ),
            }
        ),
    ],
)
def test_what_is_written_is_read(metadata, path):
    path.write_bytes(model_with({"a": "1", METADATA_KEY: metadata.to_json(), "z": "2"}))
    assert read_model_metadata(path) == metadata
    assert ModelMetadata.from_json(metadata.to_json()) == metadata


def test_the_document_is_the_one_described():
    document = json.loads(METADATA.to_json())
    assert document["format"] == 1
    assert document["names"] == ["cat", "straße", "犬"]
    assert document["imgsz"] == [64, 96]
    assert document["preprocessing"] == {
        "resize_mode": "letterbox",
        "pad_value": 114,
        "color_order": "rgb",
        "divisor": 255.0,
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
        "static_crop": None,
        "grayscale": False,
        "contrast": None,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2),
        ("format", True),
        ("task", "sorcery"),
        ("family", 5),
        ("scale", 1.0),
        ("names", []),
        ("names", "cat"),
        ("names", ["cat", None]),
        ("names", ["c" * 1001]),
        ("names", ["\ud800"]),
        ("family", "\udfff"),
        ("imgsz", 64),
        ("imgsz", [64]),
        ("imgsz", [64, 65]),
        ("imgsz", [0, 64]),
        ("imgsz", [64, True]),
        ("imgsz", [64.0, 64]),
        ("imgsz", [64, 32 * 1024]),
        ("stride", 0),
        ("stride", "32"),
        ("batch", 0),
        ("batch", "many"),
        ("batch", None),
        ("output_format", "both"),
        ("convention", "v3"),
        ("preprocessing", None),
        ("source", []),
        ("preprocessing.resize_mode", "squash"),
        ("preprocessing.pad_value", 256),
        ("preprocessing.color_order", "hsv"),
        ("preprocessing.divisor", 0),
        ("preprocessing.divisor", "255"),
        ("preprocessing.divisor", 1e-320),  # 0 in float32
        ("preprocessing.divisor", 1e300),  # infinity
        ("preprocessing.mean", [1, 1]),
        ("preprocessing.mean", [0, 0, 10**400]),
        ("preprocessing.std", [1, 1, "1"]),
        ("preprocessing.mean", [0, -1e300, 0]),
        ("preprocessing.std", [1, 0, 1]),
        ("preprocessing.std", [1, -1e-60, 1]),
        ("preprocessing.static_crop", [0, 100, 0]),
        ("preprocessing.static_crop", [50, 50, 0, 100]),
        ("preprocessing.static_crop", [0, 101, 0, 100]),
        ("preprocessing.static_crop", [0, 100, 0, True]),
        ("preprocessing.grayscale", 1),
        ("preprocessing.contrast", "more"),
        ("preprocessing.contrast", ["stretching"]),
        ("source.sha256", "0" * 63),
        ("source.sha256", "G" * 64),
        ("source.file", None),
    ],
)
def test_every_field_is_checked(field, value, path):
    document = json.loads(METADATA.to_json())
    *outer, name = field.split(".")
    target = document[outer[0]] if outer else document
    target[name] = value
    path.write_bytes(model_with({METADATA_KEY: json.dumps(document)}))
    with pytest.raises(ModelFileError, match=name) as caught:
        read_model_metadata(path)
    assert str(path) in str(caught.value)
    del target[name]
    with pytest.raises(ModelFileError, match=f"{name} is missing"):
        ModelMetadata.from_json(json.dumps(document))


@pytest.mark.parametrize("where", ["", "preprocessing", "source"])
def test_unknown_fields_are_refused(where):
    document = json.loads(METADATA.to_json())
    (document[where] if where else document)["colour"] = 1
    with pytest.raises(ModelFileError, match="unknown field 'colour'"):
        ModelMetadata.from_json(json.dumps(document))


NOT_DOCUMENTS = ["", "null", "[]", "{", '{"format": 1, "format": 1}', "NaN"]
EXTREME_DOCUMENTS = ["[" * 100_000, '{"format": ' + "9" * 5000 + "}"]


@pytest.mark.parametrize("text", NOT_DOCUMENTS + EXTREME_DOCUMENTS, ids=lambda text: text[:20])
def test_text_that_is_no_document(text, path):
    path.write_bytes(model_with({METADATA_KEY: text}))
    with pytest.raises(ModelFileError):
        read_model_metadata(path)


def test_not_a_number_is_refused():
    document = METADATA.to_json().replace("114", '114, "x": NaN')
    with pytest.raises(ModelFileError, match="unknown field 'x'"):
        ModelMetadata.from_json(document)
    with pytest.raises(ModelFileError, match="divisor"):
        ModelMetadata.from_json(METADATA.to_json().replace("255.0", "NaN"))


def test_a_file_cut_anywhere_is_refused_or_lacks_its_metadata(path):
    data = model_with({METADATA_KEY: METADATA.to_json()})
    start = data.index(METADATA_KEY.encode()) - 5
    for end in [0, 1, 2, 5, 100, 279_000, *range(start, len(data))]:
        path.write_bytes(data[:end])
        with pytest.raises(ModelFileError):
            read_model_metadata(path)


def graph_field(length=0):
    return bytes([7 << 3 | 2]) + bytes([length]) + bytes(length)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no graph"),
        (b"\x00", "at byte 0"),
        (b"PK\x03\x04" + bytes(100), "not an ONNX file"),
        (graph_field() + b"\x0b", "what stands at byte"),
        (graph_field() + b"\x72\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "wants"),
        (graph_field() + b"\x72" + b"\xff" * 12, "does not end"),
        (graph_field() + b"\x70\x01", "no message"),
        (graph_field() + b"\x72\x02\x0a\x05", "truncated"),
        (graph_field() + b"\x72\x03\x0a\x01\xff", "UTF-8"),
        (graph_field() + b"\x72\x02\x08\x01", "malformed"),
        (graph_field() + b"\x72\x03\x0a\x01a" * 2, "given twice"),
        (graph_field() * 100_001, "top-level fields"),
        (b"\x08\x08", "no graph"),
        (graph_field() + b"\x09\x01", "wants 8 bytes"),
    ],
)
def test_bytes_that_are_no_model(data, message, path):
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=message):
        read_model_metadata(path)


def test_a_property_that_is_too_large(path):
    path.write_bytes(model_with({METADATA_KEY: "x" * (16 * 1024 * 1024)}))
    with pytest.raises(ModelFileError, match="metadata property of"):
        read_model_metadata(path)


def test_a_file_from_elsewhere_says_what_to_do(path):
    path.write_bytes(model_with({"names": "{0: 'cat'}"}))
    with pytest.raises(ModelFileError, match=r"rfkernels build model\.onnx -o MODEL\.onnx"):
        read_model_metadata(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        read_model_metadata(tmp_path / "absent.onnx")
    with pytest.raises(ModelFileError, match="directory"):
        read_model_metadata(tmp_path)
