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


def mean_logprob(logits: np.ndarray, record: SimpleNamespace) -> float:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    logprob = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return float(logprob[np.arange(len(logits)), record.ids[1:]].mean())


def test_perplexity_is_that_of_float32(logits: np.ndarray, record: SimpleNamespace) -> None:
    ratio = np.exp(record.logprob.astype(np.float64).mean() - mean_logprob(logits, record))
    assert abs(ratio - 1) <= PERPLEXITY_LIMIT


def test_q8_0_kv_adds_little_to_the_perplexity_of_f16(
    smollm2: Model, logits: np.ndarray, record: SimpleNamespace
) -> None:
    q8_0 = smollm2.forward_logits(record.ids[:-1].astype(np.int32), kv_type="q8_0", n_threads=2)
    assert abs(np.exp(mean_logprob(logits, record) - mean_logprob(q8_0, record)) - 1) <= PERPLEXITY_LIMIT


def test_best_token_is_that_of_float32_where_it_leads(logits: np.ndarray, record: SimpleNamespace) -> None:
    clear = record.margin > CLEAR_MARGIN
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(logits.argmax(axis=-1)[clear], record.top[clear])
