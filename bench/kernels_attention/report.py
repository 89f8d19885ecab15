"""Run the contenders on every case: `python -m bench.kernels_attention.report [--threads N] [--ref]`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def main() -> None:
    """Report each case, with the rates reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ref", action="store_true", help="time the scalar definition too (some 30 times slower)")
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(options.threads)  # before numpy is loaded

    import numpy as np

    from bench.kernels_attention import kvtape, numpy_f32, task
    from bench.report import compare
    from kvtape._native import _core

    isas = [isa for isa in _core.available_isas() if isa != "ref" or options.ref]
    for name in task.CASES:
        case = task.make(name)
        contenders = {"numpy": numpy_f32.prepare(case)}
        for isa in isas:
            contenders[isa] = kvtape.prepare(case, isa=isa, n_threads=options.threads)
        for run in contenders.values():
            case.check(run())
        params = {"case": name, "layers": case.n_layers, "threads": options.threads}
        versions = {"numpy": np.__version__}
        report = compare("kernels_attention", contenders, base="numpy", params=params, versions=versions)
        report.show()
        report.write(Path("bench/results"))
        for timing in report.timings:
            rate, read = case.n_macs / timing.middle / 1e9, case.kv_bytes / timing.middle / 1e9
            print(f"{timing.name}: {2 * rate:.1f} GFLOP/s, {read:.1f} GB/s of f16 KV")


if __name__ == "__main__":
    main()
