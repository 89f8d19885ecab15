"""The worker that renders one chat template; driven by `template.py`.

A template comes with a model file, so it is a stranger's code. Fuel bounds its steps, but a dozen steps are enough to
ask for all memory there is, and the library then aborts the whole process: so it gets one of its own, with a limit.

The first request is the template.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import minijinja


class Refused(Exception):
    """The template called raise_exception."""


def make_environment(fuel: int) -> minijinja.Environment:
    """An environment with what chat templates expect of the library that most were written for."""
    environment = minijinja.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.fuel = fuel
    environment.add_global("raise_exception", _raise_exception)
    environment.add_filter("tojson", _to_json)
    return environment


def _raise_exception(message: Any = "") -> None:
    raise Refused(str(message))


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    # minijinja's own escapes what matters in HTML; models were trained on the plain form
    separators = tuple(separators) if separators else None
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def without_generation_marks(source: str) -> str:
    """Keep what stands between `{% generation %}` and `{% endgeneration %}`, which only mark it for training."""
    source = re.sub(r"\{%(-?)\s*generation\s*(-?)%\}", r"{%\1 if true \2%}", source)
    return re.sub(r"\{%(-?)\s*endgeneration\s*(-?)%\}", r"{%\1 endif \2%}", source)


def answer(environment: minijinja.Environment, request: dict[str, Any]) -> dict[str, str]:
    """Do one request: {"source"} or {"variables", "now"}; the answer is {"text"}, or {"error", "kind"}."""
    try:
        if "source" in request:
            environment.add_template("chat", without_generation_marks(request["source"]))
            return {"text": ""}
        now = time.localtime(request["now"])
        environment.add_global("strftime_now", lambda form: time.strftime(form, now))
        return {"text": environment.render_template("chat", **request["variables"])}
    except Refused as error:
        return {"error": str(error), "kind": "refused"}
    except minijinja.TemplateError as error:
        fuel = "out of fuel" in error.message or "recursion limit" in error.message
        return {"error": error.message, "kind": "limit" if fuel else "error"}
    except MemoryError:
        return {"error": "out of memory", "kind": "limit"}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "kind": "error"}


def make_answer(fuel: str) -> Callable[[dict[str, Any]], dict[str, str]]:
    """What answers the requests to one process."""
    return partial(answer, make_environment(int(fuel)))
