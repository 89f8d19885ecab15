import numpy as np
import pytest

from kvtape._native import _core
from kvtape.errors import InvalidRequest
from kvtape.ops.sampling import native_params
from kvtape.types import SamplingParams

RECENT, MASK = np.zeros(0, np.int32), np.zeros(0, np.uint64)


def sample(logits, recent=RECENT, mask=MASK):
    return _core.sample(
        logits, native_params(SamplingParams()), recent=recent, mask=mask, draw=0, logit_gap=False, vocab_size=0, isa=""
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"logits": np.zeros(4)},
        {"logits": np.zeros(8, np.float32)[::2]},
        {"logits": np.zeros(4, np.float32), "recent": np.zeros(1, np.int64)},
        {"logits": np.zeros(4, np.float32), "mask": np.zeros(1, np.int64)},
    ],
    ids=["dtype of logits", "strides of logits", "dtype of recent", "dtype of mask"],
)
def test_nothing_is_copied_silently(arguments):
    with pytest.raises(TypeError):
        sample(**arguments)


def test_a_shape_error_names_the_argument():
    with pytest.raises(InvalidRequest, match=r"logits: shape \[1, 4\], wanted \[n\]"):
        sample(np.zeros((1, 4), np.float32))
    with pytest.raises(InvalidRequest, match=r"out: shape \[3\], wanted \[4\]"):
        _core.log_softmax(np.zeros(4, np.float32), np.zeros(3, np.float32), isa="")


def test_parameters_are_keywords_and_all_given():
    with pytest.raises(TypeError):
        _core.SamplingParams(temperature=1.0)
    with pytest.raises(TypeError):
        _core.SamplingParams(1.0)


def test_a_seed_of_64_bits():
    assert _core.uniform(2**64 - 1, 0, 0) != _core.uniform(2**32 - 1, 0, 0)
    with pytest.raises(TypeError):
        _core.uniform(2**64, 0, 0)
