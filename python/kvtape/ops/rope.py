"""Rotary position embedding."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kvtape._native import _core

__all__ = ["rope"]


def rope(
    x: NDArray[np.float32],
    positions: NDArray[np.int32],
    cos: NDArray[np.float32],
    sin: NDArray[np.float32],
    *,
    style: Literal["pairs", "halves"],
    isa: str | None = None,
    n_threads: int = 1,
) -> NDArray[np.float32]:
    """Return `x` with each head turned by the angles of its row's position.

    x: [n_rows, n_heads, head_dim]; positions: [n_rows]; cos, sin: [n_ctx, head_dim / 2].
    style: whether pair i is (x[2i], x[2i+1]) or (x[i], x[i + head_dim/2]).

    Raises:
        InvalidRequest: a shape does not fit, head_dim is odd, or a position is outside the tables.
        TypeError: an array has another dtype or is not in C order.
    """
    turned = x.copy()
    _core.rope(turned, positions, cos, sin, style=style, isa=isa or "", n_threads=n_threads)
    return turned
