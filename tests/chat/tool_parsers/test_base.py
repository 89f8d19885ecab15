"""What every format promises: no cut changes anything, nothing is lost, nothing broken is called complete."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtape.chat.tool_parsers import make_tool_parser
from kvtape.chat.tool_parsers.base import MAX_BLANKS, MAX_HELD
from kvtape.types import ContentDelta, ToolCallArguments, ToolCallEnd, ToolCallStart, gather
from tests.chat.tool_parsers.parsing import (
    ARGUMENTS,
    CALLS,
    CUTS,
    DUMPS,
    FORMS,
    FRAGMENTS,
    KEYWORDS,
    NAMES,
    TOOLS,
    called,
    events_of,
    parse,
)

PROSE = st.text(alphabet="ab <>.é\n", max_size=12)
# One reply of each form, with text before and behind it, two calls, and arguments that mislead.
MISLEADING = {"a": '</tool_call>}\n```\\"é\U0001f600', "b": [1, -2.5e3, None, {"c": "[ARGS]"}]}
SAMPLES = [
    (parser, form, "Let me see.\n" + render([("f", MISLEADING), ("get_weather", {})], json.dumps))
    for parser, form, render in [*FORMS, KEYWORDS]
]
by_form = pytest.mark.parametrize(("parser", "form", "text"), SAMPLES, ids=[f"{s[0]}-{s[1]}" for s in SAMPLES])


@pytest.mark.parametrize(("parser", "form", "render"), FORMS, ids=[f"{form[0]}-{form[1]}" for form in FORMS])
@settings(deadline=None, max_examples=15)
@given(before=PROSE, calls=CALLS, dump=DUMPS, cuts=CUTS, behind=st.sampled_from(["", "\n", " "]))
def test_calls_that_were_written_are_read(parser, form, render, before, calls, dump, cuts, behind):
    before = before + "\n" if before.strip() else before.replace(".", "")
    text = before + render(calls, dump) + behind
    reply = parse(parser, text)
    assert called(reply) == calls
    assert reply.content == (before if before.strip() else "")
    assert gather(events_of(parser, text, cuts)) == reply


@pytest.mark.parametrize("parser", NAMES)
@settings(deadline=None, max_examples=100)
@given(text=FRAGMENTS, cuts=CUTS, tools=st.sampled_from([TOOLS, None, ()]))
def test_no_text_raises_and_no_cut_changes_anything(parser, text, cuts, tools):
    reply = parse(parser, text, tools)
    assert gather(events_of(parser, text, cuts, tools)) == reply
    if not reply.tool_calls:
        assert reply.content == text
    if tools is not None:
        assert {call.name for call in reply.tool_calls} <= set(tools)


@pytest.mark.parametrize("parser", NAMES)
@settings(deadline=None, max_examples=50)
@given(text=st.text(), cuts=CUTS)
def test_plain_text_is_content(parser, text, cuts):
    assert gather(events_of(parser, text, cuts)).content == parse(parser, text).content == text


@pytest.mark.parametrize("parser", NAMES)
@settings(deadline=None, max_examples=50)
@given(text=FRAGMENTS)
def test_nothing_is_taken_back(parser, text):
    """What a beginning of the text has said stands, however the text goes on."""
    whole = gather(events_of(parser, text))
    feeding, events = make_tool_parser(parser, TOOLS), []
    for char in text:
        events += feeding.feed(char)
        said = gather(events)
        assert whole.content.startswith(said.content)
        for call, full in zip(said.tool_calls, whole.tool_calls, strict=False):
            assert (call.name, call.complete and call) == (full.name, call.complete and full)
            assert full.arguments.startswith(call.arguments)


@by_form
def test_truncation_at_every_position(parser, form, text):
    whole = parse(parser, text)
    assert called(whole) == [("f", MISLEADING), ("get_weather", {})]
    assert whole.content == "Let me see.\n"
    for end in range(len(text)):
        reply = parse(parser, text[:end])  # which checks that complete arguments are JSON
        n_calls = len(reply.tool_calls)
        for call, full in zip(reply.tool_calls, whole.tool_calls, strict=False):
            assert call.name == full.name
            if call.complete:
                assert call.arguments == full.arguments
            else:
                assert full.arguments.startswith(call.arguments)
        assert sum(not call.complete for call in reply.tool_calls) <= 1
        if not n_calls:
            assert reply.content == text[:end]
        else:
            assert text[:end].endswith(reply.content.removeprefix("Let me see.\n"))


@by_form
def test_calls_of_undeclared_tools_are_content(parser, form, text):
    assert parse(parser, text, ()).content == text
    assert parse(parser, text, ("other",)).content == text
    assert called(parse(parser, text, None)) == called(parse(parser, text))


@pytest.mark.parametrize(("parser", "form", "text"), [s for s in SAMPLES if s[1] != "arguments first"])
def test_arguments_are_streamed(parser, form, text):
    """Once the name is known, a long argument is not held back."""
    feeding = make_tool_parser(parser, TOOLS)
    cut = text.index("null")
    events = feeding.feed(text[:cut])
    sent = gather(events).tool_calls[0].arguments
    assert sent.replace(" ", "") in json.dumps(MISLEADING).replace(" ", "")
    assert len(sent) > len(json.dumps(MISLEADING)) / 2


@settings(deadline=None, max_examples=30)
@given(ARGUMENTS)
def test_the_order_of_events(arguments):
    text = f'<tool_call>{{"name": "f", "arguments": {json.dumps(arguments)}}}</tool_call>'
    events = events_of("hermes", text)
    assert isinstance(events[0], ToolCallStart)
    assert isinstance(events[-1], ToolCallEnd)
    assert len(events) == 3


CALL = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'


@pytest.mark.parametrize(
    ("text", "content", "n_calls"),
    [
        (f"\n\n{CALL}", "", 1),
        (f"Sure.\n\n{CALL}", "Sure.\n\n", 1),
        (f"{CALL}\n\n{CALL}\n", "", 2),
        (f"{CALL}\n\nDone. \n", "\n\nDone. \n", 1),
        (f"{CALL} and {CALL} so", " and  so", 2),
        (" \n", " \n", 0),
        (" " * MAX_BLANKS + CALL, "", 1),
        (" " * (MAX_BLANKS + 1) + CALL, " " * (MAX_BLANKS + 1), 1),
        (f"<tool_call>{CALL}", "<tool_call>", 1),
        ("use <tool_call> tags", "use <tool_call> tags", 0),
        ("x <tool_c", "x <tool_c", 0),
        (f"{CALL[:-5]}", "", 1),  # a closing tag that is cut belongs to the call
        (f"{CALL}</tool_call>", "</tool_call>", 1),
        ('<tool_call>{"name": "f", "arguments": {}}}]\n</tool_call>', "", 1),  # a bracket too many
        ('<tool_call>{"name": "f", "arguments": {}</tool_call>', "", 1),  # one too few
        ('<tool_call>{"name": "f", "arguments": {}, junk</tool_call>', "junk</tool_call>", 1),
    ],
)
def test_text_and_blanks_around_calls(text, content, n_calls):
    reply = parse("hermes", text)
    assert (reply.content, len(reply.tool_calls)) == (content, n_calls)
    assert all(call.complete for call in reply.tool_calls)


@pytest.mark.parametrize(
    ("text", "arguments", "content"),
    [
        ('<tool_call>{"name": "f", "arguments": {"a": }}</tool_call> ok', '{"a": }}', " ok"),
        ('<tool_call>{"name": "f", "arguments": {"a": "say "hi""}}\n</tool_call>', '{"a": "say "hi""}}\n', ""),
        ('<tool_call>{"name": "f", "arguments": {"a": 1</tool_call>', '{"a": 1', ""),
        ('<tool_call>{"name": "f", "arguments": {a: 1}}</tool', "{a: 1}}</tool", ""),
    ],
)
def test_arguments_that_are_no_json_are_passed_on_and_never_complete(text, arguments, content):
    reply = parse("hermes", text)
    (call,) = reply.tool_calls
    assert (call.arguments, call.complete, reply.content) == (arguments, False, content)


@pytest.mark.parametrize(
    ("arguments", "sound", "broken"),
    [
        ('{"a": "say "hi""}}\n', '{"a": "say "', 'hi""}}\n'),
        ('{"a": [1,, 2]}}', '{"a": [1,', ", 2]}}"),
        (r'"{\"a\": \x"}', '{"a": ', r'\x"}'),
    ],
)
def test_it_is_said_where_arguments_stop_to_be_json(arguments, sound, broken):
    events = events_of("hermes", f'<tool_call>{{"name": "f", "arguments": {arguments}</tool_call>')
    assert events == events_of("hermes", f'<tool_call>{{"name": "f", "arguments": {arguments}</tool_call>', None)
    assert events == [
        ToolCallStart(0, "f"),
        ToolCallArguments(0, sound),
        ToolCallArguments(0, broken, broken=True),
    ]


def test_a_call_behind_a_broken_one_is_read():
    reply = parse("hermes", f'<tool_call>{{"name": "get_weather", "arguments": {{]}}</tool_call>\n{CALL}')
    assert [(call.name, call.complete) for call in reply.tool_calls] == [("get_weather", False), ("f", True)]
    assert reply.content == ""


def test_what_is_held_back_is_bounded():
    parser = make_tool_parser("hermes", TOOLS)
    held = '<tool_call>{"arguments": {"a": "' + "x" * MAX_HELD
    for at in range(0, MAX_HELD - 1, 1000):
        assert parser.feed(held[at : min(at + 1000, MAX_HELD - 1)]) == []
    assert parser.feed(held[MAX_HELD - 1]) == [ContentDelta(held[:MAX_HELD])]
    assert parse("hermes", held + '"}, "name": "f"}</tool_call>').tool_calls == []


@pytest.mark.parametrize(
    "unit",
    [
        "x",
        "{\n",
        '{"name": "',
        "<tool_call>",
        '<tool_call>{"arguments": {"a": "',
        "```json\n{",
        "<t",
        "[TOOL_CALLS]f",
        "{ ",
    ],
)
@pytest.mark.parametrize("parser", NAMES)
@pytest.mark.parametrize("opening", ["", '<tool_call>{"name": "f", "arguments": {"a": "', '[TOOL_CALLS]f[ARGS]{"a": ['])
def test_work_grows_with_the_text_alone(parser, unit, opening):
    """Counts Python calls; a parser that looked at text again and again would need more than twice as many."""

    def count(text: str, step: int) -> int:
        feeding, calls = make_tool_parser(parser, TOOLS), 0

        def profile(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(profile)
        for at in range(0, len(text), step):
            feeding.feed(text[at : at + step])
        sys.setprofile(None)
        return calls

    for step in (1, 1 << 20):
        once, twice = (count(opening + unit * n, step) for n in (400, 800))
        assert twice <= 2.1 * once + 100


@pytest.mark.parametrize(("step", "n"), [(1, 20_000), (7, 100_000), (1 << 20, 100_000)])
def test_an_argument_of_a_megabyte(step, n):
    text = json.dumps({"code": 'x = "{\\n"\n' * n})
    reply = f'<tool_call>{{"name": "f", "arguments": {text}}}</tool_call>'
    feeding, pieces = make_tool_parser("hermes", TOOLS), []
    for at in range(0, len(reply), step):
        pieces += [getattr(event, "text", "") for event in feeding.feed(reply[at : at + step])]
    assert "".join(pieces) == text
    assert feeding.n_calls == 1
    assert feeding.n_incomplete == 0
