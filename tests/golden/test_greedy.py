"""Greedy continuations of llama.cpp, teacher-forced: at each of its tokens, ours is the same wherever it leads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kvtape.model.load import Model

pytestmark = pytest.mark.model

CLEAR_MARGIN = 0.5


@pytest.mark.parametrize("run", range(3))
def test_continuation(smollm2: Model, greedy_record: dict[str, Any], run: int) -> None:
    ids, tokens, margins = (greedy_record["runs"][run][name] for name in ("ids", "tokens", "margins"))
    logits = smollm2.forward_logits(np.asarray(ids + tokens[:-1], dtype=np.int32), n_threads=2)
    clear = np.asarray(margins) > CLEAR_MARGIN
    assert clear.sum() >= 20
    found = logits[len(ids) - 1 :].argmax(axis=-1)
    np.testing.assert_array_equal(found[clear], np.asarray(tokens)[clear])
