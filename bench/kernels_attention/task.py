"""Attention of SmolLM2-135M (9 heads over 3 KV heads of 64) over a paged pool: the cases, their data and the check."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_HEADS, N_KV_HEADS, HEAD_DIM, BLOCK_SIZE = 9, 3, 64, 32
SCALE = HEAD_DIM**-0.5
# name: sequences, rows of each, positions before them (shared by all), layers: decode must not find its KV in a cache
CASES = {
    "decode": (1, 1, 4095, 30),
    "flash": (16, 1, 4096, 10),
    "prefill": (1, 512, 0, 1),
    "prefill_deep": (1, 512, 3584, 1),
}


@dataclass(frozen=True)
class Task:
    """One case. Every sequence has `n_shared` positions in common with the others and its own rows after them."""

    name: str
    n_sequences: int
    n_rows: int
    n_shared: int
    q: NDArray[np.float32]  # [n_sequences * n_rows, n_heads, head_dim], for every layer
    # [n_layers, n_shared + n_sequences * n_rows, n_kv_heads, head_dim]: the shared positions, then each one's own
    k: NDArray[np.float16]
    v: NDArray[np.float16]

    @property
    def n_layers(self) -> int:
        """Layers done in one run."""
        return len(self.k)

    @property
    def n_macs(self) -> int:
        """Multiplications of one run: q and k, weights and v."""
        seen = sum(self.n_shared + i + 1 for i in range(self.n_rows))
        return self.n_layers * self.n_sequences * seen * N_HEADS * HEAD_DIM * 2

    @property
    def kv_bytes(self) -> int:
        """K and V that one run has to read, shared positions once."""
        return self.k.nbytes + self.v.nbytes

    def own(self, sequence: int) -> slice:
        """Positions of k and v that are a sequence's own."""
        first = self.n_shared + sequence * self.n_rows
        return slice(first, first + self.n_rows)

    def check(self, out: NDArray[np.float32]) -> None:
        """Compare some rows of the last layer with float64.

        Raises:
            ValueError: the answer is another.
        """
        for sequence in {0, self.n_sequences - 1}:
            for row in {0, self.n_rows - 1}:
                index = sequence * self.n_rows + row
                own = slice(self.own(sequence).start, self.own(sequence).start + row + 1)
                for head in range(N_HEADS):
                    k, v = (
                        np.concatenate([x[-1, : self.n_shared, head // 3], x[-1, own, head // 3]]).astype(np.float64)
                        for x in (self.k, self.v)
                    )
                    scores = k @ self.q[index, head].astype(np.float64) * SCALE
                    weights = np.exp(scores - scores.max())
                    error = np.abs(out[index, head] - weights @ v / weights.sum()).max()
                    if not error < 1e-5:
                        raise ValueError(f"{self.name}: row {index}, head {head} is off by {error:.3g}")


def make(name: str) -> Task:
    """Make the data of a case."""
    n_sequences, n_rows, n_shared, n_layers = CASES[name]
    rng = np.random.default_rng(0)
    q = rng.standard_normal((n_sequences * n_rows, N_HEADS, HEAD_DIM), dtype=np.float32)
    shape = (n_layers, n_shared + n_sequences * n_rows, N_KV_HEADS, HEAD_DIM)
    k, v = (rng.standard_normal(shape, dtype=np.float32).astype(np.float16) for _ in range(2))
    return Task(name, n_sequences, n_rows, n_shared, q, k, v)
