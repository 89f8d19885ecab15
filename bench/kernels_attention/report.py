"""Run the contenders on every case: `python -m bench.kernels_attention.report [--threads N] [--ref]`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def main() -> None:
    """Report each case, with its shares of what memory and multipliers allow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ref", action="store_true", help="time the scalar definition too (some 30 times slower)")
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(options.threads)  # before numpy is loaded

    import numpy as np

    from bench.kernels_attention import kvtape, limits, numpy_f32, task
    from bench.report import compare
    from kvtape._native import _core
    from kvtape.engine.core import KV_TYPES

    isas = [isa for isa in _core.available_isas() if isa != "ref" or options.ref]
    read_rate, mac_rate = limits.read_rate(options.threads), limits.mac_rate()
    print(f"{options.threads} threads: read {read_rate / 1e9:.1f} GB/s, a product {mac_rate / 1e9:.1f} GMAC/s")
    for name in task.CASES:
        case = task.make(name)
        contenders = {"numpy": numpy_f32.prepare(case)}
        case.check(contenders["numpy"]())
        kv_types = {f"{isa} {kv_type}": (isa, kv_type) for isa in isas for kv_type in KV_TYPES}
        for label, (isa, kv_type) in kv_types.items():
            contenders[label] = kvtape.prepare(case, isa=isa, kv_type=kv_type, n_threads=options.threads)
            case.check(contenders[label](), kv_type)
        params = {"case": name, "layers": case.n_layers, "threads": options.threads}
        versions = {"numpy": np.__version__}
        report = compare("kernels_attention", contenders, base="numpy", params=params, versions=versions)
        report.show()
        report.write(Path("bench/results"))
        for timing in report.timings:
            if timing.name not in kv_types:
                continue
            n_bytes = case.kv_bytes(kv_types[timing.name][1])
            print(
                f"{timing.name}: {case.n_sequences} sequences read {n_bytes / case.n_layers / 1e6:.2f} MB a layer,"
                f" {n_bytes / timing.middle / read_rate:.2f} of the read limit,"
                f" {case.n_macs / timing.middle / mac_rate:.2f} of numpy's matrix product"
            )


if __name__ == "__main__":
    main()
