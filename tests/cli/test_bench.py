"""`kvtape bench` in a process of its own, with a tiny random model."""

from __future__ import annotations

import json

import pytest

from kvtape.cli.bench import Result

JOBS = ("--prompt", "8", "24", "--depth", "0", "40", "--batch", "1", "3", "--rounds", "3")
OPTIONS = (*JOBS, "--kv-memory", "16M", "--threads", "1")


def test_json_has_every_job(run_kvtape, tiny_model):
    run = run_kvtape("bench", "--model", str(tiny_model), *OPTIONS, "--json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    jobs = [(row["job"], row["tokens"], row["depth"], row["batch"]) for row in found["results"]]
    prefill = [("prefill", 8, 0, 1), ("prefill", 24, 0, 1)]
    assert jobs == prefill + [("decode", 32 * batch, depth, batch) for depth in (0, 40) for batch in (1, 3)]
    for row in found["results"]:
        slow, fast = row["spread"]
        assert 0 < slow <= row["tokens_per_second"] <= fast
        assert len(row["seconds"]) == 3
    assert found["threads"] == 1
    assert found["weights_bytes"] > 0


def test_table_names_model_and_spread(run_kvtape, tiny_model):
    run = run_kvtape("bench", "--model", str(tiny_model), *OPTIONS)
    assert run.returncode == 0, run.stderr
    assert tiny_model.stem in run.stdout
    assert run.stdout.count("prefill") == 2
    assert run.stdout.count("decode") == 4
    assert "quartiles" in run.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--rounds", "2"), "--rounds must be at least 3, found 2"),
        (("--prompt", "0"), "--prompt must be at least 1, found 0"),
        (("--depth", "-1"), "--depth must be at least 0, found -1"),
        (("--depth", "100000"), "the context has"),
    ],
)
def test_wrong_flags(run_kvtape, tiny_model, flags, words):
    run = run_kvtape("bench", "--model", str(tiny_model), "--kv-memory", "16M", *flags)
    assert run.returncode == 2
    assert words in run.stderr


def test_rates_are_medians():
    result = Result("decode", 60, 0, 1, [1.0, 2.0, 3.0])
    assert result.rate == 30
    assert result.spread == pytest.approx((24, 40))
