"""How far a float32 kernel may be from the truth."""

import numpy as np


def assert_as_good_as_naive(got, naive, exact, factor=2, scale=None):
    """Allow `factor` times the error of plain float32 code, and one rounding of the size of what is summed.

    scale is that size where terms cancel; the largest exact value where it is None.
    """
    scale = np.max(np.abs(exact), initial=0.0) if scale is None else scale
    allowed = factor * np.max(np.abs(naive - exact), initial=0.0) + np.finfo(np.float32).eps * scale
    error = np.max(np.abs(got - exact), initial=0.0)
    assert error <= allowed, f"error {error:.3g}, allowed {allowed:.3g}"
