from __future__ import annotations

import json
import platform

import pytest

import kvtape
from kvtape._native import _core
from kvtape.cli import main


def test_json_has_all_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kvtape"] == kvtape.__version__
    assert facts["isa"] == _core.active_isa()
    assert facts["available_isas"][-1] == "ref"
    assert facts["isa"] in facts["available_isas"]
    assert facts["python"].endswith(platform.python_version())
    assert set(facts) == {"kvtape", "isa", "available_isas", "compiler", "python", "platform"}


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["kvtape"] == kvtape.__version__
    assert lines["available_isas"] == ", ".join(_core.available_isas())


def test_a_wrong_isa_is_a_clear_error(run_kvtape) -> None:
    run = run_kvtape("version", KVTAPE_ISA="mmx")
    assert run.returncode == 2
    assert "mmx" in run.stderr
    assert "ref" in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_a_forced_isa_is_used(run_kvtape) -> None:
    assert json.loads(run_kvtape("version", "--json", KVTAPE_ISA="ref").stdout)["isa"] == "ref"
