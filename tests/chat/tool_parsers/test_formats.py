"""What real models write, word for word, and near misses."""

from __future__ import annotations

import pytest

from tests.chat.tool_parsers.parsing import called, parse

WEATHER = [("get_weather", {"city": "Paris", "unit": "celsius"})]
TOOLS = ("get_weather", "now", "shell", "calculator", "write_file", "read_file")

# What Qwen2.5-Coder-0.5B-Instruct answered to five tools in its own prompt, greedily.
CODER_FENCED = """```json
{
  "name": "get_weather",
  "arguments": {
    "city": "Paris",
    "unit": "celsius"
  }
}
```"""
CODER_SCHEMA = '{"name": "now", "arguments": {"type": "object", "properties": {}, "required": []}}'
CODER_EXAMPLE = """JSON is a lightweight data-interchange format.

Here's an example JSON object with a name field:

```json
{
  "name": "John Doe"
}
```

In this example, the JSON object has a single property called "name" with the value "John Doe"."""
CODER_HTML = """```html
<!DOCTYPE html>
<html>
<body>
    <div id="index"></div>
</body>
</html>
```"""

CODER_ECHO = """<body>
    <tools>
        {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {"type": "object"}}}
    </tools>"""


def test_qwen_coder_forgets_to_escape():
    text = '{"name": "now", "arguments": {}}\n{"name": "shell", "arguments": {"command": "f({"a": 1})"}}'
    first, second = parse("qwen_coder", text, TOOLS).tool_calls
    assert (first.name, first.complete) == ("now", True)
    assert (second.arguments, second.complete) == ('{"command": "f({"a": 1})"}}', False)


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        (CODER_FENCED, "", WEATHER),
        (CODER_SCHEMA, "", [("now", {"type": "object", "properties": {}, "required": []})]),
        (CODER_EXAMPLE, CODER_EXAMPLE, []),
        (CODER_HTML, CODER_HTML, []),
        (CODER_ECHO, CODER_ECHO, []),
        # with calls in its history it writes one object a line, and raw tabs and newlines into strings
        (
            '{"name": "write_file", "arguments": {"path": "notes.txt", "content": "a\tb"}}\n'
            '{"name": "now", "arguments": {}}',
            "",
            [("write_file", {"path": "notes.txt", "content": "a\tb"}), ("now", {})],
        ),
        ('{"name": "now", "arguments": {"time": "now"} simultaneously', "simultaneously", [("now", {"time": "now"})]),
        # what others report of it: a bare object, several of them, blanks around, `<tools>` as in the prompt's list
        ('{"name": "calculator", "arguments": {"expr": "17 * 23"}}', "", [("calculator", {"expr": "17 * 23"})]),
        ('\n\n  {"name": "read_file", "arguments": {"path": "."}}   \n', "", [("read_file", {"path": "."})]),
        (
            '{"name": "read_file", "arguments": {"path": "a"}}\n{"name": "shell", "arguments": {"command": ["ls"]}}',
            "",
            [("read_file", {"path": "a"}), ("shell", {"command": ["ls"]})],
        ),
        (f"<tools>\n{CODER_SCHEMA}\n</tools>", "", [("now", {"type": "object", "properties": {}, "required": []})]),
        (
            '<tools>\n[{"name": "now", "arguments": {}}, {"name": "shell", "arguments": {"command": []}}]\n</tools>',
            "",
            [("now", {}), ("shell", {"command": []})],
        ),
        (f"I will look.\n\n{CODER_FENCED}\n", "I will look.\n\n", WEATHER),
        (f"{CODER_FENCED}\n\nThis asks for the weather.", "\n\nThis asks for the weather.", WEATHER),
        (f"{CODER_FENCED}\n{CODER_FENCED}", "", WEATHER * 2),
        ('<tool_call>\n{"name": "now", "arguments": {}}', "", [("now", {})]),
        ('<tool_call>\n{"name": "now"}\n</tool_call>', "", [("now", {})]),
        ('<tool_call>\n{"name": "now", "arguments": null}\n</tool_call>', "", [("now", {})]),
        # code with raw newlines and tabs in a string, which JSON does not allow
        (
            '<tool_call>\n{"name": "write_file", "arguments": {"path": "a.py", "content": "if x:\n\tpass\n"}}\n'
            "</tool_call>",
            "",
            [("write_file", {"path": "a.py", "content": "if x:\n\tpass\n"})],
        ),
    ],
)
def test_qwen_coder(text, content, calls):
    reply = parse("qwen_coder", text, TOOLS)
    assert (reply.content, called(reply)) == (content, calls)


