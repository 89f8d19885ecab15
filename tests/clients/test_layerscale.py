"""The published Python clients `layerscale`, unmodified, against our server: every method, see `layerscale_checks`."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kvtape import Engine
from kvtape.server import create_app
from tests.clients.layerscale_environments import VERSIONS, Unreachable, run_checks
from tests.clients.layerscale_table import PAGE, failures, render, uncovered
from tests.clients.layerscale_world import standing
from tests.conftest import IN_CI
from tests.serving import eventually, running

QUICK = ("0.3.0", "0.8.0")  # one of each generation


@pytest.fixture
def world(tmp_path):
    with standing(tmp_path) as world:
        yield world


@pytest.mark.parametrize(
    "version", [pytest.param(version, marks=[] if version in QUICK else [pytest.mark.slow]) for version in VERSIONS]
)
def test_every_method_of_version(version, world):
    try:
        report = run_checks(version, world)
    except Unreachable as error:
        (pytest.fail if IN_CI and version in QUICK else pytest.skip)(str(error))
    assert uncovered(report) == []
    assert failures(report) == []
    assert shown(render([report]), version) == shown(PAGE.read_text(), version)


def shown(page: str, version: str) -> dict[str, str]:
    """The cells of a version in a table, by what they are about."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    column = rows[0].index(version)
    return {row[0]: row[column] for row in rows[2:] if row[column]}


def complete_example() -> str:
    """The program under `Complete example` in the README that the package carries."""
    readme = importlib.metadata.metadata("layerscale").get_payload()
    section = readme.split("### Complete example")[1]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


def run_example(url: str, folder: Path) -> str:
    program = complete_example().replace("http://localhost:8080", url)  # the port is the one thing of ours in it
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"LAYERSCALE_LICENSE_KEY": "LS-test", "PATH": ""},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_complete_example_of_its_readme_runs(make_tiny_model, tmp_path):
    engine = Engine(make_tiny_model(n_ctx=4096), kv_memory="64M", n_threads=1)
    with engine, running(create_app(engine, api_keys=["LS-test"])) as url:
        assert run_example(url, tmp_path).startswith("Answer:")
        eventually(lambda: engine.stats().n_sequences == 0)  # the example deletes its session


@pytest.mark.model
def test_the_complete_example_has_an_answer_from_a_real_model(model_path, tmp_path):
    engine = Engine(model_path, n_ctx=4096, kv_memory="512M")
    with engine, running(create_app(engine)) as url:
        answer = run_example(url, tmp_path).removeprefix("Answer:").strip()
    assert re.search("up|down", answer, re.IGNORECASE)
