"""Plain replies as literal bytes, and the parts that streams share with them."""

from __future__ import annotations

import json

import pytest

from kvtape.protocols.openai.reply import ReplyForm, call_id, encode_completion, shown_events
from kvtape.types import ContentDelta, ReplyFinish, ReplyStep, TokenEvent
from tests.protocols.openai.replies import CALLS, CUT, HEAD, THOUGHT, USAGE, spell, steps


def message(made, form=None):
    (choice,) = json.loads(encode_completion([made], USAGE, HEAD, form or ReplyForm()))["choices"]
    return choice["message"], choice["finish_reason"]


def test_completion_bytes():
    made = [steps([ContentDelta("Hel")], [ContentDelta("lo")]), steps([], finish=ReplyFinish.LENGTH)]
    assert encode_completion(made, USAGE, HEAD, ReplyForm(service_tier="default")) == (
        b'{"id":"chatcmpl-a1","created":7,"model":"m","system_fingerprint":"fp_1",'
        b'"choices":[{"message":{"content":"Hello","role":"assistant","refusal":null},'
        b'"finish_reason":"stop","logprobs":null,"index":0},{"message":{"content":"","role":"assistant",'
        b'"refusal":null},"finish_reason":"length","logprobs":null,"index":1}],"usage":{"prompt_tokens":9,'
        b'"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4}},'
        b'"object":"chat.completion","service_tier":"default"}'
    )


def test_calls():
    reply, finish = message(CALLS, ReplyForm(calls=True))
    assert finish == "tool_calls"
    assert reply == {
        "role": "assistant",
        "content": "Let me see.",
        "refusal": None,
        "tool_calls": [
            {"id": "call_a1_0_0", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
            {"id": "call_a1_0_1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


def test_a_call_that_was_cut_off_is_told_as_far_as_it_came():
    reply, finish = message(CUT, ReplyForm(calls=True))
    assert finish == "length"
    assert reply["content"] is None
    assert reply["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a"'}


def test_the_older_function_call():
    reply, finish = message(CALLS, ReplyForm(calls=True, legacy=True))
    assert finish == "function_call"
    assert reply["function_call"] == {"name": "f", "arguments": '{"a": 1}'}
    assert "tool_calls" not in reply


def test_reasoning():
    reply, _ = message(THOUGHT)
    assert (reply["content"], reply["reasoning"], reply["reasoning_content"]) == ("so", "I think", "I think")
    reply, _ = message(THOUGHT[:3] + steps([], finish=ReplyFinish.LENGTH))
    assert (reply["content"], reply["reasoning"]) == (None, "I think")
    assert message(THOUGHT, ReplyForm(reasoning=False))[0] == {"role": "assistant", "content": "so", "refusal": None}


def test_reasoning_that_stays_in_the_content():
    made = [ReplyStep(TokenEvent(1, text), []) for text in ("<think>", "", "x</think>")]
    shown = [list(shown_events(step, ReplyForm(separate_reasoning=False))) for step in made]
    assert shown == [[ContentDelta("<think>")], [], [ContentDelta("x</think>")]]


def test_logprobs_are_of_every_token():
    body = json.loads(encode_completion([CALLS], USAGE, HEAD, ReplyForm(), token_bytes=spell))
    entries = body["choices"][0]["logprobs"]["content"]
    assert [(entry["token"], entry["logprob"]) for entry in entries] == [(str(i), -i) for i in range(1, 11)]


def test_usage_counts_reasoning_where_there_was_any():
    body = json.loads(encode_completion([THOUGHT, THOUGHT, CALLS], USAGE, HEAD, ReplyForm(reasoning=False)))
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": 8}
    body = json.loads(encode_completion([CALLS], USAGE, HEAD, ReplyForm()))
    assert "completion_tokens_details" not in body["usage"]


@pytest.mark.parametrize(("choice", "call"), [(127, 127), (0, 999)])
def test_ids_are_short_enough_for_everybody(choice, call):
    head = HEAD._replace(id="chatcmpl-" + "a" * 24)
    assert len(call_id(head, choice, call)) <= 40
    assert call_id(head, choice, call) != call_id(head, 1, 1)
