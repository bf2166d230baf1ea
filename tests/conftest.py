import numpy as np
import pytest

from rfkernels import _native


@pytest.fixture(params=_native.supported_instruction_sets())
def instruction_set(request):
    _native.force_instruction_set(request.param)
    yield request.param
    _native.force_instruction_set("auto")


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)
