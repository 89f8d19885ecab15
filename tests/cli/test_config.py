from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from kvtape.cli.config import parse_with_config
from kvtape.errors import InvalidRequest, NotFound


def memory(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError("wanted a number of bytes")
    return int(text)


def make_parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=command, allow_abbrev=False)
    parser.add_argument("--model", default="small", help="which model (default: %(default)s)")
    if command == "serve":
        parser.add_argument("-p", "--port", type=int, default=8080)
        parser.add_argument("--kv-memory", type=memory, default="4096")
        parser.add_argument("--kv-type", choices=["f16", "q8_0"], default="f16")
        parser.add_argument("--api-key", action="append")
        parser.add_argument("--quiet", action="store_true")
        parser.add_argument("--no-color", dest="color", action="store_false")
        parser.add_argument("--spin", action=argparse.BooleanOptionalAction, default=True)
        parser.add_argument("--stop", nargs="*", default=[])
    else:
        parser.add_argument("prompt")
        parser.add_argument("--token", required=True)
    return parser


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)

    def run(*argv: str, command: str = "serve", toml: str = "", **env: str) -> argparse.Namespace:
        (tmp_path / "kvtape.toml").write_text(toml)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        return parse_with_config(command, argv, ["serve", "run"], make_parser)

    return run


def test_defaults_are_converted_as_argparse_does(parse) -> None:
    args = parse()
    assert vars(args) == {
        "model": "small",
        "port": 8080,
        "kv_memory": 4096,
        "kv_type": "f16",
        "api_key": None,
        "quiet": False,
        "color": True,
        "spin": True,
        "stop": [],
    }


def test_flag_beats_environment_beats_file_beats_default(parse) -> None:
    toml = "[serve]\nport = 3\nkv-memory = 30\nmodel = 'file'"
    args = parse("--port", "1", toml=toml, KVTAPE_PORT="2", KVTAPE_KV_MEMORY="20")
    assert (args.port, args.kv_memory, args.model, args.kv_type) == (1, 20, "file", "f16")


def test_a_table_beats_the_top_level(parse) -> None:
    toml = "model = 'shared'\n[serve]\nmodel = 'mine'"
    assert parse(toml=toml).model == "mine"
    assert parse("hello", "--token", "t", command="run", toml=toml).model == "shared"


def test_top_level_keys_reach_only_commands_that_have_them(parse) -> None:
    args = parse("hello", "--token", "t", command="run", toml="port = 1")
    assert not hasattr(args, "port")


def test_repeated_flags(parse) -> None:
    assert parse("--api-key", "a", "--api-key", "b", KVTAPE_API_KEY="c").api_key == ["a", "b"]
    assert parse(KVTAPE_API_KEY="c, d").api_key == ["c", "d"]


def test_lists_in_the_file(parse) -> None:
    args = parse(toml="[serve]\napi-key = ['e', 'f']\nstop = ['x']")
    assert args.api_key == ["e", "f"]
    assert args.stop == ["x"]


@pytest.mark.parametrize(("word", "value"), [("1", True), ("true", True), ("ON", True), ("0", False), ("no", False)])
def test_switches_in_the_environment(parse, word: str, value: bool) -> None:
    args = parse(KVTAPE_QUIET=word, KVTAPE_SPIN=word)
    assert args.quiet is value
    assert args.spin is value


def test_switches_in_the_file(parse) -> None:
    args = parse(toml="[serve]\nquiet = true\nno-color = true\nspin = false")
    assert (args.quiet, args.color, args.spin) == (True, False, False)
    args = parse(toml="[serve]\nno-color = false")
    assert args.color is True


def test_an_empty_variable_counts_as_absent(parse) -> None:
    assert parse(KVTAPE_PORT="").port == 8080


def test_a_required_flag_may_come_from_elsewhere(parse) -> None:
    args = parse("hello", command="run", KVTAPE_TOKEN="t")
    assert (args.prompt, args.token) == ("hello", "t")
    with pytest.raises(SystemExit):
        parse("hello", command="run", KVTAPE_TOKEN="")


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"KVTAPE_PORT": "many"}, "KVTAPE_PORT: 'many': not a valid int"),
        ({"KVTAPE_KV_MEMORY": "much"}, "KVTAPE_KV_MEMORY: 'much': wanted a number of bytes"),
        ({"KVTAPE_KV_TYPE": "f8"}, "KVTAPE_KV_TYPE: 'f8' is none of f16, q8_0"),
        ({"KVTAPE_QUIET": "maybe"}, "KVTAPE_QUIET: wanted true or false, found 'maybe'"),
    ],
)
def test_bad_variables_are_named(parse, env: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(**env)
    assert str(caught.value) == message
    assert caught.value.param == next(iter(env))


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("prot = 1", "kvtape.toml: no command has a flag --prot"),
        ("[serve]\nprot = 1", "kvtape.toml: `kvtape serve` has no flag --prot"),
        ("[run]\nport = 1", "kvtape.toml: `kvtape run` has no flag --port"),
        ("[sevre]\nport = 1", "kvtape.toml: no command has a flag --sevre"),
        ("serve = 1", "kvtape.toml: serve is a command, so it must be a table [serve]"),
        ("[serve]\nport = 'x'", "kvtape.toml: serve.port: 'x': not a valid int"),
        ("[serve]\nport = true", "kvtape.toml: serve.port: wanted a string or a number, found True"),
        ("[serve]\nport = [1]", "kvtape.toml: serve.port: wanted a string or a number, found [1]"),
        ("[serve]\nquiet = 1", "kvtape.toml: serve.quiet: wanted true or false, found 1"),
        ("[serve]\napi-key = 'a'", "kvtape.toml: serve.api-key: wanted a list, found 'a'"),
        ("[serve]\nkv_type = 'f16'", "kvtape.toml: `kvtape serve` has no flag --kv_type"),
    ],
)
def test_bad_files_name_the_key(parse, toml: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse("hello", command="run", toml=toml, KVTAPE_TOKEN="t")
    assert str(caught.value) == message


def test_a_broken_file_is_named(parse) -> None:
    with pytest.raises(InvalidRequest, match=r"^kvtape.toml: "):
        parse(toml="port = ")


def test_another_file(parse, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[serve]\nport = 9")
    assert parse(KVTAPE_CONFIG="other.toml").port == 9
    with pytest.raises(NotFound, match=r"KVTAPE_CONFIG names gone\.toml"):
        parse(KVTAPE_CONFIG="gone.toml")


def test_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_with_config("serve", [], ["serve", "run"], make_parser).port == 8080


def test_help_shows_defaults_and_variables(parse, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "which model (default: small) [KVTAPE_MODEL]" in text
