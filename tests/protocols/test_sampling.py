"""Mapping of sampling fields onto the parameter table."""

from __future__ import annotations

import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.sampling import read_stop, sampling_params, token_limit
from kvtape.types import SamplingParams


def test_absent_fields_keep_the_defaults():
    assert sampling_params(temperature=None, seed=4) == SamplingParams(seed=4)


@pytest.mark.parametrize("fields", [{"temperature": 2.1}, {"top_p": -0.1}, {"seed": -1}, {"max_tokens": 0}])
def test_bounds_come_from_the_table(fields):
    with pytest.raises(InvalidRequest) as caught:
        sampling_params(**fields)
    assert caught.value.param == next(iter(fields))


def test_stop_is_one_string_or_up_to_four():
    assert read_stop(None) == ()
    assert read_stop("\n") == ("\n",)
    assert read_stop(["a"] * 4) == ("a",) * 4
    assert read_stop("é" * 32) == ("é" * 32,)


@pytest.mark.parametrize("stop", [["a"] * 5, "", ["a", ""], "x" * 65, "é" * 33])
def test_other_stops_are_refused(stop):
    with pytest.raises(InvalidRequest) as caught:
        read_stop(stop)
    assert caught.value.param == "stop"


def test_the_older_name_of_the_token_limit_wins():
    assert token_limit(None, None) is None
    assert token_limit(3, 5) == 3
    assert token_limit(None, 5) == 5
    with pytest.raises(InvalidRequest) as caught:
        token_limit(None, 0)
    assert caught.value.param == "max_completion_tokens"


def test_a_dialect_may_have_its_own_name_and_bounds():
    assert read_stop(["a"] * 5, name="stop_sequences", max_strings=5) == ("a",) * 5
    with pytest.raises(InvalidRequest, match="stop_sequences") as caught:
        read_stop("abc", name="stop_sequences", max_bytes=2)
    assert caught.value.param == "stop_sequences"
