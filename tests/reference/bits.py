"""Equality of bytes: -0 is not +0, and one NaN is not another."""

import numpy as np


def assert_same_bits(found, wanted):
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    words = f"u{found.dtype.itemsize}"
    different = np.argwhere(np.ascontiguousarray(found).view(words) != np.ascontiguousarray(wanted).view(words))
    if len(different):
        at = tuple(different[0])
        raise AssertionError(f"{len(different)} of {found.size} differ, first {at}: {found[at]!r}, not {wanted[at]!r}")
