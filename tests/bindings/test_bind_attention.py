import numpy as np
import pytest

from kvtape._native import _core
from kvtape.errors import InvalidRequest

OPTIONS = {"kv_type": "f16", "layer": 0, "scale": 1.0, "window": 0, "n_threads": 1, "isa": ""}


def arrays():
    return {
        "q": np.zeros((2, 2, 8), np.float32),
        "pool": np.zeros((1, 1, 2, 1, 2 * 8 * 32), np.uint8),
        "out": np.zeros((2, 2, 8), np.float32),
    }


def attend(span, **changed):
    call = arrays() | changed
    _core.attention(call["q"], call["pool"], [span], call["out"], **OPTIONS)


@pytest.fixture
def span():
    return _core.AttentionSpan(first_row=0, n_rows=2, first_position=0, blocks=np.zeros(1, np.int32))


@pytest.mark.parametrize(
    "changed",
    [
        {"q": np.zeros((2, 2, 8))},
        {"q": np.zeros((2, 2, 16), np.float32)[:, :, ::2]},
        {"pool": np.zeros((1, 1, 2, 1, 256), np.float16)},
        {"out": np.zeros((2, 2, 8))},
    ],
    ids=["dtype of q", "strides of q", "dtype of pool", "dtype of out"],
)
def test_nothing_is_copied_silently(span, changed):
    with pytest.raises(TypeError):
        attend(span, **changed)


def test_a_read_only_out_is_refused(span):
    out = np.zeros((2, 2, 8), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="not writeable"):
        attend(span, out=out)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"q": np.zeros((2, 16), np.float32)}, r"q: shape \[2, 16\], wanted \[n, n, n\]"),
        ({"out": np.zeros((1, 2, 8), np.float32)}, r"out: shape \[1, 2, 8\], wanted \[2, 2, 8\]"),
        ({"pool": np.zeros((1, 2, 512), np.uint8)}, "pool: shape"),
    ],
)
def test_a_shape_error_names_the_argument(span, changed, message):
    with pytest.raises(InvalidRequest, match=message):
        attend(span, **changed)


def test_a_span_keeps_its_block_table():
    table = np.zeros(1, np.int32)
    span = _core.AttentionSpan(first_row=0, n_rows=2, first_position=0, blocks=table)
    table[0] = 99
    attend(span)


def test_write_kv_wants_heads_as_the_pool_has_them(span):
    k, pool = np.zeros((2, 3, 8), np.float32), arrays()["pool"]
    with pytest.raises(InvalidRequest, match=r"pool: shape \[1, 1, 2, 1, 512\], wanted \[n, n, 2, 3, n\]"):
        _core.write_kv(k, k, pool, [span], kv_type="f16", layer=0, n_threads=1, isa="")
