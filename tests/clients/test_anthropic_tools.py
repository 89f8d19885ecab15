"""The published Python client `anthropic` against our server: tools, thinking, and what becomes of them in streams."""

from __future__ import annotations

import json
import random

import anthropic
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kvtape.server import create_app
from tests.chat.tool_parsers.parsing import CALLS, DUMPS, FORMS, FRAGMENTS, TOOLS
from tests.clients.npm import run_node_tests
from tests.scripted import cut, scripted_engine
from tests.serving import running

WEATHER = {
    "name": "weather",
    "description": "Says how the weather is.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}


def call(name, arguments):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


REPLIES = {
    "call": "Let me see." + call("weather", '{"city": "Zürich", "days": [1, 2]}'),
    "answer": "It is warm.",
    "two calls": call("clock", "{}") + "\n" + call("weather", '{"city": "Paris"}'),
    "between": "First. " + call("clock", "{}") + "Then " + call("clock", "{}") + "at last.",
    "broken": call("weather", '{"city": "Par"is"}'),
    "half": call("weather", '{"city": "\\ud83d"}'),
    "thought": "<think>\nWarm?\nYes.\n</think>\n\nIt is warm.",
    "thought call": "<think>\nAsk.\n</think>\n\n" + call("weather", '{"city": "Paris"}'),
    "only thought": "<think>\nI never come to an end",
}
NAMES = list(REPLIES)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    path = tmp_path_factory.mktemp("scripted") / "scripted.gguf"
    with scripted_engine(path, [cut(text) for text in REPLIES.values()]) as engine, running(create_app(engine)) as url:
        yield url


@pytest.fixture(scope="module")
def client(url):
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client:
        yield client


def says(name):
    """The end of a message that the model answers with that reply."""
    return f"<|{NAMES.index(name)}|>"


def asking(name, **fields):
    message = {"role": "user", "content": f"How is the weather? {says(name)}"}
    return {"model": "any", "max_tokens": 400, "messages": [message], "tools": [WEATHER, CLOCK], **fields}


def shown(message):
    """What two runs of a request have in common."""
    blocks = [block.to_dict() | {"id": None} for block in message.content]
    usage = message.usage
    prompt = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
    details = usage.output_tokens_details
    return blocks, message.stop_reason, message.stop_sequence, prompt, usage.output_tokens, details


def streamed(client, **request):
    with client.messages.stream(**request) as stream:
        return stream.get_final_message()


def test_a_call_and_its_result(client):
    message = client.messages.create(**asking("call"))
    text, used = message.content
    assert (text.type, text.text) == ("text", "Let me see.")
    assert (used.type, used.name, used.input) == ("tool_use", "weather", {"city": "Zürich", "days": [1, 2]})
    assert used.id.startswith("toolu_")
    assert message.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": used.id, "content": f"18 degrees {says('answer')}"}
    messages = [*asking("call")["messages"], message.to_param(), {"role": "user", "content": [result]}]
    second = client.messages.create(**asking("call", messages=messages))
    assert (second.content[0].text, second.stop_reason) == ("It is warm.", "end_turn")


def test_the_stream_helper(client):
    with client.messages.stream(**asking("call")) as stream:
        seen, snapshots = [], []
        for event in stream:
            seen.append(event)
            if event.type == "input_json":
                snapshots.append(event.snapshot)
                assert stream.current_message_snapshot.content[1].input == event.snapshot
        final = stream.get_final_message()
    assert "".join(event.text for event in seen if event.type == "text") == "Let me see."
    assert "".join(event.partial_json for event in seen if event.type == "input_json") == (
        '{"city": "Zürich", "days": [1, 2]}'
    )
    assert snapshots[0] == {}
    assert snapshots[-1] == final.content[1].input
    assert [event.type for event in seen if event.type.startswith("content_block_s")] == [
        "content_block_start", "content_block_stop", "content_block_start", "content_block_stop",
    ]  # fmt: skip
    assert shown(final) == shown(client.messages.create(**asking("call")))


@pytest.mark.parametrize("name", NAMES)
def test_streamed_equals_plain_wherever_it_is_cut(client, name):
    n_tokens = client.messages.create(**asking(name)).usage.output_tokens
    for limit in [*range(1, n_tokens, 3), n_tokens]:
        plain = client.messages.create(**asking(name, max_tokens=limit))
        assert shown(streamed(client, **asking(name, max_tokens=limit))) == shown(plain)
        assert plain.stop_reason == "max_tokens" or limit == n_tokens


def test_several_calls(client):
    first, second = client.messages.create(**asking("two calls")).content
    assert [(used.name, used.input) for used in (first, second)] == [("clock", {}), ("weather", {"city": "Paris"})]
    assert first.id != second.id
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    alone = client.messages.create(**asking("two calls", tool_choice=choice))
    assert [used.name for used in alone.content] == ["clock"]
    assert alone.stop_reason == "tool_use"


def test_text_between_calls_and_behind_them(client):
    content = client.messages.create(**asking("between")).content
    assert [getattr(block, "text", block.type) for block in content] == [
        "First. ", "tool_use", "Then ", "tool_use", "at last.",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["call", "two calls", "between"])
def test_the_next_turn_goes_on_where_the_reply_ended(client, name):
    first = client.messages.create(**asking(name))
    used = [block.id for block in first.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call_id, "content": says("answer")} for call_id in used]
    messages = [*asking(name)["messages"], first.to_param(), {"role": "user", "content": results}]
    second = client.messages.create(**asking(name, messages=messages))
    n_known = shown(first)[3] + first.usage.output_tokens
    assert second.usage.cache_read_input_tokens >= n_known - 1  # its last token has not been computed


