"""The demo, end to end on a tiny model: it ends by itself, and what it reports is what happened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvtape.cli import main
from kvtape.data import load_candles


def run(capsys: pytest.CaptureFixture[str], tiny_model: Path, *flags: str) -> tuple[int, str, str]:
    code = main(["demo", "--model", str(tiny_model), "--kv-memory", "8M", *flags])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_reports_what_happened(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "demo.html"
    code, out, _ = run(capsys, tiny_model, "--history", "2", "--candles", "2", "--json", "--html", str(page))
    assert code == 0
    result = json.loads(out)
    assert result["model"] == tiny_model.stem
    candles = load_candles("AAPL")
    assert [step["candle"]["c"] for step in result["steps"]] == candles["c"][-2:].tolist()
    assert [step["version"] for step in result["steps"]] == [2, 3]
    for step in result["steps"]:
        assert sorted(step["answers"]) == sorted(result["queries"])
        assert all(answer["version"] == step["version"] for answer in step["answers"].values())
        assert step["push_to_resident_ms"] > 0
        assert step["resident_to_flash_ms"] > 0
    assert len(result["questions"]) == 2
    assert all(question["live_ms"] > 0 and question["resend_ms"] > 0 for question in result["questions"])
    assert result["prefill_tokens_per_s"] > 0
    assert "worthless" in result["summary"]["disclaimer"]
    assert "<svg" in page.read_text(encoding="utf-8")


def test_terminal_output_without_history(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, tiny_model, "--history", "0", "--candles", "1", "--symbol", "GOOG")
    assert code == 0
    assert "GOOG" in out
    assert "worthless" in " ".join(out.split())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--symbol", "XYZ"), "XYZ"),
        (("--candles", "0"), "candles"),
        (("--candles", "9999"), "693"),
        (("--html", "/nowhere/at/all.html"), "/nowhere/at"),
    ],
)
def test_bad_flags_are_refused(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], words: str
) -> None:
    code, _, err = run(capsys, tiny_model, *flags)
    assert code in (1, 2)
    assert words in err
