"""The quality task: real text, the float32 yardstick, and how far a contender's logits are from it.

A contender is a command that reads ids, runs the model from an empty context and writes the logits after each of them.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["N_WINDOWS", "WINDOW_LEN", "Comparison", "compare", "log_softmax", "run_contender", "text", "windows"]

N_WINDOWS = 3
WINDOW_LEN = 1536  # tokens; all but the last are scored, so 4,605 positions in all

Logits = NDArray[np.floating]


def text() -> str:
    """Return the text that is scored."""
    return (Path(__file__).parent / "data" / "tom_sawyer.txt").read_text(encoding="ascii")


def windows(ids: list[int]) -> list[list[int]]:
    """Cut the text's ids into the windows that are scored.

    Raises:
        ValueError: the text is too short.
    """
    if len(ids) < N_WINDOWS * WINDOW_LEN:
        raise ValueError(f"the text has {len(ids)} tokens, wanted {N_WINDOWS * WINDOW_LEN}")
    return [ids[i * WINDOW_LEN : (i + 1) * WINDOW_LEN] for i in range(N_WINDOWS)]


def run_contender(module: str, model: Path, ids: list[int], scratch: Path, options: list[str]) -> NDArray[np.float32]:
    """Run `python -m module` in a process of its own and return its logits: [len(ids), vocab_size]."""
    ids_file, logits_file = scratch / "ids.npy", scratch / "logits.npy"
    np.save(ids_file, np.asarray(ids, dtype=np.int32))
    command = [sys.executable, "-m", module, str(model), str(ids_file), str(logits_file), *options]
    subprocess.run(command, check=True)
    logits = np.load(logits_file)
    if logits.dtype != np.float32 or len(logits) != len(ids) or not np.isfinite(logits).all():
        raise ValueError(f"{module} wrote {logits.dtype} {logits.shape}, wanted finite float32 for {len(ids)} tokens")
    return logits


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    """Return the log-probabilities of each row, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Comparison:
    """One contender against the yardstick, one value a scored position."""

    nll: NDArray[np.float64]  # of the true next token
    reference_nll: NDArray[np.float64]
    kl: NDArray[np.float64]  # KL(reference || contender), nats
    same_top: NDArray[np.bool_]

    def summary(self) -> dict[str, float]:
        """Return perplexity, its ratio to the yardstick's and that ratio's standard error, mean and p99 KL, top-1."""
        difference = self.nll - self.reference_nll
        perplexity, reference = np.exp(self.nll.mean()), np.exp(self.reference_nll.mean())
        return {
            "n_positions": len(self.nll),
            "perplexity": float(perplexity),
            "perplexity_ratio": float(perplexity / reference),
            "perplexity_ratio_error": float(difference.std(ddof=1) / np.sqrt(len(difference))),
            "mean_kl": float(self.kl.mean()),
            "p99_kl": float(np.quantile(self.kl, 0.99)),
            "top1_agreement": float(self.same_top.mean()),
        }


def compare(reference: Logits, logits: Logits, ids: list[int], chunk: int = 128) -> Comparison:
    """Compare `logits` with `reference`, both [len(ids), vocab_size], at every position that has a next token."""
    parts = []
    for begin in range(0, len(ids) - 1, chunk):
        rows = slice(begin, min(begin + chunk, len(ids) - 1))
        targets = np.asarray(ids[rows.start + 1 : rows.stop + 1])
        expected, found = log_softmax(reference[rows]), log_softmax(logits[rows])
        at = np.arange(len(targets))
        parts.append(
            Comparison(
                nll=-found[at, targets],
                reference_nll=-expected[at, targets],
                kl=(np.exp(expected) * (expected - found)).sum(axis=-1),
                same_top=expected.argmax(axis=-1) == found.argmax(axis=-1),
            )
        )
    return join(parts)


def join(parts: list[Comparison]) -> Comparison:
    """Put comparisons of several stretches of text together."""
    names = ("nll", "reference_nll", "kl", "same_top")
    return Comparison(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
