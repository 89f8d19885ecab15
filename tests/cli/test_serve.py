"""`kvtape serve`: flags and logs; the process itself is in tests/server/test_serving.py."""

from __future__ import annotations

import argparse
import json
import logging

import pytest

from kvtape.cli import serve


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser()
    serve.configure(parser)
    return parser


def test_defaults(parser):
    args = parser.parse_args([])
    assert (args.host, args.port, args.api_key, args.max_sessions) == ("127.0.0.1", 8080, None, 256)
    assert (args.drain_seconds, args.log_format, args.model) == (30.0, "text", "smollm2-135m")


def test_keys_may_be_repeated(parser):
    assert parser.parse_args(["--api-key", "a", "--api-key", "b"]).api_key == ["a", "b"]


@pytest.fixture
def _restored_logging():
    root, engine = logging.getLogger(), logging.getLogger("uvicorn.error")
    before = root.level, root.handlers[:], engine.level
    yield
    root.level, root.handlers[:], engine.level = before


@pytest.mark.usefixtures("_restored_logging")
def test_json_logs_are_one_object_a_line(capsys):
    serve._log_to_stderr("json")
    try:
        raise ValueError("broken\nin two lines")
    except ValueError:
        logging.getLogger("kvtape.x").exception("failed on %s", "purpose")
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert (record["level"], record["logger"], record["message"]) == ("error", "kvtape.x", "failed on purpose")
    assert "broken" in record["error"]
    assert isinstance(record["time"], float)


@pytest.mark.usefixtures("_restored_logging")
def test_text_logs(capsys):
    serve._log_to_stderr("text")
    logging.getLogger("kvtape.x").info("hello")
    assert capsys.readouterr().err.endswith("INFO hello\n")
