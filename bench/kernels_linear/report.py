"""Run the contenders on every product: `python -m bench.kernels_linear.report [--threads N] [--ref]`.

`bench.kernels_linear.by_tokens` shows kvtape alone: products a cycle by the number of tokens, beside the limits.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def main() -> None:
    """Report each product, with the rate of the fastest kvtape contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ref", action="store_true", help="time the scalar definition too (some 50 times slower)")
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(options.threads)  # before numpy is loaded

    import numpy as np

    from bench.kernels_linear import kvtape, numpy_f32, task
    from bench.report import compare
    from kvtape._native import _core

    isas = [isa for isa in _core.available_isas() if isa != "ref" or options.ref]
    for dtype, shapes in task.SHAPES.items():
        for n_rows, n_cols in shapes:
            for n_tokens in task.N_TOKENS:
                product = task.make(dtype, n_rows, n_cols, n_tokens)
                contenders = {"numpy": numpy_f32.prepare(product)}
                for isa in isas:
                    contenders[isa] = kvtape.prepare(product, isa=isa, n_threads=options.threads)
                for run in contenders.values():
                    product.check(run())
                params = {
                    "dtype": dtype, "n_rows": n_rows, "n_cols": n_cols, "n_tokens": n_tokens, "threads": options.threads
                }  # fmt: skip
                versions = {"numpy": np.__version__}
                report = compare("kernels_linear", contenders, base="numpy", params=params, versions=versions)
                report.show()
                report.write(Path("bench/results"))
                for timing in report.timings:
                    print(f"{timing.name}: {product.n_macs / timing.middle / 1e9:.1f} GMAC/s")


if __name__ == "__main__":
    main()
