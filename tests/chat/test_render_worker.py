"""The worker's own functions, in this process, on templates that are no bombs."""

from __future__ import annotations

import pytest

from kvtape.chat.render_worker import answer, make_answer, make_environment, without_generation_marks


@pytest.mark.parametrize(
    ("source", "kind", "says"),
    [
        ("{{ raise_exception('no') }}", "refused", "no"),
        ("{{ 1 + none }}", "error", "invalid operation"),
        ("{% for i in range(9999) %}{% endfor %}", "limit", "out of fuel"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "limit", "recursion limit"),
        ("{{ strftime_now(7) }}", "error", "TypeError"),
    ],
)
def test_each_kind_of_failure_is_told(source, kind, says):
    environment = make_environment(fuel=10_000)
    assert answer(environment, {"source": source}) == {"text": ""}
    found = answer(environment, {"variables": {}, "now": 0})
    assert found["kind"] == kind
    assert says in found["error"]


def test_one_environment_serves_many_requests():
    reply = make_answer("1000")
    assert "syntax error" in reply({"source": "{% if %}"})["error"]
    assert reply({"source": "{{ n }}{{ strftime_now('%Y') }}"}) == {"text": ""}
    assert reply({"variables": {"n": 1}, "now": 1e9}) == {"text": "12001"}
    assert reply({"variables": {"n": 2}, "now": 1.5e9}) == {"text": "22017"}


def test_generation_marks():
    marked = "a{%- generation -%}b{%endgeneration%}c{% set generation = 1 %}"
    assert without_generation_marks(marked) == "a{%- if true -%}b{% endif %}c{% set generation = 1 %}"
