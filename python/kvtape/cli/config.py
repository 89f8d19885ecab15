"""Values of flags from the environment and from `kvtape.toml`.

Every flag of every command, say `--kv-memory` of `serve`, can be given in four places; the first that has it wins:

1. the flag: `--kv-memory 2GiB`;
2. the environment: `KVTAPE_KV_MEMORY=2GiB`; an empty value counts as absent;
3. `kvtape.toml`: `kv-memory = "2GiB"` in the table `[serve]`, or at the top level, for every command that has the flag;
4. the flag's default.

The file is `kvtape.toml` in the working directory, or the one that `KVTAPE_CONFIG` names. A switch takes true or false
(in the environment also 1, 0, yes, no, on, off). A flag that may be repeated takes a list, in the environment with
commas. Positional arguments come from the command line only. Nothing here knows a command: all works on argparse's
actions.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from kvtape.errors import InvalidRequest, NotFound

__all__ = ["parse_with_config"]

_SWITCH_WORDS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)


def parse_with_config(
    command: str, argv: Sequence[str], commands: Iterable[str], make_parser: Callable[[str], argparse.ArgumentParser]
) -> argparse.Namespace:
    """Parse the arguments of a command, and fill in what the environment and `kvtape.toml` say.

    `commands` are all the commands there are, `make_parser` makes the parser of one.

    Raises:
        InvalidRequest: a value does not fit its flag, or the file has a key that no flag answers to; `param` names it.
        NotFound: `KVTAPE_CONFIG` names a file that is not there.
        SystemExit: from argparse, after `--help` or a usage error.
    """
    parser = make_parser(command)
    flags = _flags(parser)
    configured = _read_toml(command, commands, make_parser)
    for key, action in flags.items():
        variable = _variable(key)
        if os.environ.get(variable):
            configured[action.dest] = _from_text(action, os.environ[variable], where=variable)
        if action.help not in (None, argparse.SUPPRESS):
            action.help = f"{action.help} [{variable}]"
        if action.dest in configured:
            action.required = False
    # argparse sets a default only where the namespace has nothing yet, so None here means: not on the command line.
    given = parser.parse_args(argv, argparse.Namespace(**{action.dest: None for action in flags.values()}))
    for action in flags.values():
        if getattr(given, action.dest) is None:
            setattr(given, action.dest, configured.get(action.dest, _default(action)))
    return given


def _flags(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Return the actions behind flags, by the name of the long option without its dashes."""
    found = {}
    for action in parser._actions:  # the one place that lists them; argparse has no public one
        long = [option for option in action.option_strings if option.startswith("--")]
        if long and action.dest is not argparse.SUPPRESS and long[0] != "--help":
            found[long[0][2:]] = action
    return found


def _variable(key: str) -> str:
    return "KVTAPE_" + key.upper().replace("-", "_")


def _read_toml(
    command: str, commands: Iterable[str], make_parser: Callable[[str], argparse.ArgumentParser]
) -> dict[str, Any]:
    """Return the file's values for one command by destination; every key of the whole file is checked."""
    named = os.environ.get("KVTAPE_CONFIG")
    path = Path(named or "kvtape.toml")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            raise NotFound(f"KVTAPE_CONFIG names {named}, which is not there") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path}: {error}", param=str(path)) from error

    flags = {name: _flags(make_parser(name)) for name in commands}
    shared = {key: value for key, value in content.items() if key not in flags}
    for key in shared:
        if not any(key in known for known in flags.values()):
            raise InvalidRequest(f"{path}: no command has a flag --{key}", param=key)
    values: dict[str, Any] = {}
    for name, known in flags.items():
        table = content.get(name, {})
        if not isinstance(table, dict):
            raise InvalidRequest(f"{path}: {name} is a command, so it must be a table [{name}]", param=name)
        for key, value in {**shared, **table}.items():
            if key in known:
                converted = _from_toml(known[key], value, where=f"{path}: {name}.{key}")
                if name == command:
                    values[known[key].dest] = converted
            elif key in table:
                raise InvalidRequest(f"{path}: `kvtape {name}` has no flag --{key}", param=f"{name}.{key}")
    return values


def _is_switch(action: argparse.Action) -> bool:
    return action.nargs == 0


def _is_list(action: argparse.Action) -> bool:
    return isinstance(action, argparse._AppendAction) or action.nargs in ("+", "*") or isinstance(action.nargs, int)


def _from_text(action: argparse.Action, text: str, *, where: str) -> Any:
    if isinstance(action, argparse.BooleanOptionalAction) or _is_switch(action):
        if text.lower() not in _SWITCH_WORDS:
            raise InvalidRequest(f"{where}: wanted true or false, found {text!r}", param=where)
        return _switched(action, _SWITCH_WORDS[text.lower()])
    if _is_list(action):
        return [_convert(action, item.strip(), where=where) for item in text.split(",")]
    return _convert(action, text, where=where)


def _from_toml(action: argparse.Action, value: Any, *, where: str) -> Any:
    if isinstance(action, argparse.BooleanOptionalAction) or _is_switch(action):
        if not isinstance(value, bool):
            raise InvalidRequest(f"{where}: wanted true or false, found {value!r}", param=where)
        return _switched(action, value)
    if _is_list(action):
        if not isinstance(value, list):
            raise InvalidRequest(f"{where}: wanted a list, found {value!r}", param=where)
        return [_convert(action, _scalar(item, where=where), where=where) for item in value]
    return _convert(action, _scalar(value, where=where), where=where)


def _scalar(value: Any, *, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidRequest(f"{where}: wanted a string or a number, found {value!r}", param=where)
    return str(value)


def _switched(action: argparse.Action, value: bool) -> Any:
    """Return what the switch stores when it is thrown (`value`) or not."""
    if isinstance(action, argparse.BooleanOptionalAction):
        return value
    return action.const if value else action.default


def _convert(action: argparse.Action, text: str, *, where: str) -> Any:
    """Check a value with the flag's own type and choices."""
    value: Any = text
    if action.type is not None:
        assert callable(action.type)
        try:
            value = action.type(text)
        except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
            reason = error if isinstance(error, argparse.ArgumentTypeError) else f"not a valid {_type_name(action)}"
            raise InvalidRequest(f"{where}: {text!r}: {reason}", param=where) from error
    if action.choices is not None and value not in action.choices:
        raise InvalidRequest(f"{where}: {text!r} is none of {', '.join(map(str, action.choices))}", param=where)
    return value


def _type_name(action: argparse.Action) -> str:
    return str(getattr(action.type, "__name__", action.type)).strip("_")


def _default(action: argparse.Action) -> Any:
    if isinstance(action.default, str) and callable(action.type):
        return action.type(action.default)  # as argparse does
    return action.default
