"""Chat templates: what real ones need, and what hostile ones may not do."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kvtape._native import _core
from kvtape.chat.template import ChatTemplate, template_of
from kvtape.errors import InvalidRequest, ModelError
from kvtape.model.load import load

USER = [{"role": "user", "content": "hi"}]


def render(source: str, **variables: object) -> str:
    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>")
    try:
        return template.render(variables.pop("messages", USER), **variables)
    finally:
        template.close()


def test_a_model_has_one_template_whoever_asks_first(make_tiny_model: Callable[..., Path]) -> None:
    model = load(make_tiny_model())
    with ThreadPoolExecutor(8) as threads:
        templates = {id(template) for template in threads.map(template_of, [model] * 8)}
    assert len(templates) == 1


@pytest.mark.parametrize(
    ("architecture", "wanted"),
    [
        ("qwen2", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"),
        ("gemma3", "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n"),
    ],
)
def test_the_template_of_a_file_has_the_names_of_its_tokens(
    make_tiny_model: Callable[..., Path], architecture: str, wanted: str
) -> None:
    model = load(make_tiny_model(architecture=architecture))
    template = ChatTemplate(model.template_source, bos_token=model.bos_text, eos_token=model.eos_text)
    assert template.render(USER) == wanted
    assert model.tokenizer.decode(model.tokenizer.encode(wanted, parse_special=True), special=True) == wanted
    template.close()


@pytest.mark.model
def test_smollm2(model_path: Path):
    template = ChatTemplate(_core.GgufFile(str(model_path)).metadata["tokenizer.chat_template"])
    system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    user = "<|im_start|>user\nhi<|im_end|>\n"
    assert template.render(USER) == system + user + "<|im_start|>assistant\n"
    assert template.render(USER, add_generation_prompt=False) == system + user
    chat = [
        {"role": "system", "content": "Be <brief> & 'plain'."},
        *USER,
        {"role": "assistant", "content": "Ja — ≈ 1\n"},
    ]
    wanted = (
        "<|im_start|>system\nBe <brief> & 'plain'.<|im_end|>\n" + user + "<|im_start|>assistant\nJa — ≈ 1\n<|im_end|>\n"
    )
    assert template.render(chat, add_generation_prompt=False) == wanted


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>hi</s>"),
        ("{{ messages[0]['content'].upper().strip().split('H')[-1] }}", "I"),
        ("{{ '  a b '.strip() ~ 'ab'.replace('a', 'c') ~ 'abc'.startswith('ab') }}", "a bcbTrue"),
        ("{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "b1a2"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "1"),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% break %}{% endfor %}", "1"),
        ("{% generation %}\nx{%- endgeneration -%}\n y", "xy"),
        ("  {% if true %}\nline\n  {% endif %}\nend", "line\nend"),  # blocks take their line with them
        (
            "{{ messages[::-1] | map(attribute='role') | join }}{{ nothing is defined }}{{ tools is none }}",
            "userFalseTrue",
        ),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{{ add_generation_prompt }}{{ custom }}", "True7"),
        ("{{ strftime_now('%Y-%m-%d') }}", "2001-09-09"),
        ("{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{{ twice('a') }}", "aa"),
    ],
)
def test_what_templates_use(source, wanted):
    assert render(source, custom=7, now=1_000_000_000 - 6400) == wanted


def test_tools_are_plain_json_in_their_own_order():
    tools = [{"type": "function", "function": {"name": "f", "about": "<é> & 'x'"}}]
    wanted = '{"type": "function", "function": {"name": "f", "about": "<é> & \'x\'"}}'
    assert render("{{ tools[0] | tojson }}", tools=tools) == wanted
    assert render("{{ {'a': [1]} | tojson(indent=2) }}") == '{\n  "a": [\n    1\n  ]\n}'


def test_a_template_can_refuse():
    with pytest.raises(InvalidRequest, match="refuses: roles must alternate") as caught:
        render("{{ raise_exception('roles must alternate') }}")
    assert caught.value.param == "messages"


@pytest.mark.parametrize("messages", [[{"role": "user"}], [{"role": "user", "content": None}], [{"content": 1}], [7]])
def test_messages_it_cannot_work_with(messages):
    with pytest.raises(InvalidRequest, match=r"cannot render this: (undefined value|invalid operation)"):
        render("{{ 'a' + messages[0].content }}", messages=messages)


def test_messages_must_be_json():
    cycle: list[object] = []
    cycle.append(cycle)
    for content in (b"bytes", object(), cycle):
        with pytest.raises(InvalidRequest, match="must be JSON values"):
            render("x", messages=[{"content": content}])
    with pytest.raises(InvalidRequest, match=r"must be JSON values: .*surrogates"):
        render("{{ messages[0].content }}", messages=[{"content": "\ud800"}])


@pytest.mark.parametrize(
    "source", ["{% if %}", "{{ 'a }}", "{% for x in y %}", "{% unknown %}", "{{ a..b }}", "{" * 3 + "%"]
)
def test_broken_templates_are_the_models_fault(source):
    with pytest.raises(ModelError, match="chat template: syntax error"):
        ChatTemplate(source)


def test_names_are_only_those_given():
    assert render("{{ environ is defined }}{{ open is defined }}{{ __builtins__ is defined }}") == "FalseFalseFalse"
    assert render("{{ messages.__class__ is defined }}{{ ''.__class__ is defined }}") == "FalseFalse"
    with pytest.raises(InvalidRequest, match=r"unknown function|not found|cannot render"):
        render("{% include '/etc/passwd' %}")


TWICE = (
    "{% set n = namespace(s=START) %}{% for i in range(60) %}{% set n.s = n.s OP n.s %}{% endfor %}{{ n.s | length }}"
)
BOMBS = {
    "loops in loops": "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
    "a macro that calls itself": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "a string doubled 40 times": "{% set s = 'a' * 1000 %}" + "{% set s = s + s %}" * 40 + "{{ s | length }}",
    "a string doubled by loops": TWICE.replace("START", "'aaaa'").replace("OP", "~"),
    "a lazy list doubled": TWICE.replace("START", "[1]").replace("OP", "+"),
    "a wide field": "{{ '%2000000000d' | format(1) }}",
    "a deep indent": "{{ 'x' | indent(100000000000) }}",
    "a replacement": "{{ ('a' * 40000000).replace('a', 'b' * 1000000) }}",
    "sorted characters": "{{ ('a' * 90000000) | list | sort | length }}",
    "a long text": "{% set s = 'a' * 40000000 %}{{ s }}{{ s }}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_hurt_only_themselves(bomb):
    template = ChatTemplate(
        "{% if messages %}fine{% else %}" + BOMBS[bomb] + "{% endif %}", max_seconds=2, max_bytes=256 << 20
    )
    assert template.render(USER) == "fine"
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"out of fuel|out of memory|recursion limit|no answer in time|longer than"):
        template.render([])
    assert time.monotonic() - start < 20
    assert template.render(USER) == "fine"  # the next rendering has a process again
    template.close()


@pytest.mark.parametrize("opening", ["(", "[", "{% if 1 %}", "not ", "-", "{{"])
def test_deep_nesting_is_refused_when_it_is_compiled(opening):
    with pytest.raises(ModelError, match=r"syntax error|out of memory"):
        ChatTemplate("{{ " + opening * 50_000)


def test_threads_take_turns():
    template = ChatTemplate("{{ messages[0].content }}")
    with ThreadPoolExecutor(4) as pool:
        texts = [f"text {i} " * (i % 7) for i in range(200)]
        assert list(pool.map(lambda text: template.render([{"content": text}]), texts)) == texts
    template.close()


def test_the_process_ends_with_the_template():
    template = ChatTemplate("x")
    process = template._worker._process
    assert process is not None
    del template
    gc.collect()
    assert process.poll() is not None


def test_a_forked_process_gets_its_own():
    template = ChatTemplate("{{ messages[0].content }}")
    assert template.render(USER) == "hi"
    child = os.fork()
    if child == 0:
        os._exit(0 if template.render([{"content": "child"}]) == "child" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert template.render(USER) == "hi"
    template.close()
