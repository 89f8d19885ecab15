"""The native core's operations on numpy arrays: what the engine runs, one at a time, for tests and for curiosity.

Every function takes `isa` (one of `_core.available_isas()`; None: the one in use) and, where rows can be split,
`n_threads`. Neither changes a bit of the answer.
"""

from __future__ import annotations

from kvtape.ops.activation import gelu_mul, silu_mul, softcap
from kvtape.ops.linear import matmul, quantize_rows
from kvtape.ops.norm import rms_norm
from kvtape.ops.packing import PackedWeights, pack
from kvtape.ops.rope import rope

__all__ = [
    "PackedWeights",
    "gelu_mul",
    "matmul",
    "pack",
    "quantize_rows",
    "rms_norm",
    "rope",
    "silu_mul",
    "softcap",
]
