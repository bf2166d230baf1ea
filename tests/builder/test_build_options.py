"""Options that a model cannot have are refused by name, before anything is written."""

import pytest

from rfkernels.builder import BuildOptions, build
from rfkernels.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": "abc"}, "class_names: got the text 'abc'"),
        ({"class_names": ["\ud800", "b", "c"]}, "not valid Unicode"),
        ({"image_size": 64.0}, "image_size: got 64.0"),
    ],
)
def test_wrong_build_options_are_named(small_model_path, tmp_path, options, message):
    (weights,) = small_model_path.parent.glob("*.safetensors")
    with pytest.raises(InvalidArgumentError, match=message):
        build(weights, tmp_path / "model.onnx", BuildOptions(**{"image_size": 64, **options}))
    assert not list(tmp_path.iterdir())
