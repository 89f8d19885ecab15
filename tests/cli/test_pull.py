from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from kvtape.cli import pull
from kvtape.errors import NotFound
from kvtape.model import registry


def parse(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    pull.configure(parser)
    return parser.parse_args(argv)


def test_paths_go_to_standard_output_and_progress_elsewhere(monkeypatch, capsys):
    asked = []

    def fetch(name: str, *, download: bool, progress: registry.Progress) -> Path:
        assert download
        asked.append(name)
        progress("downloading", 1, 2)
        progress("unpacking", 2, 2)
        return Path("/models") / name

    monkeypatch.setattr(registry, "resolve", fetch)
    assert pull.run(parse("one", "hf:owner/repo/two.gguf")) == 0
    assert asked == ["one", "hf:owner/repo/two.gguf"]
    assert capsys.readouterr().out == "/models/one\n/models/hf:owner/repo/two.gguf\n"


def test_the_default_model_is_one_we_know():
    assert parse().names == ["smollm2-135m"]
    assert "smollm2-135m" in registry.MODELS


def test_an_unknown_name():
    with pytest.raises(NotFound, match=r"'nothing' is neither an alias \(smollm2-135m\) nor a file"):
        pull.run(parse("nothing"))
