"""What a push costs before it is acknowledged, HTTP left out: from numpy and from JSON, into the ring.

    python -m bench.push.report [--rounds 15]

`ring` is the ring's own push; `array` checks the rows and counts them too, as a session does. `typed` decodes a JSON
body to rows in one pass, as the server does; `plain objects` decodes it to dictionaries first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import msgspec

import kvtape
from bench.push.task import Push, make_push, timed
from bench.report import compare
from kvtape.protocols.layerscale.codec import decode_push
from kvtape.ring import RingBuffer

RESULTS = Path("bench/results")
N_ROWS = (1, 100, 1000)
N_TIMES = 200
GOAL_ROWS, GOAL_SECONDS = 100, 3e-6


def contenders(push: Push) -> dict[str, Callable[[], float]]:
    """Return the ways in."""
    ring, context = push.ring, push.context

    def way(into: RingBuffer, job: Callable[[], object]) -> Callable[[], float]:
        return lambda: timed(push, into, job, N_TIMES)

    return {
        "ring": way(ring, lambda: ring.push(push.rows)),
        "array": way(context.ring, lambda: context.push(push.rows)),
        "typed": way(context.ring, lambda: context.push(decode_push(push.body, context.row_type.model))),
        "plain objects": way(context.ring, lambda: context.push(decode_push(push.body))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    for n_rows in N_ROWS:
        push = make_push(n_rows)
        report = compare(
            "push",
            contenders(push),
            base="plain objects",
            params={"rows": n_rows, "body-bytes": len(push.body)},
            versions={"kvtape": kvtape.__version__, "msgspec": msgspec.__version__},
            n_rounds=args.rounds,
        )
        report.show()
        report.write(RESULTS)
        if n_rows == GOAL_ROWS:
            took = report.timing("ring").middle
            verdict = "met" if took <= GOAL_SECONDS else "MISSED"
            print(f"  ring: {took * 1e6:.2f} us for {n_rows} rows, goal {GOAL_SECONDS * 1e6:g}: {verdict}")


if __name__ == "__main__":
    main()
