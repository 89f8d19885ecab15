"""Raw completions as literal bytes."""

from __future__ import annotations

import json

import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai.completions_codec import (
    Echo,
    TextStreamEncoder,
    decode_completions_request,
    encode_echo,
    encode_text_completion,
)
from kvtape.protocols.openai.completions_models import CompletionsRequest
from kvtape.protocols.openai.models import Head
from kvtape.protocols.sse import SseDecoder
from kvtape.types import MAX_CHOICES, Constraint, ConstraintKind, FinishReason, SamplingParams, TokenEvent, Usage

HEAD = Head("cmpl-1", 7, "m", "fp_1")
USAGE = Usage(prompt_tokens=9, completion_tokens=2, cached_tokens=4)
EVENTS = [
    TokenEvent(1, "", logprob=-1.0),
    TokenEvent(2, "a", logprob=-2.0),
    TokenEvent(3, "b", logprob=-3.0, finish_reason=FinishReason.STOP, usage=USAGE),
]


def decode(**fields):
    return decode_completions_request(json.dumps({"prompt": "Hi", **fields}).encode())


def spell(token_id):
    return b"%d" % token_id


def test_defaults_are_those_of_the_api():
    call = decode()
    assert call.prompts == ["Hi"]
    assert call.params == SamplingParams(max_tokens=16, temperature=1.0)
    assert (call.stream, call.include_usage, call.n, call.best_of, call.echo, call.logprobs) == (
        False, False, 1, 1, False, False,
    )  # fmt: skip


def test_every_sampling_field_is_honoured():
    call = decode(
        max_tokens=5, temperature=0, top_p=0.5, top_k=40, min_p=0.1, repeat_penalty=1.1, frequency_penalty=0.5,
        presence_penalty=-0.5, logit_bias={"7": -100}, seed=-1, stop="a", ignore_eos=True, logprobs=5,
    )  # fmt: skip
    assert call.params == SamplingParams(
        max_tokens=5, temperature=0, top_p=0.5, top_k=40, min_p=0.1, repeat_penalty=1.1, frequency_penalty=0.5,
        presence_penalty=-0.5, logit_bias={7: -100.0}, seed=(1 << 64) - 1, stop=("a",), ignore_eos=True,
        logprobs=True, top_logprobs=5,
    )  # fmt: skip
    assert call.logprobs


def test_a_constraint():
    call = decode(regex="a|b")
    assert call.params.constraint == Constraint(ConstraintKind.REGEX, "a|b")
    assert call.params.constraint.param == "regex"


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("", [""]),
        (["a", "b"], ["a", "b"]),
        ([5, 6], [[5, 6]]),
        ([[5, 6], [7]], [[5, 6], [7]]),
        (["a"] * MAX_CHOICES, ["a"] * MAX_CHOICES),
    ],
)
def test_forms_of_a_prompt(prompt, prompts):
    assert decode(prompt=prompt).prompts == prompts


