"""What this machine allows, measured in the run that is judged by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

N_BYTES = 256 << 20  # far more than a cache holds; numpy asks for huge pages
N = 2048


def read_rate(n_threads: int) -> float:
    """Bytes a second that n_threads read from memory, each a part of one array."""
    parts = np.array_split(np.ones(N_BYTES // 8, np.uint64), 8 * n_threads)
    with ThreadPoolExecutor(n_threads) as pool:
        return N_BYTES / _best(lambda: list(pool.map(np.bitwise_or.reduce, parts)))


def mac_rate() -> float:
    """Float32 multiply-adds a second of a large product by numpy's BLAS, whose threads the caller has set."""
    a, b = np.ones((2, N, N), np.float32)
    return N**3 / _best(lambda: a @ b)


def _best(run: Callable[[], object], n: int = 7) -> float:
    times = []
    for _ in range(n):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)
