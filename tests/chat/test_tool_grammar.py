"""Whatever a model says under these grammars, the format's parser finds whole calls in it, of the right tools."""

from __future__ import annotations

import json
from collections.abc import Iterator

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvtape import Engine, FinishReason
from kvtape.chat.tool_grammar import tool_grammar
from kvtape.chat.tool_parsers import TOOL_PARSERS, make_tool_parser
from kvtape.engine.constraints import compile_constraint
from kvtape.errors import InvalidRequest
from kvtape.types import Constraint, ConstraintKind, ParsedReply, SamplingParams, Tool, ToolChoice, ToolMode, gather

PROMPT = "the user and the system"
DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
WEATHER = Tool(
    name="get_weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 5}, "days": {"$ref": "#/$defs/n"}},
        "required": ["city"],
        "additionalProperties": False,
        "$defs": {"n": DIGIT},
    },
)
NOW = Tool(name="now")
ODD = Tool(name='sé "x"\\n', parameters={"properties": {"}": {"const": "</tool_call>"}}, "additionalProperties": False})
TOOLS = (WEATHER, NOW, ODD)


@pytest.fixture(scope="module")
def engine(tiny_model) -> Iterator[Engine]:
    with Engine(tiny_model, kv_memory="16M", n_threads=2) as engine:
        yield engine


def reply(
    engine: Engine,
    form: str,
    tools: tuple[Tool, ...],
    choice: ToolChoice,
    seed: int = 0,
    answer: Constraint | None = None,
    **options: object,
) -> tuple[ParsedReply, bool]:
    """What the parser makes of a sampled reply, and whether that ended by itself."""
    constraint = tool_grammar(form, tools, choice, engine.model, answer=answer)
    assert constraint is not None
    sequence = engine.open()
    sequence.append(PROMPT)
    temperature = 1.0 + seed % 5 / 4
    params = {"temperature": temperature, "seed": seed, "max_tokens": 600} | options
    events = list(sequence.generate(SamplingParams(constraint=constraint, **params)))
    parser = make_tool_parser(form, [tool.name for tool in tools])
    parsed = gather([piece for event in events for piece in parser.feed(event.text)] + parser.finish())
    return parsed, events[-1].finish_reason is FinishReason.STOP


def check_calls(parsed: ParsedReply, tools: tuple[Tool, ...]) -> None:
    schemas = {tool.name: tool.parameters or {"maxProperties": 0} for tool in tools}
    for call in parsed.tool_calls:
        assert call.complete
        arguments = json.loads(call.arguments)
        assert isinstance(arguments, dict)
        jsonschema.validate(arguments, schemas[call.name])


@pytest.mark.parametrize("form", TOOL_PARSERS)
@pytest.mark.parametrize("parallel", [False, True])
def test_calls_that_must_be(engine, form, parallel):
    n_ended = 0
    for seed in range(12):
        parsed, ended = reply(engine, form, TOOLS, ToolChoice(ToolMode.REQUIRED, parallel=parallel), seed)
        if not ended:
            continue
        n_ended += 1
        assert parsed.content == ""
        assert parsed.tool_calls
        assert parallel or len(parsed.tool_calls) == 1
        check_calls(parsed, TOOLS)
    assert n_ended >= 4


@pytest.mark.parametrize("form", TOOL_PARSERS)
def test_only_the_named(engine, form):
    choice = ToolChoice(ToolMode.REQUIRED, names=("now",), parallel=False)
    for seed in range(3):
        parsed, ended = reply(engine, form, TOOLS, choice, seed)
        assert ended
        assert [(call.name, json.loads(call.arguments)) for call in parsed.tool_calls] == [("now", {})]


STRICT = (Tool(WEATHER.name, parameters=WEATHER.parameters, strict=True), NOW)


@pytest.mark.parametrize("form", TOOL_PARSERS)
@pytest.mark.parametrize("choice", [ToolChoice(), ToolChoice(parallel=False)])
def test_calls_that_may_be(engine, form, choice):
    """Biased towards the characters that calls begin with."""
    marker = {"hermes": "<tool_call>", "qwen_coder": "<tool_call>", "mistral": "[TOOL_CALLS]"}.get(form, '\n{"')
    encode = engine.model.tokenizer.encode
    bias = dict.fromkeys({token for char in marker for token in encode(char)}, 3.0)
    bias |= dict.fromkeys(engine.model.tokenizer.eos_ids, 1.5)
    n_texts = 0
    for seed in range(20):
        parsed, ended = reply(engine, form, STRICT, choice, seed, logit_bias=bias, max_tokens=300)
        if ended:
            check_calls(parsed, STRICT)
            assert choice.parallel or len(parsed.tool_calls) <= 1
            n_texts += bool(parsed.content)
    assert n_texts


