"""Matrix products of SmolLM2-135M: random weights in file blocks, random activations, and the check of an answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# (n_rows, n_cols): attention's square ones, gate and up, down, and the output head
SHAPES = [(576, 576), (1536, 576), (576, 1536), (49152, 576)]
DTYPES = ["Q4_1", "Q8_0"]
N_TOKENS = [1, 4, 16, 512]
BLOCK_BYTES = {"Q4_1": 20, "Q8_0": 34}


@dataclass(frozen=True)
class Task:
    """One product. `rows` are the weights as a model file holds them, `w` the same as float32."""

    dtype: str
    rows: NDArray[np.uint8]
    w: NDArray[np.float32]
    x: NDArray[np.float32]

    @property
    def n_macs(self) -> int:
        """Multiplications of weights and activations."""
        return self.w.size * len(self.x)

    def check(self, y: NDArray[np.float32]) -> None:
        """Accept the error of activations in int8, one step in 254, and no more.

        Raises:
            ValueError: the answer is another.
        """
        exact = self.x @ self.w.T
        error = np.abs(y - exact).max() / np.abs(exact).max()
        if not error < 0.02:
            raise ValueError(f"{self.dtype} {self.w.shape}: relative error {error:.3g}")


def make(dtype: str, n_rows: int, n_cols: int, n_tokens: int) -> Task:
    """Make a product; scales and minima are such that weights are about -0.5 to 0.5."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (n_rows * n_cols // 32, BLOCK_BYTES[dtype]), np.uint8)
    d = np.full(len(blocks), 1 / 15 if dtype == "Q4_1" else 1 / 255, np.float16)
    blocks[:, :2] = d.view(np.uint8).reshape(-1, 2)
    if dtype == "Q4_1":
        blocks[:, 2:4] = np.full(len(blocks), -0.5, np.float16).view(np.uint8).reshape(-1, 2)
        n = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
        w = d[:, None].astype(np.float32) * n.astype(np.float32) - np.float32(0.5)
    else:
        w = d[:, None].astype(np.float32) * blocks[:, 2:].view(np.int8).astype(np.float32)
    x = rng.standard_normal((n_tokens, n_cols), dtype=np.float32)
    return Task(dtype, blocks.reshape(-1), w.reshape(n_rows, n_cols), x)
