"""Questions over HTTP, plain and streamed, against the wire specification."""

from __future__ import annotations

import json
import time

import pytest

from kvtape.chat.conversation import Turn
from kvtape.errors import EngineFailed
from kvtape.protocols.sse import SseDecoder
from kvtape.types import TokenEvent
from tests.serving import eventually, push


def test_a_question_is_answered_and_reported(http, session):
    push(http, session)
    durable = http.get(session).json()["data_end"]
    body = {"prompt": "up?", "max_tokens": 6, "ignore_eos": True}
    answer = http.post(f"{session}/generate", json=body).json()
    assert set(answer) == {
        "text", "finish_reason", "n_tokens", "total_tokens", "pos_max", "id", "object", "session_id", "data_version",
        "usage",
    }  # fmt: skip
    assert (answer["finish_reason"], answer["n_tokens"], answer["data_version"]) == ("length", 6, 1)
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + 6 == answer["total_tokens"] == answer["pos_max"] + 1
    assert durable - 1 <= usage["prompt_tokens_details"]["cached_tokens"] <= durable
    state = http.get(session).json()
    assert (state["tokens"], state["data_end"], state["turns"]) == (answer["total_tokens"], durable, 1)
    cleared = http.post(f"{session}/generate", json={**body, "clear_after": 1}).json()
    assert (cleared["text"], cleared["total_tokens"]) == (answer["text"], durable)


