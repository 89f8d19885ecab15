"""What an engine counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kvtape._native import _core

if TYPE_CHECKING:
    from kvtape.engine.core import EngineCore

__all__ = ["EngineStats", "huge_page_bytes", "read_stats"]


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Counters of an engine since its start, and what it holds now."""

    steps: int
    preemptions: int  # times that a sequence at work lost its KV to others
    sequences_dropped: int  # times that an idle one did
    sequences_lost: int  # times that one with a hole did, for good
    prompt_tokens: int  # of finished generations
    prefix_cached_tokens: int  # of these, the ones nobody had to compute: held already, or found by their prefix
    computed_tokens: int
    recomputed_tokens: int  # whose KV others had taken, or that ran again for their logits
    generated_tokens: int
    drafted_tokens: int  # that were computed ahead, guessed from what the text repeats
    accepted_tokens: int  # of these, the ones that were drawn: each saved a step
    dropped_results: int  # for generations that were gone when the step ended
    late_masks: int  # times that a guided token ran again because its mask was not there in time
    n_sequences: int  # open
    running: int  # generations
    queued: int  # sequences with tokens that have no KV yet
    block_size: int  # tokens
    kv_blocks_total: int
    kv_blocks_free: int
    kv_blocks_indexed: int  # kept for prompts that begin alike
    kv_bytes: int
    kv_type: str


def huge_page_bytes() -> int | None:
    """Return how much of this process's memory the system put on huge pages, or None where it does not say.

    Weights and KV ask for them; with 4 KiB pages memory reads up to a quarter slower.
    """
    try:
        lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("AnonHugePages:")), None)


def read_stats(core: EngineCore) -> EngineStats:
    """Read the counters."""
    counted = core.native.stats()
    return EngineStats(
        steps=counted["steps"],
        preemptions=counted["preemptions"],
        sequences_dropped=counted["sequences_dropped"],
        sequences_lost=counted["sequences_lost"],
        prompt_tokens=counted["prompt_tokens"],
        prefix_cached_tokens=counted["cached_tokens"],
        computed_tokens=counted["computed_tokens"],
        recomputed_tokens=counted["recomputed_tokens"],
        generated_tokens=counted["generated_tokens"],
        drafted_tokens=counted["drafted_tokens"],
        accepted_tokens=counted["accepted_tokens"],
        dropped_results=counted["dropped_results"],
        late_masks=counted["late_masks"],
        n_sequences=counted["n_sequences"],
        running=counted["n_running"],
        queued=counted["n_pending"],
        block_size=_core.BLOCK_SIZE,
        kv_blocks_total=counted["n_blocks"],
        kv_blocks_free=counted["n_blocks_free"],
        kv_blocks_indexed=counted["n_blocks_indexed"],
        kv_bytes=core.kv_bytes,
        kv_type=core.kv_type,
    )
