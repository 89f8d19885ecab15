"""kvtape's packed weights and int8 activations; quantising the activations is part of the time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.kernels_linear.task import Task
from kvtape import ops


def prepare(task: Task, *, isa: str, n_threads: int) -> Callable[[], NDArray[np.float32]]:
    """Pack the weights; the result does the product once."""
    n_rows, n_cols = task.w.shape
    w = ops.pack(task.rows, dtype=task.dtype, n_rows=n_rows, n_cols=n_cols)
    out = np.empty((len(task.x), n_rows), np.float32)
    return lambda: ops.matmul(w, task.x, out=out, isa=isa, n_threads=n_threads)
