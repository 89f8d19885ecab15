"""Run every contender, interleaved, and print medians: `python bench/ring/report.py`.

The C++ half is its own program: build the target bench_spsc_ring and run build/release/bench_spsc_ring.
"""

from __future__ import annotations

import platform
import statistics

import deque_queue
import kvtape_ring
import mp_queue
import numpy as np
import simple_queue
from task import latency_us, rows_per_second

CONTENDERS = [kvtape_ring.Queue, simple_queue.Queue, deque_queue.Queue, mp_queue.Queue]
N_ROUNDS = 5


def main() -> None:
    rates: dict[tuple[str, int], list[float]] = {}
    times: dict[str, list[np.ndarray]] = {}
    for _ in range(N_ROUNDS):
        for make in CONTENDERS:
            for batch, n_rows in ((1, 20_000), (100, 200_000)):
                rates.setdefault((make.name, batch), []).append(rows_per_second(make(), n_rows, batch))
            times.setdefault(make.name, []).append(latency_us(make(), 1_000))
    print(
        f"Python {platform.python_version()}, two threads, rows of 56 bytes, medians of {N_ROUNDS} interleaved rounds"
    )
    print(
        f"{'':24}{'rows/s, one by one':>20}{'rows/s, 100 a push':>20}"
        f"{'p50 us':>10}{'p99 us':>10}{'p99.9 us':>10}{'max us':>10}"
    )
    for make in CONTENDERS:
        one, many = (statistics.median(rates[make.name, batch]) for batch in (1, 100))
        us = np.concatenate(times[make.name])
        p50, p99, p999 = np.percentile(us, [50, 99, 99.9])
        print(f"{make.name:24}{one:20,.0f}{many:20,.0f}{p50:10.1f}{p99:10.1f}{p999:10.1f}{us.max():10.1f}")


if __name__ == "__main__":
    main()