def test_no_logprobs_are_shown_for_best_of_alone():
    call = decode(n=2, best_of=3)
    assert (call.n, call.best_of, call.logprobs, call.params.logprobs) == (2, 3, False, True)
    assert decode(logprobs=0).params.top_logprobs == 0
    assert decode(logprobs=0).logprobs


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "me"}, {"model": "whatever"}, {"suffix": None}, {"suffix": ""}, {"echo": False}, {"n": 1},
        {"best_of": 1}, {"stream": False}, {"logprobs": None}, {"response_format": {"type": "text"}},
    ],
)  # fmt: skip
def test_inert_fields_pass(fields):
    assert decode(**fields).params == SamplingParams(max_tokens=16, temperature=1.0)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": [5, "a"]}, "prompt[0]"),
        ({"prompt": ["a", 5]}, "prompt[1]"),
        ({"prompt": [[5], [True]]}, "prompt[1]"),
        ({"prompt": [[5], [1.5]]}, "prompt[1]"),
        ({"prompt": ["a"] * (MAX_CHOICES + 1)}, "prompt"),
        ({"prompt": ["a"] * MAX_CHOICES, "n": 2}, "prompt"),
        ({"suffix": "x"}, "suffix"),
        ({"n": 0}, "n"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"best_of": MAX_CHOICES + 1}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": -1}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 0, "echo": True, "stream": True}, "max_tokens"),
        ({"max_tokens": -1, "echo": True}, "max_tokens"),
        ({"temperature": 2.5}, "temperature"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"grammar": "a", "regex": "a"}, "regex"),
        ({"session_id": "sess_1"}, "session_id"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_refusals_name_the_parameter(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        decode(**fields)
    assert caught.value.param == param


def test_every_parameter_of_the_sdk_is_known():
    params = pytest.importorskip("openai.types.completion_create_params")
    theirs = params.CompletionCreateParamsStreaming.__annotations__ | params.CompletionCreateParamsBase.__annotations__
    assert set(theirs) <= set(CompletionsRequest.__struct_fields__) | {"user"}


def test_completion_bytes():
    assert encode_text_completion([EVENTS, EVENTS[1:]], [Echo(), Echo("Hi")], USAGE, HEAD) == (
        b'{"id":"cmpl-1","created":7,"model":"m","system_fingerprint":"fp_1","choices":['
        b'{"text":"ab","index":0,"logprobs":null,"finish_reason":"stop"},'
        b'{"text":"Hiab","index":1,"logprobs":null,"finish_reason":"stop"}],"object":"text_completion",'
        b'"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,'
        b'"prompt_tokens_details":{"cached_tokens":4}}}'
    )


BEGIN = b'data: {"id":"cmpl-1","created":7,"model":"m","system_fingerprint":"fp_1","choices":['
END = b'],"object":"text_completion"'


def test_stream_bytes():
    encoder = TextStreamEncoder(HEAD, [Echo(), Echo("Hi")], include_usage=True, token_bytes=spell)
    assert encoder.start() == (
        BEGIN + b'{"text":"Hi","index":1,"logprobs":null,"finish_reason":null}' + END + b',"usage":null}\n\n'
    )
    assert encoder.event(0, EVENTS[0]) == b""
    assert encoder.event(0, EVENTS[1]) == (
        BEGIN + b'{"text":"a","index":0,"logprobs":{"tokens":["1","2"],"token_logprobs":[-1.0,-2.0],'
        b'"top_logprobs":[{"1":-1.0},{"2":-2.0}],"text_offset":[0,1]},"finish_reason":null}' + END
        + b',"usage":null}\n\n'
    )  # fmt: skip
    assert encoder.event(0, EVENTS[2]) == (
        BEGIN + b'{"text":"b","index":0,"logprobs":{"tokens":["3"],"token_logprobs":[-3.0],'
        b'"top_logprobs":[{"3":-3.0}],"text_offset":[2]},"finish_reason":"stop"}' + END + b',"usage":null}\n\n'
    )
    assert encoder.end(USAGE) == (
        BEGIN + END + b',"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,'
        b'"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
    )


def test_a_stream_says_nothing_that_was_not_asked_for():
    encoder = TextStreamEncoder(HEAD, [Echo()])
    assert encoder.start() == encoder.end(USAGE) == b""
    assert encoder.event(0, EVENTS[1]) == (
        BEGIN + b'{"text":"a","index":0,"logprobs":null,"finish_reason":null}' + END + b"}\n\n"
    )


def test_an_echo_has_logprobs_where_they_are_asked_for():
    scores = [TokenEvent(10, ""), TokenEvent(11, "", logprob=-0.5)]
    echo = encode_echo("1011", scores, spell)
    (choice,) = json.loads(encode_text_completion([EVENTS], [echo], USAGE, HEAD, token_bytes=spell))["choices"]
    assert choice["text"] == "1011ab"
    assert choice["logprobs"] == {
        "tokens": ["10", "11", "1", "2", "3"],
        "token_logprobs": [None, -0.5, -1.0, -2.0, -3.0],
        "top_logprobs": [None, {"11": -0.5}, {"1": -1.0}, {"2": -2.0}, {"3": -3.0}],
        "text_offset": [0, 2, 4, 5, 6],
    }
    encoder = TextStreamEncoder(HEAD, [echo], token_bytes=spell)
    frames = encoder.start() + b"".join(encoder.event(0, event) for event in EVENTS)
    pieces = [json.loads(event.data)["choices"][0] for event in SseDecoder().feed(frames)]
    assert "".join(piece["text"] for piece in pieces) == choice["text"]
    for name, entries in choice["logprobs"].items():
        assert [entry for piece in pieces for entry in piece["logprobs"][name]] == entries


def test_a_token_that_begins_before_the_text_is_at_its_beginning():
    scores = [TokenEvent(10, ""), TokenEvent(11, "", logprob=-0.5)]
    echo = encode_echo("011", scores, spell, is_prefixed=True)
    assert echo.logprobs.text_offset == [0, 1]
