"""The gate on quality: perplexity and best tokens over real text, against a float32 pass of the dequantised weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kvtape.model.load import Model

pytestmark = pytest.mark.model

PERPLEXITY_LIMIT = 0.005
CLEAR_MARGIN = 0.5  # logits; below it the quantised activations may choose another token


@pytest.fixture(scope="module")
def record() -> SimpleNamespace:
    return SimpleNamespace(**np.load(Path(__file__).parent / "smollm2_text.npz"))


@pytest.fixture(scope="module")
def logits(smollm2: Model, record: SimpleNamespace) -> np.ndarray:
    return smollm2.forward_logits(record.ids[:-1].astype(np.int32), n_threads=2)


def test_perplexity_is_that_of_float32(logits: np.ndarray, record: SimpleNamespace) -> None:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    logprob = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    found = logprob[np.arange(len(logits)), record.ids[1:]].mean()
    ratio = np.exp(record.logprob.astype(np.float64).mean() - found)
    assert abs(ratio - 1) <= PERPLEXITY_LIMIT


def test_best_token_is_that_of_float32_where_it_leads(logits: np.ndarray, record: SimpleNamespace) -> None:
    clear = record.margin > CLEAR_MARGIN
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(logits.argmax(axis=-1)[clear], record.top[clear])
