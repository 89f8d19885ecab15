"""What the tests of the tool parsers share: parsing in pieces, and calls written in every format."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from hypothesis import strategies as st

from kvtape.chat.tool_parsers import TOOL_PARSERS, make_tool_parser
from kvtape.types import ContentDelta, Event, ParsedReply, ToolCallArguments, gather

TOOLS = ("get_weather", "f", "run-python")
MARKERS = (
    "<tool_call>",
    "</tool_call>",
    "<tools>",
    "</tools>",
    "```json\n",
    "```\n",
    "<|python_tag|>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[CALL_ID]",
    "</think>",
)

Call = tuple[str, dict[str, object]]
Renderer = Callable[[list[Call], Callable[[object], str]], str]


def merged(events: Iterable[Event]) -> list[Event]:
    """Join deltas that follow each other: what is left does not depend on where the text was cut."""
    joined: list[Event] = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, ContentDelta) and isinstance(last, ContentDelta):
            joined[-1] = ContentDelta(last.text + event.text)
        elif (
            isinstance(event, ToolCallArguments)
            and isinstance(last, ToolCallArguments)
            and (last.index, last.broken) == (event.index, event.broken)
        ):
            joined[-1] = replace(last, text=last.text + event.text)
        else:
            joined.append(event)
    return joined


def events_of(
    name: str, text: str, cuts: Iterable[int] | None = (), tools: Collection[str] | None = TOOLS
) -> list[Event]:
    """Parse text that is cut at `cuts`, or between all characters."""
    parser = make_tool_parser(name, tools)
    inner = range(1, len(text)) if cuts is None else sorted({cut for cut in cuts if 0 < cut < len(text)})
    events, start = [], 0
    for end in [*inner, len(text)]:
        piece = parser.feed(text[start:end])
        assert all(getattr(event, "text", "x") for event in piece), "no empty deltas"
        events += piece
        start = end
    events += parser.finish()
    reply = gather(events)
    assert parser.n_calls == len(reply.tool_calls)
    assert parser.n_incomplete == sum(not call.complete for call in reply.tool_calls)
    return merged(events)


def parse(name: str, text: str, tools: Collection[str] | None = TOOLS) -> ParsedReply:
    """Parse text whole and by single characters, which must agree."""
    whole = events_of(name, text, (), tools)
    assert events_of(name, text, None, tools) == whole
    reply = gather(whole)
    for call in reply.tool_calls:
        if call.complete:
            assert isinstance(json.loads(call.arguments), dict)
            call.arguments.encode()
    return reply


def called(reply: ParsedReply) -> list[Call]:
    """Return the calls of a reply, all of which must be complete, with their arguments decoded."""
    assert all(call.complete for call in reply.tool_calls)
    return [(call.name, json.loads(call.arguments)) for call in reply.tool_calls]


def _object(call: Call, dump: Callable[[object], str], key: str = "arguments") -> str:
    return f'{{"name": {json.dumps(call[0])}, "{key}": {dump(call[1])}}}'


def _tagged(before: str, behind: str, *, last: str = "") -> Renderer:
    def render(calls: list[Call], dump: Callable[[object], str]) -> str:
        text = "\n".join(before + _object(call, dump) + behind for call in calls)
        return text.removesuffix(behind) + last if last else text

    return render


def _array(before: str, behind: str) -> Renderer:
    return lambda calls, dump: before + "[" + ", ".join(_object(call, dump) for call in calls) + "]" + behind


def _keywords(calls: list[Call], dump: Callable[[object], str]) -> str:
    def render(call: Call) -> str:
        pairs = (f"{key}={dump(value)}" for key, value in call[1].items())
        return f"<|python_tag|>{call[0]}.call({', '.join(pairs)})"

    return "; ".join(render(call) for call in calls)


# parser, form, renderer; a form that needs the start of a line is given one
FORMS: list[tuple[str, str, Renderer]] = [
    ("hermes", "tags", _tagged("<tool_call>\n", "\n</tool_call>")),
    ("hermes", "tight tags", _tagged("<tool_call>", "</tool_call>")),
    ("hermes", "array", _array("<tool_call>", "</tool_call>")),
    ("hermes", "no closing tag", _tagged("<tool_call>\n", "\n")),
    ("hermes", "one group", lambda calls, dump: "<tool_call>" + _tagged("", "\n")(calls, dump) + "</tool_call>"),
    (
        "hermes",
        "arguments first",
        lambda calls, dump: "\n".join(
            f'<tool_call>\n{{"arguments": {dump(call[1])}, "name": "{call[0]}"}}\n</tool_call>' for call in calls
        ),
    ),
    (
        "hermes",
        "encoded arguments",
        lambda calls, dump: "\n".join(
            f"<tool_call>{_object((call[0], dump(call[1])), json.dumps)}</tool_call>" for call in calls
        ),
    ),
    (
        "hermes",
        "nested",
        lambda calls, dump: "\n".join(
            f'<tool_call>{{"type": "function", "function": {_object(call, dump)}, "id": "x"}}</tool_call>'
            for call in calls
        ),
    ),
    ("qwen_coder", "tags", _tagged("<tool_call>\n", "\n</tool_call>")),
    ("qwen_coder", "fences", _tagged("```json\n", "\n```")),
    ("qwen_coder", "plain fences", _tagged("```\n", "\n```")),
    ("qwen_coder", "tools tags", _tagged("<tools>\n", "\n</tools>")),
    ("qwen_coder", "tools array", _array("<tools>\n", "\n</tools>")),
    ("qwen_coder", "bare", _tagged("", "")),
    ("llama", "bare", lambda calls, dump: "; ".join(_object(call, dump, "parameters") for call in calls)),
    (
        "llama",
        "python tag",
        lambda calls, dump: "<|python_tag|>" + "; ".join(_object(call, dump, "parameters") for call in calls),
    ),
    ("mistral", "array", _array("[TOOL_CALLS] ", "")),
    (
        "mistral",
        "name and arguments",
        lambda calls, dump: "".join(f"[TOOL_CALLS]{call[0]}[ARGS]{dump(call[1])}" for call in calls),
    ),
    (
        "mistral",
        "call id",
        lambda calls, dump: "".join(f"[TOOL_CALLS]{call[0]}[CALL_ID]a1b2c3d4e[ARGS]{dump(call[1])}" for call in calls),
    ),
    ("mistral", "name alone", lambda calls, dump: "".join(f"[TOOL_CALLS]{call[0]}{dump(call[1])}" for call in calls)),
    ("json", "bare", _tagged("", "")),
    ("json", "array", _array("", "")),
    ("json", "fence", _array("```json\n", "\n```")),
]
KEYWORDS = ("llama", "keywords", _keywords)

# Text with what may go wrong in it: markers, brackets, quotes, backslashes, other planes.
TEXT = st.lists(
    st.sampled_from((*MARKERS, "{", "}", '"', "\\", "\n", "é", "\U0001f600", "\\u0041")) | st.text(max_size=3)
)
TEXTS = TEXT.map("".join)
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
ARGUMENTS = st.dictionaries(
    TEXTS,
    st.recursive(_LEAVES, lambda x: st.lists(x, max_size=3) | st.dictionaries(TEXTS, x, max_size=3), max_leaves=5),
    max_size=3,
)
CALLS = st.lists(st.tuples(st.sampled_from(TOOLS), ARGUMENTS), min_size=1, max_size=3)
DUMPS = st.builds(
    lambda indent, ascii_only, tight: (
        lambda value: json.dumps(
            value, indent=indent, ensure_ascii=ascii_only, separators=(",", ":") if tight else None
        )
    ),
    st.sampled_from([None, 2]),
    st.booleans(),
    st.booleans(),
)
CUTS = st.none() | st.lists(st.integers(1, 400), max_size=20)

# Pieces of calls in any order: most are nearly calls, some are.
FRAGMENTS = st.lists(
    st.sampled_from(
        (
            *MARKERS,
            '{"name": "f", "arguments": {"a": 1}}',
            '{"name": "f", "arguments": ',
            '{"name": "unknown", "arguments": {}}',
            '{"arguments": {"x": "y"}, "name": "f"}',
            '"{\\"a\\": 1}"',
            '{"a": "b}"}',
            "f.call(a='b', c=1)",
            "f",
            "{",
            "}",
            "[",
            "]",
            '"',
            "\\",
            ", ",
            "; ",
            "\n",
            " ",
            "word",
            "é",
            "<",
            "`",
            "(",
            ")",
            ": ",
            "null",
            "\x00",
        )
    )
    | st.text(max_size=2),
    max_size=14,
).map("".join)
NAMES = sorted(TOOL_PARSERS)