@pytest.mark.parametrize("form", TOOL_PARSERS)
def test_a_reply_is_calls_or_the_answer_that_was_asked_for(engine, form):
    answer = Constraint(ConstraintKind.JSON_SCHEMA, json.dumps({"type": "array", "items": DIGIT, "maxItems": 4}))
    marker = {"hermes": "<tool_call>", "qwen_coder": "<tool_call>", "mistral": "[TOOL_CALLS]"}.get(form, '{"name')
    first = engine.model.tokenizer.encode(marker)[0]
    seen = set()
    for seed in range(12):
        bias = {first: 50.0 if seed % 2 else -50.0}
        parsed, ended = reply(engine, form, TOOLS, ToolChoice(), seed, answer, logit_bias=bias)
        if ended and parsed.tool_calls:
            check_calls(parsed, TOOLS)
            seen.add("calls")
        elif ended:
            jsonschema.validate(json.loads(parsed.content), json.loads(answer.source))
            seen.add("answer")
    assert seen == {"calls", "answer"}


def test_an_answer_beside_calls_is_a_schema(engine):
    regex = Constraint(ConstraintKind.REGEX, "a", "regex")
    with pytest.raises(InvalidRequest, match="cannot stand beside tools") as caught:
        tool_grammar("hermes", TOOLS, ToolChoice(), engine.model, answer=regex)
    assert caught.value.param == "regex"
    assert tool_grammar("hermes", TOOLS, ToolChoice(ToolMode.NONE), engine.model, answer=regex) is regex


