"""What a request says of reasoning, and signatures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic.models import ThinkingConfig
from kvtape.protocols.anthropic.thinking import read_signed, read_thinking, shows_thinking, sign
from kvtape.types import Thinking


@pytest.mark.parametrize(
    ("config", "effort", "thinking"),
    [
        (None, None, Thinking()),
        (None, "low", Thinking(enabled=False)),
        (None, "medium", Thinking(enabled=True)),
        (ThinkingConfig("disabled"), "max", Thinking(enabled=False)),
        (ThinkingConfig("adaptive"), "low", Thinking(enabled=True)),
        (ThinkingConfig("enabled", 8), None, Thinking(enabled=True, budget=8)),
    ],
)
def test_thinking(config, effort, thinking):
    assert read_thinking(config, effort, 9) == thinking


def test_a_budget_is_below_max_tokens_where_there_is_such():
    assert read_thinking(ThinkingConfig("enabled", 9), None, None).budget == 9
    for budget in (None, 0, 9):
        with pytest.raises(InvalidRequest) as caught:
            read_thinking(ThinkingConfig("enabled", budget), None, 9)
        assert caught.value.param == "thinking.budget_tokens"


def test_how_it_is_shown():
    assert [shows_thinking(config) for config in (None, ThinkingConfig("adaptive"))] == [True, True]
    assert shows_thinking(ThinkingConfig("adaptive", display="summarized"))
    assert not shows_thinking(ThinkingConfig("adaptive", display="omitted"))


@given(st.text(), st.booleans())
def test_what_was_signed_comes_back(text, shown):
    assert read_signed(text if shown else "", sign(text, shown=shown), "x") == text
    assert read_signed(text, sign(text, shown=shown), "x") == text
    assert read_signed(text, None, "x") == read_signed(text, "of another server", "x") == text


@given(st.text(), st.text(), st.booleans())
def test_what_was_changed_is_told(text, other, shown):
    if text in ("", other) or (other == "" and not shown):
        return
    with pytest.raises(InvalidRequest) as caught:
        read_signed(other, sign(text, shown=shown), "messages[1]")
    assert caught.value.param == "messages[1].signature"


@pytest.mark.parametrize("rest", ["", "!", "AAAA", "/w==", "é"])
def test_a_signature_that_is_none(rest):
    with pytest.raises(InvalidRequest):
        read_signed("hm", f"kvtape1.{rest}", "x")