NOT_CALLS = [
    'The object {"name": "now", "arguments": {}} stands inside a line.',
    '{"name": "now"}',  # no arguments, and no marker around it
    '{"name": "now", "description": "Return the time", "parameters": {"type": "object"}}',  # the tool itself
    '{"name": "now", "arguments": [1]}',
    '{"name": "now", "arguments": "no object"}',
    '{"name": 1, "arguments": {}}',
    '{"Name": "now", "arguments": {}}',
    "{'name': 'now', 'arguments': {}}",
    '{"name": "now" "arguments": {}}',
    '```python\nprint("{}")\n```',
    "````\nfour\n````",
    "```json",
    "```jsonc\n{}\n```",
    "[1, 2]",
    "{",
    '{"name": "no',
]


@pytest.mark.parametrize("text", NOT_CALLS)
@pytest.mark.parametrize("parser", ["qwen_coder", "llama", "json"])
def test_what_only_looks_like_a_call_is_content(parser, text):
    assert parse(parser, text, TOOLS).content == text
    assert parse(parser, f"So:\n{text}\nis it.", TOOLS).content == f"So:\n{text}\nis it."


@pytest.mark.parametrize(
    "text",
    [
        "Write <tool_call> before and </tool_call> behind.",
        "<tool_call>get_weather</tool_call>",
        '<tool_call>\n{"name": "rm", "arguments": {"path": "/"}}\n</tool_call>',
        '<tool_call>\n{"name": "now", "arguments": "now"}\n</tool_call>',
        '<tool_call>\n[{"arguments": {}}]\n</tool_call>',
        "<tool_calls>",
        CODER_FENCED,  # strict: a marker or nothing
        CODER_SCHEMA,
    ],
)
def test_hermes_leaves_the_rest_alone(text):
    assert parse("hermes", text, TOOLS).content == text


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        # Qwen3
        (
            '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius"}}\n</tool_call>',
            WEATHER,
        ),
        # Hermes 2 Pro is shown the arguments first, and writes one call a line
        (
            '<tool_call>\n{"arguments": {"city": "Paris", "unit": "celsius"}, "name": "get_weather"}\n</tool_call>\n'
            '<tool_call>\n{"arguments": {}, "name": "now"}\n</tool_call>',
            [*WEATHER, ("now", {})],
        ),
        # SmolLM2 is asked for a list
        (
            '<tool_call>[{"name": "now", "arguments": {}}, {"name": "now", "arguments": {}}]</tool_call>',
            [("now", {})] * 2,
        ),
        # Granite 4
        (
            '<tool_call>{"name": "get_weather", "arguments": '
            '"{\\n  \\"city\\": \\"Paris\\", \\"unit\\": \\"celsius\\"}"}</tool_call>',
            WEATHER,
        ),
    ],
)
def test_hermes(text, calls):
    reply = parse("hermes", text, TOOLS)
    assert (reply.content, called(reply)) == ("", calls)


@pytest.mark.parametrize(
    "text", [CODER_SCHEMA, f"[{CODER_SCHEMA}]", f"```json\n{CODER_SCHEMA}\n```", f"```\n[{CODER_SCHEMA}]\n```"]
)
def test_plain_json(text):
    reply = parse("json", f"Well:\n{text}\n", TOOLS)
    assert reply.content == "Well:\n"
    assert [name for name, _ in called(reply)] == ["now"]
