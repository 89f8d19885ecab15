"""Fields that chat and raw completions share."""

from __future__ import annotations

import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai.fields import read_count, read_include_usage, read_logit_bias, read_seed
from kvtape.protocols.openai.request_models import StreamOptions
from kvtape.types import MAX_CHOICES


def test_counts():
    assert (read_count("n", None), read_count("n", 1), read_count("best_of", MAX_CHOICES)) == (1, 1, MAX_CHOICES)
    for value in (0, -1, MAX_CHOICES + 1):
        with pytest.raises(InvalidRequest) as caught:
            read_count("best_of", value)
        assert caught.value.param == "best_of"


@pytest.mark.parametrize(
    ("stream", "options", "wanted"),
    [
        (None, None, False),
        (True, None, False),
        (True, StreamOptions(), False),
        (True, StreamOptions(include_usage=False, include_obfuscation=False), False),
        (True, StreamOptions(include_usage=True), True),
    ],
)
def test_usage_is_told_where_it_is_asked_for(stream, options, wanted):
    assert read_include_usage(stream, options) is wanted


def test_stream_options_want_a_stream():
    with pytest.raises(InvalidRequest) as caught:
        read_include_usage(False, StreamOptions())
    assert caught.value.param == "stream_options"


@pytest.mark.parametrize("seed", [None, 0, 1, (1 << 64) - 1, 1 << 64, -(1 << 63) - 1])
def test_seeds_of_the_table_and_those_it_refuses_stay(seed):
    assert read_seed(seed) == seed


def test_negative_seeds_are_the_upper_half():
    assert read_seed(-1) == (1 << 64) - 1
    assert read_seed(-(1 << 63)) == 1 << 63


def test_logit_bias():
    assert read_logit_bias(None) is None
    assert read_logit_bias({"7": -100, "07": 3}) == {7: 3}
    for bias in ({"-1": 0}, {"": 0}, {"x": 0}, {"²": 0}, {"٣": 0}, {"9" * 5000: 0}, {"5": 100.5}):
        with pytest.raises(InvalidRequest) as caught:
            read_logit_bias(bias)
        assert caught.value.param == "logit_bias"
