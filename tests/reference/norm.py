"""RMS normalisation, in the precision of x."""

import numpy as np


def rms_norm(x, weight, eps):
    """x: [n_rows, dim]; weight: [dim]. The sum is one plain chain: numpy's own would be better than plain code."""
    mean = np.cumsum(x * x, axis=-1)[:, -1:] / x.dtype.type(x.shape[-1])
    return x * (1 / np.sqrt(mean + x.dtype.type(eps))) * weight.astype(x.dtype)
