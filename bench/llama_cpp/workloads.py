"""What is timed: each workload is one row of the table of goals."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WORKLOADS", "Workload"]

SHIFT = 61  # every tail starts elsewhere in the text, so that no prefix cache can help


@dataclass(frozen=True)
class Workload:
    """Read a tail after a held context and generate, in one or several sequences together.

    The unit that is counted is the generated token, or the tail's where it has more.
    """

    name: str
    n_context: int  # tokens held, not timed
    n_tail: int = 1  # tokens read in each sequence
    n_tokens: int = 1  # tokens generated in each sequence, of which reading the tail gives the first
    n_sequences: int = 1
    shared: bool = False  # all sequences go on from one context, else each has its own
    kv_type: str = "f16"
    n_rounds: int = 7
    goal: float | None = None  # times llama.cpp's speed
    goal_share: float | None = None  # of the limit

    @property
    def n_prompts(self) -> int:
        return 1 if self.shared else self.n_sequences

    @property
    def n_units(self) -> int:
        return self.n_sequences * max(self.n_tail, self.n_tokens)

    def prompts(self, ids: list[int]) -> list[list[int]]:
        """Return the held contexts, cut from the text one after the other."""
        return [ids[i * self.n_context : (i + 1) * self.n_context] for i in range(self.n_prompts)]

    def tails(self, ids: list[int], n: int) -> list[list[int]]:
        """Return what is read the n-th time."""
        begin, end = SHIFT * n, len(ids) - self.n_tail
        starts = [(begin + i * (SHIFT + self.n_tail)) % end for i in range(self.n_sequences)]
        return [ids[start : start + self.n_tail] for start in starts]


def _decode(name: str, n_context: int, n_tokens: int, **options: object) -> Workload:
    return Workload(name, n_context, n_tokens=n_tokens, **options)  # type: ignore[arg-type]


WORKLOADS = {
    workload.name: workload
    for workload in (
        _decode("decode-0", 0, 64, goal=2.8, goal_share=0.8),
        _decode("decode-512", 512, 64, goal=3.8, goal_share=0.8),
        _decode("decode-4096", 4096, 32, goal=6, goal_share=0.7, n_rounds=5),
        _decode("decode-4096-q8_0", 4096, 32, goal=7.5, goal_share=0.7, n_rounds=5, kv_type="q8_0"),
        Workload("prefill-64", 0, 64),
        Workload("prefill-512", 0, 512, goal=6, goal_share=0.75, n_rounds=5),
        Workload("prefill-2048", 0, 2048, goal=4, goal_share=0.75, n_rounds=3),
        Workload("chunk-24-at-4096", 4096, 24, goal=5),
        _decode("batch-4", 128, 32, n_sequences=4),
        _decode("batch-8", 128, 32, n_sequences=8, goal=4),
        _decode("batch-16", 128, 32, n_sequences=16, goal=5, n_rounds=5),
        _decode("shared-16", 128, 32, n_sequences=16, shared=True, n_rounds=5),
        Workload("questions-16", 4000, 16, 4, n_sequences=16, shared=True, goal=10, n_rounds=5),
    )
}