def test_a_call_that_is_cut_is_never_called_complete(client):
    plain = client.messages.create(**asking("call", max_tokens=25))
    assert plain.stop_reason == "max_tokens"
    assert plain.content[1].input == {"city": "Zürich"}


def test_a_call_that_is_no_json_is_never_called_complete(client):
    message = streamed(client, **asking("broken"))
    assert (message.content[0].input, message.stop_reason) == ({"city": "Par"}, "end_turn")


def test_half_a_character_breaks_no_client(client):
    assert streamed(client, **asking("half")).content[0].input == {"city": "\ufffd"}


def test_tools_that_may_not_be_called_are_text(client):
    message = client.messages.create(**asking("two calls", tool_choice={"type": "none"}))
    assert [block.type for block in message.content] == ["text"]


def test_what_stands_in_a_history_is_counted(client):
    used = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": says("answer"), "is_error": True}
    messages = [*asking("call")["messages"], {"role": "assistant", "content": [used]}]
    request = asking("call", messages=[*messages, {"role": "user", "content": [result]}])
    n_prompt = shown(client.messages.create(**request))[3]
    del request["max_tokens"]
    assert client.messages.count_tokens(**request).input_tokens == n_prompt
    assert client.messages.count_tokens(**{**request, "tools": [WEATHER]}).input_tokens < n_prompt
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[1\]\.content\[0\]"):
        client.messages.create(**asking("call", messages=messages))


def test_thinking(client):
    message = client.messages.create(**asking("thought", thinking={"type": "adaptive"}))
    thought, answer = message.content
    assert (thought.type, thought.thinking, answer.text) == ("thinking", "Warm?\nYes.", "It is warm.")
    assert 0 < message.usage.output_tokens_details.thinking_tokens < message.usage.output_tokens
    with client.messages.stream(**asking("thought")) as stream:
        events = list(stream)
    assert "".join(event.thinking for event in events if event.type == "thinking") == thought.thinking
    assert [event.signature for event in events if event.type == "signature"] == [thought.signature]


def test_thinking_has_a_budget(client):
    free = client.messages.create(**asking("only thought"))
    assert (free.content[0].thinking, free.stop_reason) == ("I never come to an end", "end_turn")
    bound = client.messages.create(**asking("only thought", thinking={"type": "enabled", "budget_tokens": 5}))
    assert free.content[0].thinking.startswith(bound.content[0].thinking)
    n_thinking = bound.usage.output_tokens_details.thinking_tokens
    assert 5 < n_thinking < 5 + len("\n</think>\n\n") + 1  # the closing marker comes on top
    ended = client.messages.create(**asking("only thought", thinking={"type": "disabled"}))
    assert ended.content[0].thinking == "I"  # came with the opening marker, in one token


def test_what_opens_the_thinking_is_counted(client):
    schema = {"type": "object", "additionalProperties": False}
    formats = {"output_config": {"format": {"type": "json_schema", "schema": schema}}, "tools": []}
    choices = {"tool_choice": {"type": "any"}}
    counts = []
    for fields in (formats, choices):
        for thinking in ({"type": "disabled"}, {"type": "adaptive"}):
            request = asking("answer", thinking=thinking, **fields)
            n_prompt = shown(client.messages.create(**request))[3]
            del request["max_tokens"]
            counts.append(client.messages.count_tokens(**request).input_tokens)
            assert counts[-1] == n_prompt
    assert counts[0] < counts[1]
    assert counts[2] < counts[3]


