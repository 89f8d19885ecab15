from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
import types

import pytest

from kvtape import cli
from kvtape.errors import ContextOverflow, KvtapeError, NotFound


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """Add a command `try` that runs a given function."""

    def add(run) -> None:
        module = types.ModuleType("tests_command")
        module.HELP = "a command of the tests"
        module.configure = lambda parser: parser.add_argument("--size", type=int, default=1)
        module.run = run
        monkeypatch.setitem(sys.modules, "tests_command", module)
        monkeypatch.setitem(cli.COMMANDS, "try", "tests_command")
        monkeypatch.chdir(tmp_path)

    return add


def raising(error: BaseException):
    def run(args: argparse.Namespace) -> int:
        raise error

    return run


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_complete(name: str) -> None:
    command = cli.load_command(name)
    assert command.HELP
    assert "\n" not in command.HELP
    parser = cli.make_parser(name)
    assert parser.prog == f"kvtape {name}"
    assert callable(command.run)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"  {name} " in text


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from kvtape.cli import main; main(['--help']);"
        "print([name for name in ('numpy', 'kvtape._core', 'starlette', 'uvicorn', 'httpx') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "usage: kvtape COMMAND" in capsys.readouterr().err


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fly"]) == 2
    assert capsys.readouterr().err.startswith("kvtape: wanted one of ")


def test_exit_code_and_arguments_pass_through(command) -> None:
    command(lambda args: args.size)
    assert cli.main(["try", "--size", "7"]) == 7
    assert cli.main(["try"]) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KvtapeError("broke"), 1),
        (NotFound("broke"), 1),
        (ContextOverflow("broke"), 2),
        (OSError("broke"), 1),
    ],
)
def test_errors_are_one_line(command, capsys: pytest.CaptureFixture[str], error: Exception, code: int) -> None:
    command(raising(error))
    assert cli.main(["try"]) == code
    assert capsys.readouterr().err == "kvtape try: broke\n"


def test_a_bug_is_not_hidden(command) -> None:
    command(raising(RuntimeError("bug")))
    with pytest.raises(RuntimeError, match="bug"):
        cli.main(["try"])


def test_interrupt(command) -> None:
    command(raising(KeyboardInterrupt()))
    assert cli.main(["try"]) == 130


def test_a_closed_pipe_is_quiet() -> None:
    program = """
import sys, types
from kvtape import cli
module = types.ModuleType("tests_command")
module.HELP, module.configure = "x", lambda parser: None
def run(args):
    for i in range(1_000_000):
        print("line", i)
    return 0
module.run = run
sys.modules["tests_command"] = module
cli.COMMANDS["try"] = "tests_command"
sys.exit(cli.main(["try"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 141


def test_python_m(run_kvtape) -> None:
    run = run_kvtape("--help")
    assert run.returncode == 0
    assert run.stdout.startswith("usage: kvtape COMMAND")


REQUIREMENTS = [
    "numpy>=1",
    'starlette>=0.40; extra == "server"',
    'no-such-thing>=1; extra == "server"',
    "x; extra == 'dev'",
]


def test_missing_extra_prints_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIREMENTS)
    with pytest.raises(KvtapeError, match=r"no-such-thing .* pip install 'kvtape\[server\]'"):
        cli.require_extra("server")


def test_present_extra_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["pytest>=1; extra == 'server'"])
    cli.require_extra("server")
