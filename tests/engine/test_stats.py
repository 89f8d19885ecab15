"""Counters of the engine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from kvtape import AsyncEngine
from kvtape.engine.stats import huge_page_bytes


def test_counters_follow_the_work(tiny_engine):
    before = tiny_engine.stats()
    sequence = tiny_engine.open()
    sequence.append([5, 6, 7])
    assert len(list(sequence.generate(max_tokens=4, ignore_eos=True))) == 4
    after = tiny_engine.stats()
    assert after.prompt_tokens - before.prompt_tokens == 3
    assert after.generated_tokens - before.generated_tokens == 4
    assert after.steps > before.steps
    assert after.n_sequences - before.n_sequences == 1
    assert (after.running, after.queued) == (0, 0)
    sequence.close()
    assert tiny_engine.stats().n_sequences == before.n_sequences


def test_huge_pages_are_those_of_the_process():
    n_bytes = huge_page_bytes()
    if n_bytes is not None:
        rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
        rss = int(next(line for line in rollup.splitlines() if line.startswith("Rss:")).split()[1]) * 1024
        assert 0 <= n_bytes <= rss


def test_memory_is_told_in_blocks(tiny_engine):
    stats = tiny_engine.stats()
    assert (stats.kv_bytes, stats.kv_type) == (64 << 20, "f16")
    assert 0 < stats.kv_blocks_free <= stats.kv_blocks_total
    assert stats.kv_blocks_total * stats.block_size >= tiny_engine.n_ctx


def test_both_faces_of_an_engine_count_alike(tiny_engine):
    assert dataclasses.asdict(AsyncEngine.wrap(tiny_engine).stats()) == dataclasses.asdict(tiny_engine.stats())
