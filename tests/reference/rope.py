"""Rotary position embedding, in the precision of x."""

import numpy as np


def tables(n_ctx, head_dim, base=10000.0):
    """float32 cos and sin: [n_ctx, head_dim / 2]."""
    angles = np.arange(n_ctx)[:, None] * base ** (-np.arange(0, head_dim, 2) / head_dim)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rope(x, cos, sin, style):
    """x: [n_rows, n_heads, head_dim]; cos, sin: [n_rows, head_dim / 2], those of each row's position."""
    half = x.shape[-1] // 2
    first, second = (slice(0, None, 2), slice(1, None, 2)) if style == "pairs" else (slice(half), slice(half, None))
    a, b = x[..., first], x[..., second]
    c, s = cos[:, None].astype(x.dtype), sin[:, None].astype(x.dtype)
    turned = np.empty_like(x)
    turned[..., first] = a * c - b * s
    turned[..., second] = a * s + b * c
    return turned
