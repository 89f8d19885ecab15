"""The native core. Each section is one file of csrc/bindings."""

import numpy as np
from numpy.typing import NDArray

# ---- build -----------------------------------------------------------------------------------------------------------
def available_isas() -> list[str]:
    """Instruction sets this CPU can run, best first; `ref` is always the last."""

def active_isa() -> str:
    """The one in use: `KVTAPE_ISA`, else the best. Raises InvalidRequest where `KVTAPE_ISA` names none of them."""

# ---- ops -------------------------------------------------------------------------------------------------------------
def rms_norm(
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    out: NDArray[np.float32],
    *,
    eps: float,
    isa: str,
    n_threads: int,
) -> None:
    """x, out: [n_rows, dim]; weight: [dim]."""

def rope(
    x: NDArray[np.float32],
    positions: NDArray[np.int32],
    cos: NDArray[np.float32],
    sin: NDArray[np.float32],
    *,
    style: str,
    isa: str,
    n_threads: int,
) -> None:
    """In place. x: [n_rows, n_heads, head_dim]; positions: [n_rows]; cos, sin: [n_ctx, head_dim / 2]."""

def silu_mul(
    gate: NDArray[np.float32], up: NDArray[np.float32], out: NDArray[np.float32], *, isa: str, n_threads: int
) -> None:
    """Arrays of one size."""

def quantize_rows(
    x: NDArray[np.float32],
    q: NDArray[np.int8],
    d: NDArray[np.float32],
    s: NDArray[np.float32],
    sum: NDArray[np.int32],
    *,
    isa: str,
) -> None:
    """x, q: [n_rows, dim]; d, s, sum: [n_rows, dim / 32]."""

class PackedWeights:
    """A weight matrix in the layout of the matmul kernels."""

    @property
    def dtype(self) -> str:
        """Name of the GGUF type."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_cols)"""

    @property
    def n_bytes(self) -> int: ...
    def dequantize_row(self, row: int, out: NDArray[np.float32]) -> None:
        """out: [n_cols]"""

def pack(rows: NDArray[np.uint8], *, dtype: str, n_rows: int, n_cols: int, n_threads: int) -> PackedWeights:
    """rows: [n_bytes]"""

def matmul(w: PackedWeights, x: NDArray[np.float32], out: NDArray[np.float32], *, isa: str, n_threads: int) -> None:
    """x: [n_tokens, n_cols]; out: [n_tokens, n_rows]"""
