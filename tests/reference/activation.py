"""Activations, in the precision of the arguments."""

import numpy as np


def silu_mul(gate, up):
    with np.errstate(over="ignore", under="ignore"):  # exp(-gate) may be infinite: the quotient is then 0
        return gate / (1 + np.exp(-gate)) * up


def gelu_mul(gate, up):
    """GELU in its tanh form."""
    kind = gate.dtype.type
    inner = kind(np.sqrt(2 / np.pi)) * (gate + kind(0.044715) * gate * gate * gate)
    return kind(0.5) * gate * (1 + np.tanh(inner)) * up


def softcap(x, cap):
    return np.tanh(x / x.dtype.type(cap)) * x.dtype.type(cap)
