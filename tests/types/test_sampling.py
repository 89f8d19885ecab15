from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields

import pytest

from kvtape.errors import InvalidRequest
from kvtape.types import BOUNDS, REQUEST_BOUNDS, FinishReason, ReasoningSpan, SamplingParams, TokenEvent, check_bound


def test_defaults_are_greedy_and_valid() -> None:
    params = SamplingParams()
    assert (params.temperature, params.top_k, params.top_p, params.min_p, params.repeat_penalty) == (0, 0, 1, 0, 1)
    with pytest.raises(FrozenInstanceError):
        params.temperature = 1.0  # type: ignore[misc]


def test_every_bound_is_a_parameter() -> None:
    assert set(BOUNDS) <= {item.name for item in fields(SamplingParams)}


def test_no_number_has_two_rows() -> None:
    assert not BOUNDS.keys() & REQUEST_BOUNDS.keys()


@pytest.mark.parametrize("name", REQUEST_BOUNDS)
def test_bounds_of_a_request_are_closed(name: str) -> None:
    bound = REQUEST_BOUNDS[name]
    for value in (int(bound.minimum), int(bound.maximum)):
        check_bound(name, value)
    for value in (bound.minimum - 1, bound.maximum + 1, 1.5, True, "1", math.nan):
        with pytest.raises(InvalidRequest) as caught:
            check_bound(name, value, param="other")
        assert caught.value.param == "other"


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_are_closed(name: str) -> None:
    bound = BOUNDS[name]
    kind = int if bound.integer else float
    step = 1 if bound.integer else 0.001
    extra = {"logprobs": True} if name == "top_logprobs" else {}
    for value in (kind(bound.minimum), int(bound.maximum) if bound.integer else bound.maximum):
        assert getattr(SamplingParams(**{name: value}, **extra), name) == value
    for value in (kind(bound.minimum) - step, int(bound.maximum) + step if bound.integer else bound.maximum + step):
        with pytest.raises(InvalidRequest, match=rf"^{name} must be ") as caught:
            SamplingParams(**{name: value}, **extra)
        assert caught.value.param == name


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", True, None, [1]])
def test_only_numbers_are_numbers(value: object) -> None:
    with pytest.raises(InvalidRequest, match=r"^temperature must be a number from 0 to 2, found "):
        check_bound("temperature", value)
    with pytest.raises(InvalidRequest, match=r"^body\.top_k must be an integer ") as caught:
        check_bound("top_k", 1.0 if value is None else value, param="body.top_k")
    assert caught.value.param == "body.top_k"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"top_logprobs": 3}, "top_logprobs needs logprobs"),
        ({"logprob_ids": (3,)}, "logprob_ids needs logprobs"),
        ({"logprobs": True, "logprob_ids": (-1,)}, "logprob_ids are token ids"),
        ({"stop": ("x",) * 17}, "stop has 17 strings, at most 16"),
        ({"stop": ("",)}, "each stop string has 1 to 256 bytes, found ''"),
        ({"stop": ("é" * 129,)}, "each stop string has 1 to 256 bytes"),
        ({"logit_bias": {1: math.nan}}, "logit_bias[1] is nan"),
        ({"logit_bias": {1: math.inf}}, "logit_bias[1] is inf"),
        ({"logit_bias": dict.fromkeys(range(1025), 0.0)}, "logit_bias has 1025 entries, at most 1024"),
        ({"allowed_tokens": tuple(range(1025))}, "allowed_tokens has 1025 ids, at most 1024"),
        ({"allowed_tokens": (5, -1)}, "allowed_tokens are token ids, found -1"),
        ({"allowed_tokens": (True,)}, "allowed_tokens are token ids, found True"),
        ({"allowed_tokens": "ab"}, "allowed_tokens are token ids, found 'a'"),
        ({"shown_tokens": tuple(range(65))}, "shown_tokens has 65 ids, at most 64"),
        ({"shown_tokens": (-1,)}, "shown_tokens are token ids, found -1"),
    ],
)
def test_bad_values_say_what_was_wanted(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        SamplingParams(**values)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
    assert caught.value.param in values


@pytest.mark.parametrize(
    ("values", "message", "param"),
    [
        ({"open": ""}, "a marker of reasoning has 1 to 256 bytes, found ''", "reasoning"),
        ({"close": "x" * 257}, "a marker of reasoning has 1 to 256 bytes", "reasoning"),
        ({"budget": -1, "close_ids": (1,)}, "reasoning.budget must be an integer from 0", "reasoning.budget"),
        ({"budget": 1}, "a budget of reasoning needs close_ids", "reasoning.close_ids"),
        ({"close_ids": (True,)}, "reasoning.close_ids are token ids, found True", "reasoning.close_ids"),
        ({"close_ids": (1,) * 65}, "reasoning.close_ids has 65 ids, at most 64", "reasoning.close_ids"),
    ],
)
def test_bad_spans_say_what_was_wanted(values: dict[str, object], message: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ReasoningSpan(**({"open": "<r>", "close": "</r>"} | values))  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
    assert caught.value.param == param


def test_good_values_at_the_edge() -> None:
    params = SamplingParams(
        stop=("é" * 128,) * 16, logit_bias={7: -math.inf}, logprobs=True, top_logprobs=20, seed=2**64 - 1
    )
    assert params.logit_bias[7] == -math.inf


def test_the_last_event_is_the_one_with_a_reason() -> None:
    assert not TokenEvent(token_id=1, text="a").finished
    assert TokenEvent(token_id=1, text="a", finish_reason=FinishReason.STOP).finished
    assert FinishReason("length") is FinishReason.LENGTH