def allowed(mask: np.ndarray, token: int) -> bool:
    return bool(int(mask[token // 64]) >> token % 64 & 1)


def walk(engine: Engine, constraint: Constraint, before: str, rng: np.random.Generator) -> str | None:
    """Continue a text by any tokens that are allowed, up to an end; None where there is none in 400 tokens."""
    tokenizer = engine.model.tokenizer
    guide = compile_constraint(engine.model, constraint)
    ids = tokenizer.encode(before)
    for token in ids:
        assert allowed(guide.mask(), token), tokenizer.decode([token])
        guide.consume(token)
    for _ in range(400):
        choices = np.flatnonzero(np.unpackbits(guide.mask().view(np.uint8), bitorder="little"))
        token = int(rng.choice(choices))
        if token in tokenizer.eos_ids:
            return tokenizer.decode(ids)
        ids.append(token)
        guide.consume(token)
    return None


TEXTS = {
    "hermes": "so: <tool_call>",
    "qwen_coder": "so: <tool_call>",
    "mistral": "so: [TOOL_CALLS]",
    "llama": "so:\n  {",
    "json": "so:\n```json\n{",
}


@pytest.mark.parametrize("form", TEXTS)
def test_text_before_a_call(engine, form, rng):
    constraint = tool_grammar(form, STRICT, ToolChoice(parallel=False), engine.model)
    n_ended = 0
    for _ in range(12):
        text = walk(engine, constraint, TEXTS[form], rng)
        if text is None:
            continue
        n_ended += 1
        parser = make_tool_parser(form, [tool.name for tool in STRICT])
        parsed = gather([*parser.feed(text), *parser.finish()])
        assert parsed.content.strip() == "so:"
        assert len(parsed.tool_calls) == 1
        check_calls(parsed, STRICT)
    assert n_ended >= 6


@pytest.mark.parametrize(
    ("form", "before", "refused"),
    [
        ("hermes", "so: <tool_call>", "{"),
        ("hermes", 'so: <tool_call>\n{"name": ', "1"),
        ("qwen_coder", "so: <tools", ">"),
        ("qwen_coder", "so:\n", "{"),
        ("llama", "so: <|python_tag|", ">"),
        ("llama", "so:\n{", "}"),
        ("json", 'so:\n```json\n{"name": "', "x"),
        ("json", "[ ", "{"),
    ],
)
def test_no_other_way_to_a_call(engine, form, before, refused):
    constraint = tool_grammar(form, STRICT, ToolChoice(parallel=False), engine.model)
    guide = compile_constraint(engine.model, constraint)
    for token in engine.model.tokenizer.encode(before):
        assert allowed(guide.mask(), token)
        guide.consume(token)
    assert not allowed(guide.mask(), engine.model.tokenizer.encode(refused)[0])


def objects(values: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    names = st.text(st.sampled_from('ab_"\\}{é '), max_size=4)
    return st.builds(
        lambda members, n: {
            "type": "object",
            "properties": members,
            "required": list(members)[:n],
            "additionalProperties": False,
        },
        st.dictionaries(names, values, max_size=3),
        st.integers(0, 3),
    )


VALUES = st.recursive(
    st.sampled_from([
        DIGIT, {"type": "boolean"}, {"type": "null"}, {"type": "string", "maxLength": 3},
        {"type": "string", "pattern": "^[<>{}/\\\\\"\\n;,]{1,6}$"}, {"const": "</tool_call>"},
        {"enum": ["[]", 1, "}}"]},
    ]),
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items, "maxItems": 2}, inner),
        objects(inner),
        st.builds(lambda branches: {"anyOf": branches}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=6,
)  # fmt: skip


@pytest.mark.parametrize("form", TOOL_PARSERS)
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(parameters=st.lists(objects(VALUES), min_size=1, max_size=3), seed=st.integers(0, 1000), parallel=st.booleans())
def test_any_schema(engine, form, parameters, seed, parallel):
    tools = tuple(Tool(name=f"tool_{i}", parameters=schema, strict=True) for i, schema in enumerate(parameters))
    parsed, ended = reply(engine, form, tools, ToolChoice(ToolMode.REQUIRED, parallel=parallel), seed)
    if ended:
        assert parsed.content == ""
        assert parsed.tool_calls
        check_calls(parsed, tools)


def test_a_marker_that_is_a_token(make_tiny_model):
    """The control token itself is drawn, not text that spells it."""
    with Engine(make_tiny_model(), kv_memory="8M", n_threads=2) as engine:
        tokenizer = engine.model.tokenizer
        token = tokenizer.special_tokens["<|im_start|>"]
        tokenizer.special_tokens["[TOOL_CALLS]"] = token  # as if the model had it
        constraint = tool_grammar("mistral", (NOW,), ToolChoice(ToolMode.REQUIRED), engine.model)
        sequence = engine.open()
        sequence.append(PROMPT)
        events = list(sequence.generate(temperature=1.0, seed=1, max_tokens=200, constraint=constraint))
        assert events[0].token_id == token
        assert "".join(event.text for event in events).startswith('[{"name": "now", "arguments": {')


def test_where_nothing_is_constrained(engine):
    assert tool_grammar("hermes", TOOLS, ToolChoice(), engine.model) is None
    assert tool_grammar("hermes", TOOLS, ToolChoice(parallel=False), engine.model) is None  # the reply ends with it
    assert tool_grammar("hermes", TOOLS, ToolChoice(ToolMode.NONE), engine.model) is None
    assert tool_grammar("hermes", (), ToolChoice(parallel=False), engine.model) is None


def test_what_cannot_be(engine):
    def grammar(parameters: object, strict: bool = True, mode: ToolMode = ToolMode.REQUIRED) -> object:
        return tool_grammar("hermes", (Tool("f", "", parameters, strict),), ToolChoice(mode), engine.model)

    with pytest.raises(InvalidRequest, match="there is none") as caught:
        tool_grammar("hermes", TOOLS, ToolChoice(ToolMode.REQUIRED, names=("other",)), engine.model)
    assert caught.value.param == "tool_choice"
    with pytest.raises(InvalidRequest, match=r"'f' cannot be strict: .*uniqueItems") as caught:
        grammar({"properties": {"a": {"uniqueItems": True}}})
    assert caught.value.param == "tools"
    with pytest.raises(InvalidRequest, match="of type 'array'"):
        grammar({"type": "array"})
    loose = grammar({"properties": {"a": {"uniqueItems": True}}}, strict=False)
    assert "uniqueItems" not in loose.source
