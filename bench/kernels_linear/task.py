"""Matrix products of small models: random weights in file blocks, random activations, and the check of an answer."""

from __future__ import annotations

from dataclasses import dataclass

import gguf
import numpy as np
from numpy.typing import NDArray

# (n_rows, n_cols) of SmolLM2-135M: attention's square ones, gate and up, down, and the head; of Qwen2.5-0.5B: gate
# and up, head, and down. Its Q4_K_M file holds Q5_0 where a row is not whole blocks of 256.
SMALL = [(576, 576), (1536, 576), (576, 1536), (49152, 576)]
SHAPES = {
    "Q4_1": SMALL, "Q8_0": SMALL, "Q5_0": [(4864, 896), (151936, 896)], "Q4_K": [(896, 4864)], "Q5_K": [(896, 4864)],
    "Q6_K": [(896, 4864)],
}  # fmt: skip
N_TOKENS = [1, 4, 16, 512]
SCALES = {  # where the f16 scales of a block are, and values that make weights of about -0.5 to 0.5
    "Q4_1": {0: 1 / 15, 2: -0.5},
    "Q4_0": {0: 1 / 15},
    "Q8_0": {0: 1 / 255},
    "Q5_0": {0: 1 / 31},
    "Q4_K": {0: 1 / 15 / 32, 2: 0.5 / 32},
    "Q5_K": {0: 1 / 31 / 32, 2: 0.5 / 32},
    "Q6_K": {208: 1 / 63 / 64},
}


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
    """Make a product."""
    rng = np.random.default_rng(0)
    number = gguf.GGMLQuantizationType[dtype]
    block_len, block_bytes = gguf.GGML_QUANT_SIZES[number]
    blocks = rng.integers(0, 256, (n_rows * n_cols // block_len, block_bytes), np.uint8)
    for at, value in SCALES[dtype].items():
        blocks[:, at : at + 2] = np.array([value], np.float16).view(np.uint8)
    w = gguf.dequantize(blocks, number).reshape(n_rows, n_cols)
    x = rng.standard_normal((n_tokens, n_cols), dtype=np.float32)
    return Task(dtype, blocks.reshape(-1), w, x)