def test_a_streamed_answer_adds_up_and_ends_without_a_sentinel(http, session):
    push(http, session)
    body = {"prompt": "up?", "max_tokens": 6, "ignore_eos": True}
    plain = http.post(f"{session}/generate", json=body).json()
    response = http.post(f"{session}/generate", json={**body, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    *pieces, final = [json.loads(event.data) for event in SseDecoder().feed(response.content)]
    assert all(piece["done"] is False and piece["token"] == piece["text"] for piece in pieces)
    assert "".join(piece["text"] for piece in pieces) == plain["text"]
    positions = [piece["pos"] for piece in pieces]
    assert positions == sorted(positions)
    assert plain["total_tokens"] - 6 <= positions[0]
    assert positions[-1] <= plain["pos_max"]
    assert final.pop("done") is True
    assert {**final, "id": plain["id"]} == plain


def test_refusals_of_questions(http, session):
    for body, param in [
        ({"prompt": "x", "messages": [{"role": "user", "content": "x"}]}, "prompt"),
        ({"prompt": "x", "tools": [{}]}, "tools"),
        ({"prompt": "x" * 3000}, "prompt"),
    ]:
        for stream in (False, True):
            response = http.post(f"{session}/generate", json={**body, "stream": stream})
            assert response.status_code == 400
            assert response.json()["error"]["param"] == param
    assert http.get(session).json()["busy"] is False


@pytest.mark.parametrize("stream", [False, True])
def test_an_equal_question_is_answered_from_the_flash_cache(http, session, stream):
    http.post(f"{session}/flash", json={"query": "up?", "max_tokens": 5})
    push(http, session)
    eventually(lambda: http.get(f"{session}/flash").json()["data"][0]["fresh"])
    flash = http.get(f"{session}/flash").json()["data"][0]
    hits = http.get("/health").json()["session_flash_hits"]
    body = {"prompt": " up?\n", "max_tokens": 8, "fast_answer": True, "stream": stream}
    response = http.post(f"{session}/generate", json=body)
    if stream:
        piece, answer = [json.loads(event.data) for event in SseDecoder().feed(response.content)]
        assert piece["text"] == flash["value"]
        assert answer.pop("done") is True
    else:
        answer = response.json()
    assert answer["text"] == flash["value"]
    assert (answer["flash"], answer["flash_id"], answer["confidence"]) == (True, 1, flash["confidence"])
    assert answer["usage"] == {"prompt_tokens": 0, "completion_tokens": 0}
    assert (answer["n_tokens"], answer["data_version"]) == (0, 1)
    assert answer["total_tokens"] == http.get(session).json()["tokens"]
    assert http.get("/health").json()["session_flash_hits"] == hits + 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_question_begun_ahead_is_decided_by_its_first_token(http, stream):
    body = {"type": "ohlcv", "prompt": "be brief", "pre_decode": True}
    session = f"/v1/sessions/{http.post('/v1/sessions/init', json=body).json()['id']}"
    state = http.get(session).json()
    assert (state["pre_decode"], state["ready"]) == (True, False)
    assert {"ready_token", "ready_gap"}.isdisjoint(state)
    push(http, session)
    first = http.post(f"{session}/generate", json={"prompt": "up?", "max_tokens": 1, "ignore_eos": True}).json()["text"]
    assert first.strip()
    eventually(lambda: http.get(session).json()["ready"])
    state = http.get(session).json()
    assert isinstance(state["ready_token"], int)
    assert state["ready_gap"] >= 0
    asked = {"prompt": " up? ", "fast_answer": [f"{first.strip()}ward", "\u00a1no!"], "stream": stream}
    response = http.post(f"{session}/generate", json={**asked, "gap_threshold": 0})
    if stream:
        piece, answer = [json.loads(event.data) for event in SseDecoder().feed(response.content)]
        assert piece["text"] == piece["token"] == f"{first.strip()}ward"
        assert answer.pop("done") is True
    else:
        answer = response.json()
    assert answer["text"] == f"{first.strip()}ward"
    assert (answer["speculative"], answer["logit_gap"], answer["n_tokens"]) == (True, state["ready_gap"], 0)
    assert answer["usage"] == {"prompt_tokens": 0, "completion_tokens": 0}
    assert {"flash", "flash_id", "confidence"}.isdisjoint(answer)
    for undecided in ({"gap_threshold": 1e9}, {"fast_answer": ["\u00a1no!"], "gap_threshold": 0}):
        asked = {"prompt": "up?", "fast_answer": [f"{first.strip()}ward"], "max_tokens": 2, **undecided}
        assert "speculative" not in http.post(f"{session}/generate", json=asked).json()
    http.delete(session)


# -- the second generation ---------------------------------------------------------------------------------------------


def test_a_stream_ends_with_a_sentinel(http, text_session, push_text):
    push_text(text_session, ["Revenue rose.", "Costs fell."])
    body = {"prompt": "up?", "max_tokens": 6, "ignore_eos": True, "seed": 7}
    plain = http.post(f"{text_session}/generate", json=body).json()
    response = http.post(f"{text_session}/generate", json={**body, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    *pieces, final, done, rest = response.content.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    assert all(piece.startswith(b'data: {"token":"') and piece.endswith(b',"done":false}') for piece in pieces)
    assert final.startswith(b'data: {"done":true,"text":"')
    assert b"\nevent:" not in b"\n" + response.content
    pieces = [json.loads(piece.removeprefix(b"data: ")) for piece in pieces]
    assert "".join(piece["text"] for piece in pieces) == plain["text"]
    assert {**json.loads(final.removeprefix(b"data: ")), "id": plain["id"]} == {"done": True, **plain}


def test_a_question_is_a_turn_behind_the_data(http, text_session, push_text):
    push_text(text_session, "Revenue rose.")
    answer = http.post(f"{text_session}/generate", json={"prompt": "up?", "max_tokens": 2, "ignore_eos": True}).json()
    assert answer["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2
    text = http.get(f"{text_session}/state").json()["context_text"]
    assert text.startswith("Revenue rose.\n<|im_start|>user\nup?<|im_end|>\n<|im_start|>assistant\n")
    push_text(text_session, "Costs fell.")  # the question and its answer leave
    assert http.get(f"{text_session}/state").json()["context_text"] == "Revenue rose.\nCosts fell.\n"


def test_a_seed_repeats_an_answer_and_none_has_a_cap(http):
    created = http.post("/v1/sessions", json={"context": 200}).json()
    session = f"/v1/sessions/{created['id']}"
    body = {"prompt": "up?", "ignore_eos": True}
    answers = [http.post(f"{session}/generate", json={**body, "seed": seed}).json() for seed in (1, 1, 2)]
    assert answers[0]["text"] == answers[1]["text"] != answers[2]["text"]
    assert all(answer["finish_reason"] == "length" and answer["total_tokens"] == 200 for answer in answers)
    http.delete(session)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "prompt", None),
        ({"prompt": ""}, "prompt", None),
        ({"prompt": "x" * 3000}, "prompt", "context_length_exceeded"),
        ({"prompt": "q", "messages": [{"role": "user", "content": "x"}]}, "messages", None),
        ({"prompt": "q", "tools": [{"function": {"name": "f"}}]}, "tools", None),
        ({"prompt": "q", "clear_after": 1}, "clear_after", None),
        ({"prompt": "q", "stop": ["a"] * 5}, "stop", None),
        ({"prompt": "q", "stop": "x" * 65}, "stop", None),
        ({"prompt": "q", "chat_template_kwargs": {"tone": "dry"}}, "chat_template_kwargs.tone", None),
    ],
)
def test_refusals_of_the_second_generation_have_a_status_of_their_own(http, text_session, body, param, code, stream):
    response = http.post(f"{text_session}/generate", json={**body, "stream": stream})
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert (error["type"], error["param"], error.get("code")) == ("invalid_request_error", param, code)
    assert http.get(text_session).json()["busy"] is False


def test_a_second_question_is_refused_at_once(http, text_session):
    body = {"prompt": "up?", "max_tokens": 1500, "ignore_eos": True, "stream": True}
    with http.stream("POST", f"{text_session}/generate", json=body) as response:
        pieces = response.iter_bytes()
        assert next(pieces).startswith(b'data: {"token":"')
        started = time.monotonic()
        refused = http.post(f"{text_session}/generate", json={"prompt": "down?"})
        assert time.monotonic() - started < 1.0
        assert (refused.status_code, refused.json()["error"]["type"]) == (409, "conflict_error")
        assert http.delete(text_session).status_code == 409
    eventually(lambda: not http.get(text_session).json()["busy"])  # the reader has gone, and so has its question
    assert http.post(f"{text_session}/generate", json={"prompt": "down?", "max_tokens": 1}).status_code == 200


def test_an_equal_question_is_answered_from_the_flash_cache_unless_it_asks_for_more(http, text_session, push_text):
    http.post(f"{text_session}/flash", json={"query": "up?", "max_tokens": 5})
    push_text(text_session, "Revenue rose.")
    eventually(lambda: http.get(f"{text_session}/flash").json()["data"][0]["fresh"])
    response = http.post(f"{text_session}/generate", json={"prompt": "up?", "stream": True})
    piece, final, done = [event.data for event in SseDecoder().feed(response.content)]
    assert done == "[DONE]"
    assert json.loads(piece)["text"] == json.loads(final)["text"]
    assert json.loads(final)["flash"] is True
    for more in ({"seed": 1}, {"temperature": 0.5}, {"stop": "x"}, {"fast_answer": False}):
        asked = {"prompt": "up?", "max_tokens": 5, **more}
        assert "flash" not in http.post(f"{text_session}/generate", json=asked).json()


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize(("wire", "end"), [(1, b""), (2, b"data: [DONE]\n\n")])
def test_an_engine_that_fails_says_so_by_its_status_or_in_a_last_frame(http, monkeypatch, wire, end, begins):
    path, body = ("/v1/sessions/init", {"type": "iot"}) if wire == 1 else ("/v1/sessions", {})
    session = f"/v1/sessions/{http.post(path, json=body).json()['id']}"
    http.post(f"{session}/push", json={"data": "a line"})

    async def events(self):
        if begins:
            yield TokenEvent(1, "Up")
        raise EngineFailed("gone")

    monkeypatch.setattr(Turn, "events", events)
    response = http.post(f"{session}/generate", json={"prompt": "up?", "stream": True})
    error = b'{"error":{"message":"gone","type":"unavailable_error"}}'
    if begins:
        assert response.status_code == 200
        first, rest = response.content.split(b"\n\n", 1)
        assert first.startswith(b'data: {"token":"Up","text":"Up","pos":')
        assert rest == b"data: " + error + b"\n\n" + end
    else:
        assert (response.status_code, response.content) == (503, error)
    plain = http.post(f"{session}/generate", json={"prompt": "up?"})
    assert (plain.status_code, plain.content) == (503, error)
    assert http.get(session).json()["busy"] is False
    http.delete(session)
