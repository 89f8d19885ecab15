from __future__ import annotations

from pathlib import Path

import pytest

from bench.llama_cpp.limits import Cost, ModelShape
from bench.llama_cpp.workloads import WORKLOADS, Workload
from tests.reference.tiny_model import TinySpec, write_tiny_model

IDS = list(range(6000))


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_workloads_are_cut_from_the_text(workload: Workload) -> None:
    prompts = workload.prompts(IDS)
    assert [len(ids) for ids in prompts] == [workload.n_context] * workload.n_prompts
    rounds = [workload.tails(IDS, n) for n in range(1, 8)]
    for tails in rounds:
        assert [len(ids) for ids in tails] == [workload.n_tail] * workload.n_sequences
    assert len({tuple(map(tuple, tails)) for tails in rounds}) == 7, "no prefix cache can help"


def test_units_are_what_a_workload_is_about() -> None:
    assert WORKLOADS["prefill-512"].n_units == 512
    assert WORKLOADS["decode-0"].n_units == 64
    assert WORKLOADS["batch-8"].n_units == 8 * 32


def test_shape_of_a_model(tmp_path: Path) -> None:
    spec = TinySpec(weights="f32", tied=True, head_dim=32, n_heads=6, n_kv_heads=2, n_layers=3)
    shape = ModelShape.read(write_tiny_model(tmp_path / "tiny.gguf", spec))
    assert shape.kv_elements == 3 * 2 * 2 * 32
    assert shape.attention_products == 3 * 2 * 6 * 32
    assert shape.layer_bytes == 4 * shape.layer_weights
    assert shape.head_bytes == 4 * shape.head_weights > 0


def test_cost_counts_a_shared_prefix_once() -> None:
    shape = ModelShape(1000, 100, 2000, 200, 4, kv_elements=10, attention_products=7)
    alone = Cost.of(Workload("a", 100, n_sequences=4), shape)
    together = Cost.of(Workload("b", 100, n_sequences=4, shared=True), shape)
    assert alone.step_bytes - together.step_bytes == 3 * 100 * 10 * 2
    assert together.prefix_bytes == 100 * 10 * 2
    assert alone.prefix_bytes == 0


def test_cost_of_reading_and_generating() -> None:
    shape = ModelShape(1000, 100, 2000, 200, 4, kv_elements=10, attention_products=7)
    cost = Cost.of(Workload("a", 0, n_tail=8, n_tokens=3), shape)
    assert cost.n_steps == 3
    assert cost.int_products == 10 * 2000 + 3 * 200
