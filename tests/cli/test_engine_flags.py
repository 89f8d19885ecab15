"""Flags of the commands that run a model."""

from __future__ import annotations

import argparse

import pytest

from kvtape.cli.engine_flags import add_engine_flags, add_sampling_flags, engine_options, sampling_params
from kvtape.errors import InvalidRequest
from kvtape.types import SamplingParams


def parse(*argv):
    parser = argparse.ArgumentParser()
    add_engine_flags(parser)
    add_sampling_flags(parser)
    return parser.parse_args(argv)


def test_defaults():
    args = parse()
    assert args.model == "smollm2-135m"
    assert engine_options(args) == {"n_ctx": None, "n_threads": None, "kv_memory": "auto", "kv_type": "f16"}
    assert sampling_params(args) == SamplingParams()


def test_every_flag_arrives():
    args = parse(
        "--ctx", "512", "--threads", "2", "--kv-memory", "1GiB", "--kv-type", "q8_0", "--device", "cpu",
        "--max-tokens", "5", "--temperature", "0.5", "--top-p", "0.9", "--top-k", "40", "--seed", "3",
        "--stop", "a", "--stop", "b",
    )  # fmt: skip
    assert engine_options(args) == {"n_ctx": 512, "n_threads": 2, "kv_memory": "1GiB", "kv_type": "q8_0"}
    assert sampling_params(args) == SamplingParams(
        max_tokens=5, temperature=0.5, top_p=0.9, top_k=40, seed=3, stop=("a", "b")
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--device", "cuda"), "device 'cuda' is not supported; supported: auto, cpu"),
        (("--kv-type", "q4_0"), "KV type 'q4_0' is not supported; supported: f16, q8_0"),
        (("--ctx", "many"), "invalid int value"),
    ],
)
def test_what_is_not_there_is_refused_by_name(argv, message, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*argv)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_bounds_are_those_of_the_table():
    with pytest.raises(InvalidRequest) as caught:
        sampling_params(parse("--temperature", "3"))
    assert caught.value.param == "temperature"
