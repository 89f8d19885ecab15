from __future__ import annotations

import argparse
from pathlib import Path

from kvtape.cli import models
from kvtape.model import registry


def show(capsys) -> str:
    parser = argparse.ArgumentParser()
    models.configure(parser)
    assert models.run(parser.parse_args([])) == 0
    return str(capsys.readouterr().out)


def test_every_alias_with_size_and_licence(monkeypatch, tmp_path: Path, capsys):
    monkeypatch.setenv("KVTAPE_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    shown = show(capsys)
    for name, entry in registry.MODELS.items():
        assert name in shown
        assert entry.license in shown
        assert entry.requirement in shown
    assert "98.4 MB" in shown
    assert "not here: kvtape pull" in shown


def test_a_model_that_is_here(monkeypatch, tmp_path: Path, capsys):
    monkeypatch.setenv("KVTAPE_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    for entry in registry.MODELS.values():
        path = tmp_path / "models" / entry.file_name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.truncate(entry.n_bytes)
        assert str(path) in show(capsys)