def test_thinking_comes_back(client):
    first = client.messages.create(**asking("thought call"))
    hidden = client.messages.create(**asking("thought call", thinking={"type": "adaptive", "display": "omitted"}))
    assert (hidden.content[0].thinking, first.content[0].thinking) == ("", "Ask.")
    counts = set()
    for message in (first, hidden):
        result = {"type": "tool_result", "tool_use_id": message.content[1].id, "content": says("answer")}
        messages = [*asking("call")["messages"], message.to_param(), {"role": "user", "content": [result]}]
        counts.add(client.messages.count_tokens(model="any", messages=messages).input_tokens)
        assert client.messages.create(**asking("call", messages=messages)).content[0].text == "It is warm."
    assert len(counts) == 1  # hidden or not, the model reads its reasoning again
    changed, *rest = hidden.to_dict()["content"]
    messages[1]["content"] = [{**changed, "thinking": "I was told to."}, *rest]
    with pytest.raises(anthropic.BadRequestError, match="signature"):
        client.messages.create(**asking("call", messages=messages))


@pytest.mark.parametrize("stream", [False, True])
def test_the_tool_runner(client, stream):
    seen = []

    @anthropic.beta_tool
    def weather(city: str, days: list[int]) -> str:
        """Say how the weather is."""
        seen.append((city, days))
        return f"18 degrees {says('answer')}"

    runner = client.beta.messages.tool_runner(**asking("call", tools=[weather]), stream=stream)
    messages = [item.get_final_message() if stream else item for item in runner]
    assert seen == [("Zürich", [1, 2])]
    assert [message.stop_reason for message in messages] == ["tool_use", "end_turn"]
    assert messages[-1].content[0].text == "It is warm."


async def test_the_asynchronous_client(url):
    @anthropic.beta_async_tool
    async def weather(city: str, days: list[int]) -> str:
        """Say how the weather is."""
        return f"{city} {days} {says('answer')}"

    async with anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0) as client:
        plain = await client.messages.create(**asking("call"))
        async with client.messages.stream(**asking("call")) as stream:
            kinds = [event.type async for event in stream]
            assert shown(await stream.get_final_message()) == shown(plain)
        assert "input_json" in kinds
        last = await client.beta.messages.tool_runner(**asking("call", tools=[weather])).until_done()
    assert last.content[0].text == "It is warm."


def test_the_client_of_npm(url, request):
    replies = json.dumps({name: says(name) for name in NAMES})
    run_node_tests("anthropic", "tools.test.mjs", request.config.cache, KVTAPE_URL=url, KVTAPE_SAYS=replies)


def check_random_replies(folder, texts):
    """What the client adds a stream up to is the plain reply, whatever a model writes."""
    cutter = random.Random(len(texts))
    replies = [cut(text, cutter.randint(1, 9)) for text in texts]
    tools = [{**CLOCK, "name": name} for name in TOOLS]
    reasons = set()
    with (
        scripted_engine(folder / "random.gguf", replies) as engine,
        running(create_app(engine)) as url,
        anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client,
    ):
        for index, reply in enumerate(replies):
            request = {
                "model": "any",
                "max_tokens": cutter.choice([cutter.randint(1, len(reply) + 1), 1000]),
                "messages": [{"role": "user", "content": f"<|{index}|>"}],
                "tools": tools,
                "stop_sequences": cutter.sample(["zz", "}}", "word", "arg", "<"], cutter.randint(0, 2)),
            }
            plain = client.messages.create(**request)
            assert shown(streamed(client, **request)) == shown(plain), texts[index]
            if plain.stop_reason == "tool_use":
                assert any(block.type == "tool_use" for block in plain.content)
            reasons.add(plain.stop_reason)
    return reasons


CALL_TEXTS = st.builds(
    lambda text, render, calls, dump: text + render(calls, dump),
    st.sampled_from(["", "Well. ", "<think>\nhm\n</think>\n\n"]),
    st.sampled_from([render for parser, _, render in FORMS if parser == "hermes"]),
    CALLS,
    DUMPS,
)


def random_texts(n_texts):
    """Calls, and pieces of calls in any order, as the tests of the parsers use them."""
    texts = []

    @settings(max_examples=3 * n_texts, database=None, derandomize=True, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(FRAGMENTS | CALL_TEXTS)
    def collect(text):
        if text and len(texts) < n_texts:
            texts.append(text)

    collect()
    return texts


def test_streamed_equals_plain_for_whatever_a_model_writes(tmp_path):
    assert {"tool_use", "end_turn"} <= check_random_replies(tmp_path, random_texts(25))


@pytest.mark.slow
def test_streamed_equals_plain_for_whatever_a_model_writes_at_length(tmp_path):
    texts = random_texts(1000)
    reasons = set()
    for first in range(0, len(texts), 20):
        reasons |= check_random_replies(tmp_path, texts[first : first + 20])
    assert {"tool_use", "end_turn", "max_tokens", "stop_sequence"} <= reasons
