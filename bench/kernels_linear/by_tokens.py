"""Products a cycle by the number of tokens, beside what memory and the multipliers allow.

    python -m bench.kernels_linear.by_tokens [--threads N]

Weights are as many matrices as fill 64 MB, more than most third-level caches hold, and are read once a run, as the
layers of a model are. The floor of a run is the longer of two times: that of one token, which is memory's, and that of
the multiplies at the limit of the instruction set; `share` is floor / time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.kernels_linear import task
from kvtape import ops
from kvtape._native import _core

DTYPES = ["Q4_1", "Q4_0", "Q8_0"]
# So many rows that the cost of a call does not show; rows of y not 4 KiB times n apart, which would share cache sets.
SHAPES = [(24592, 576), (9232, 1536)]
N_TOKENS = [1, 2, 3, 4, 6, 8, 12, 16, 32, 256]
WEIGHT_BYTES = 64e6
N_ROUNDS = 5
# Products a cycle and core that the multiplying pipes of Zen 4 allow, by the operations a block takes (the kernels'
# comments): on another CPU only the rates mean something.
LIMITS = {
    "avx512": {"Q4_1": 512 / 11, "Q4_0": 512 / 10, "Q8_0": 512 / 10},
    "avx2": {"Q4_1": 512 / 12, "Q4_0": 512 / 11, "Q8_0": 512 / 28},
}


def clock() -> float:
    """Measure cycles a second: a row of F32 weights is a chain of FMAs, 4 cycles each since Skylake and Zen 3."""
    lengths = (4096, 12288)
    shortest = []
    for n_cols in lengths:
        w = ops.pack(np.zeros(4 * n_cols, np.uint8), dtype="F32", n_rows=1, n_cols=n_cols)
        x, out = np.zeros((1, n_cols), np.float32), np.empty((1, 1), np.float32)
        shortest.append(min(_seconds(lambda w=w, x=x, out=out: ops.matmul(w, x, out=out)) for _ in range(2000)))
    return 4 * (lengths[1] - lengths[0]) / (shortest[1] - shortest[0])


def table(dtype: str, n_rows: int, n_cols: int, *, n_threads: int) -> Table:
    """Time one shape on every instruction set that has a limit, instruction sets taking turns."""
    isas = [isa for isa in _core.available_isas() if isa in LIMITS]
    product = task.make(dtype, n_rows, n_cols, max(N_TOKENS))
    n_matrices = int(np.ceil(WEIGHT_BYTES / len(product.rows)))
    matrices = [ops.pack(product.rows, dtype=dtype, n_rows=n_rows, n_cols=n_cols) for _ in range(n_matrices)]
    out = np.empty((max(N_TOKENS), n_rows), np.float32)
    for isa in isas:
        product.check(ops.matmul(matrices[0], product.x, out=out, isa=isa))
    cycles = clock()
    title = f"{dtype} [{n_rows}, {n_cols}], threads {n_threads}, {cycles / 1e9:.2f} GHz: products a cycle and thread"
    found = Table("tokens", title=title)
    for isa in isas:
        for column in (isa, "quartiles", "GB/s", "share"):
            found.add_column(column, justify="right")
    memory: dict[str, float] = {}
    for n_tokens in N_TOKENS:
        x, y = product.x[:n_tokens], out[:n_tokens]
        seconds: dict[str, list[float]] = {isa: [] for isa in isas}
        for i in range(-1, N_ROUNDS):
            for isa in isas:
                elapsed = _seconds(lambda isa=isa, x=x, y=y: _all(matrices, x, y, isa, n_threads))
                if i >= 0:
                    seconds[isa].append(elapsed)
        cells = []
        for isa, times in seconds.items():
            macs = n_matrices * n_rows * n_cols * n_tokens
            middle = median(times)
            memory.setdefault(isa, middle)
            floor = max(memory[isa], macs / (LIMITS[isa][dtype] * cycles * n_threads))
            slow, _, fast = (macs / cycles / n_threads / t for t in np.quantile(times, [0.75, 0.5, 0.25]))
            rate = macs / cycles / n_threads / middle
            bandwidth = n_matrices * len(product.rows) / middle / 1e9
            cells += [f"{rate:.1f}", f"{slow:.1f} .. {fast:.1f}", f"{bandwidth:.1f}", f"{floor / middle:.2f}"]
        found.add_row(str(n_tokens), *cells)
    return found


def _all(matrices: list[ops.PackedWeights], x: np.ndarray, y: np.ndarray, isa: str, n_threads: int) -> None:
    for w in matrices:
        ops.matmul(w, x, out=y, isa=isa, n_threads=n_threads)


def _seconds(job: Callable[[], object]) -> float:
    begin = time.perf_counter_ns()
    job()
    return (time.perf_counter_ns() - begin) / 1e9


def main() -> None:
    """Print a table a format and shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="only these formats")
    options = parser.parse_args()
    for dtype in options.dtype or DTYPES:
        for n_rows, n_cols in SHAPES:
            Console(width=120).print(table(dtype, n_rows, n_cols, n_threads=options.threads))


if __name__ == "__main__":
    main()
