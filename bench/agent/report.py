"""A conversation of 35 turns with tool calls: wall time, and tokens computed and reused a turn, against llama-server.

    python -m bench.agent.report [MODEL] [--tools api|text] [--turns 35] [--runs 3] [--seed 1] [--threads 2]

The servers take turns, turn by turn, each in a conversation of its own with its own replies; a run is a conversation
with new text. With `--tools text` the client writes the tools into the prompt, and both servers are asked for replies
of the same length. With `--tools api` they are fields of the request: the call is forced where the server honours that,
and llama-server is asked for as many tokens as a call takes where it does not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.agent.task import Agent, Cost, Script
from bench.http import kvtape as ours
from bench.http import llama_server
from bench.report import TEXT_WIDTH, machine
from kvtape._native import _core
from kvtape.model.registry import resolve
from kvtape.model.tokenizer import Tokenizer

MODEL = os.environ.get("KVTAPE_TEST_MODEL", "smollm2-135m")
RESULTS = Path("bench/results")
OURS, PEER = "kvtape", "llama-server"
N_CTX = 8192
GOAL_RATIO = 3.0
FORCES = {OURS: True, PEER: False}  # the peer's build takes a tool_choice and does not heed it

Run = dict[str, list[Cost]]  # contender -> its turns


def converse(agents: dict[str, Agent], n_turns: int) -> Run:
    """Run one conversation with each, turn by turn; who begins changes."""
    costs: Run = {name: [] for name in agents}
    order = list(agents)
    for turn in range(n_turns):
        for name in order:
            costs[name].append(agents[name].turn(turn))
        order.reverse()
    return costs


def total(costs: list[Cost]) -> Cost:
    """Add turns up."""
    return sum(costs, Cost())


def show(runs: list[Run]) -> None:
    """Print some turns (medians over the runs), the sums, and the ratio of the whole conversations."""
    names = list(runs[0])
    table = Table(caption="medians over the runs; tokens: computed of the prompts + generated, reused")
    table.add_column("turn")
    for name in names:
        for heading in (f"{name} ms", "computed", "reused"):
            table.add_column(heading, justify="right")
    n_turns = len(runs[0][names[0]])
    shown = sorted({*range(0, n_turns, 5), n_turns - 1})
    for label, turns in [*((str(turn + 1), slice(turn, turn + 1)) for turn in shown), ("all", slice(None))]:
        row = [label]
        for name in names:
            costs = [total(run[name][turns]) for run in runs]
            row.append(f"{median(cost.seconds for cost in costs) * 1e3:,.0f}")
            computed, replied, reused = (
                round(median(getattr(cost, field) for cost in costs))
                for field in ("computed_tokens", "reply_tokens", "reused_tokens")
            )
            row += [f"{computed:,} + {replied:,}", f"{reused:,}"]
        table.add_row(*row)
    Console(width=None if Console().is_terminal else TEXT_WIDTH).print(table)
    if PEER not in names:
        return
    ratios = sorted(total(run[PEER]).seconds / total(run[OURS]).seconds for run in runs)
    a_token = sorted(_seconds_a_token(run[PEER]) / _seconds_a_token(run[OURS]) for run in runs)
    verdict = "met" if median(ratios) >= GOAL_RATIO else "MISSED"
    print(
        f"  {_spread(ratios)} times {PEER}, goal {GOAL_RATIO:g}: {verdict}; a token generated: {_spread(a_token)} times"
    )


def _seconds_a_token(costs: list[Cost]) -> float:
    cost = total(costs)
    return cost.seconds / cost.reply_tokens


def _spread(ratios: list[float]) -> str:
    return f"{median(ratios):.2f} ({ratios[0]:.2f} .. {ratios[-1]:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=MODEL, help="a .gguf or an alias (default: %(default)s)")
    parser.add_argument("--tools", choices=("api", "text"), default="api")
    parser.add_argument("--turns", type=int, default=35)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="of the first run's text")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    model = resolve(args.model)
    end_ids = sorted(Tokenizer.from_gguf(_core.GgufFile(str(model)).metadata).eos_ids)
    starts = {OURS: ours.start, PEER: partial(llama_server.start, n_ctx=N_CTX)}
    if llama_server.program() is None:
        print(f"{PEER} is left out: KVTAPE_BENCH_LLAMA_SERVER names no program", file=sys.stderr)
        del starts[PEER]
    runs = []
    with ExitStack() as stack:
        ports = {name: stack.enter_context(start(model, args.threads)).port for name, start in starts.items()}
        for seed in range(args.seed, args.seed + args.runs):
            agents = {
                name: Agent(port, Script(seed), args.tools == "api", FORCES[name], end_ids, args.temperature)
                for name, port in ports.items()
            }
            runs.append(converse(agents, args.turns))
    print(f"agent: {args.turns} turns, tools by {args.tools}, {model.stem}, {args.threads} threads, {machine()['cpu']}")
    show(runs)
    RESULTS.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine(), "arguments": vars(args), "runs": [
        {name: [asdict(cost) for cost in costs] for name, costs in run.items()} for run in runs
    ]}  # fmt: skip
    (RESULTS / f"agent-{args.tools}-{model.stem}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
