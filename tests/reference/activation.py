"""Activations, in the precision of the arguments."""

import numpy as np


def silu_mul(gate, up):
    with np.errstate(over="ignore", under="ignore"):  # exp(-gate) may be infinite: the quotient is then 0
        return gate / (1 + np.exp(-gate)) * up
