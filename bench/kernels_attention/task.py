"""Attention of SmolLM2-135M (9 heads over 3 KV heads of 64) over a paged pool: the cases, their data and the check."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.reference.attention import stored

N_HEADS, N_KV_HEADS, HEAD_DIM, BLOCK_SIZE = 9, 3, 64, 32
SCALE = HEAD_DIM**-0.5
# name: sequences, rows of each, positions before them (shared by all), layers: decode must not find its KV in a cache
CASES = {
    "decode_512": (1, 1, 511, 30),
    "decode": (1, 1, 4095, 30),
    "flash": (16, 1, 4096, 10),
    "chunk": (1, 24, 4072, 10),
    "prefill": (1, 2048, 0, 1),
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

    def kv_bytes(self, kv_type: str) -> int:
        """K and V that one run has to read, shared positions once."""
        n_elements = self.k.size + self.v.size
        return n_elements * 2 if kv_type == "f16" else n_elements + n_elements // 32 * 2

    def own(self, sequence: int) -> slice:
        """Positions of k and v that are a sequence's own."""
        first = self.n_shared + sequence * self.n_rows
        return slice(first, first + self.n_rows)

    def check(self, out: NDArray[np.float32], kv_type: str = "f16") -> None:
        """Compare some rows of the last layer with float64 over K and V as `kv_type` gives them back.

        Raises:
            ValueError: the answer is another.
        """
        k_stored, v_stored = (stored(x[-1], kv_type).astype(np.float64) for x in (self.k, self.v))
        for sequence in {0, self.n_sequences - 1}:
            for row in {0, self.n_rows - 1}:
                index = sequence * self.n_rows + row
                own = slice(self.own(sequence).start, self.own(sequence).start + row + 1)
                for head in range(N_HEADS):
                    k, v = (
                        np.concatenate([x[: self.n_shared, head // 3], x[own, head // 3]]) for x in (k_stored, v_stored)
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
