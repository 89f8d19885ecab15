"""`_core.pyi` says what the native module is: the same names, each function with the same parameters in the same order.

pybind11 writes the signatures of a function into its docstring; they are read back from there.
"""

from __future__ import annotations

import ast
import enum
import re
import types
from pathlib import Path
from typing import Any

import kvtape
from kvtape._native import _core

STUB = Path(kvtape.__file__).parent / "_core.pyi"

# A signature is a list of words: `x`, `x=` (with a default), `*`, `/`, `*args`, `**kwargs`.
Signature = tuple[str, ...]


def split_parameters(text: str) -> list[str]:
    """Split at commas outside of brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for i, char in enumerate(text):
        if quote:
            quote = "" if char == quote and text[i - 1] != "\\" else quote
        elif char in "'\"":
            quote = char
        elif char in "([{<":
            depth += 1
        elif char in ")]}" or (char == ">" and text[i - 1] != "-"):
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def native_signatures(name: str, doc: str) -> list[Signature]:
    """Read the signatures of a pybind11 function from its docstring."""
    found = []
    for line in re.findall(rf"^(?:\d+\. )?{re.escape(name)}\((.*)\) -> .*$", doc, re.MULTILINE):
        words = []
        for part in split_parameters(line):
            word, _, rest = part.partition(":")
            has_default = len(split_parameters(rest.replace(" = ", ",", 1))) > 1 if rest else "=" in word
            words.append(word.partition("=")[0].strip() + ("=" if has_default else ""))
        found.append(tuple(words))
    return found


def stub_signature(node: ast.FunctionDef) -> Signature:
    args = node.args
    plain = [arg.arg for arg in args.posonlyargs + args.args]
    words = [name + ("=" if i >= len(plain) - len(args.defaults) else "") for i, name in enumerate(plain)]
    if args.posonlyargs:
        words.insert(len(args.posonlyargs), "/")
    if args.vararg:
        words.append(f"*{args.vararg.arg}")
    elif args.kwonlyargs:
        words.append("*")
    words += [
        arg.arg + ("=" if default else "") for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
    ]
    return (*words, f"**{args.kwarg.arg}") if args.kwarg else tuple(words)


def is_public(name: str) -> bool:
    return not name.startswith("_") or name == "__init__"


def native_members(owner: Any) -> dict[str, Any]:
    """Return what a module or class has of its own, by name."""
    if isinstance(owner, type) and issubclass(owner, enum.Enum):
        return dict(owner.__members__)
    names = getattr(owner, "__entries", None) or vars(owner)
    found = {name: vars(owner)[name] for name in names if is_public(name)}
    if isinstance(found.get("__init__"), types.WrapperDescriptorType):  # object's own: nobody but the core makes these
        del found["__init__"]
    return found


def stub_members(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """Return the stub's definitions by name; overloads of one function come together."""
    found: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            name = node.name
        elif isinstance(node, ast.AnnAssign):
            name = ast.unparse(node.target)
        elif isinstance(node, ast.Assign):
            name = ast.unparse(node.targets[0])
        else:
            continue
        if is_public(name):
            found.setdefault(name, []).append(node)
    return found


def decorators(node: ast.FunctionDef) -> set[str]:
    return {ast.unparse(decorator) for decorator in node.decorator_list}


def differences(owner: Any, body: list[ast.stmt], path: str = "") -> list[str]:
    native, stub = native_members(owner), stub_members(body)
    found = [f"{path}{name} is not in the stub" for name in native.keys() - stub.keys()]
    found += [f"{path}{name} is in the stub only" for name in stub.keys() - native.keys()]
    for name in sorted(native.keys() & stub.keys()):
        value, nodes = native[name], stub[name]
        if isinstance(value, type):
            if isinstance(nodes[0], ast.ClassDef):
                found += differences(value, nodes[0].body, f"{path}{name}.")
            else:
                found.append(f"{path}{name} is a class")
        elif callable(value) or isinstance(value, staticmethod):
            functions = [
                node for node in nodes if isinstance(node, ast.FunctionDef) and "property" not in decorators(node)
            ]
            function = getattr(value, "__func__", value)  # of a static method
            wanted = set(native_signatures(name, function.__doc__ or ""))  # overloads may differ in types alone
            written = {stub_signature(node) for node in functions}
            if wanted != written:
                found.append(f"{path}{name}: native {sorted(wanted)}, stub {sorted(written)}")
        elif isinstance(value, property):
            setter = any(isinstance(node, ast.FunctionDef) and f"{name}.setter" in decorators(node) for node in nodes)
            if (value.fset is not None) != (setter or isinstance(nodes[0], ast.AnnAssign)):
                found.append(f"{path}{name}: one of native and stub is read-only, the other is not")
    return found


def test_stub_equals_module() -> None:
    found = differences(_core, ast.parse(STUB.read_text()).body)
    assert not found, "\n".join(found)


def test_signatures_are_read_from_docstrings() -> None:
    doc = (
        "f(*args, **kwargs)\nOverloaded function.\n\n"
        "1. f(x: numpy.typing.NDArray[numpy.float32], *, eps: float = 1e-05) -> None\n\nText with f(x) in it.\n\n"
        "2. f(self: a.B, ids: dict[int, str] = {}, mode: a.Mode = <Mode.x: 1>, /) -> list[int]\n"
    )
    assert native_signatures("f", doc) == [("x", "*", "eps="), ("self", "ids=", "mode=", "/")]


def test_a_difference_is_noticed() -> None:
    body = ast.parse(STUB.read_text()).body
    without_first = [node for node in body if getattr(node, "name", "") != "active_isa"]
    assert "active_isa is not in the stub" in differences(_core, without_first)
    renamed = ast.parse("def active_isa(name: str) -> str: ...").body
    assert "active_isa: native [()], stub [('name',)]" in differences(_core, without_first + renamed)
    assert "motor is in the stub only" in differences(_core, body + ast.parse("def motor() -> None: ...").body)
