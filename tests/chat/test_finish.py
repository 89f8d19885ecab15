"""Why a reply ended."""

from __future__ import annotations

import pytest

from kvtape.chat.finish import finish_reason
from kvtape.types import FinishReason


@pytest.mark.parametrize(
    ("reason", "n_calls", "n_incomplete", "expected"),
    [
        (FinishReason.STOP, 0, 0, "stop"),
        (FinishReason.STOP, 2, 0, "tool_calls"),
        (FinishReason.STOP, 1, 1, "stop"),  # broken JSON is never called complete
        (FinishReason.STOP, 2, 1, "stop"),
        (FinishReason.LENGTH, 0, 0, "length"),
        (FinishReason.LENGTH, 1, 1, "length"),
        (FinishReason.LENGTH, 1, 0, "length"),  # it may have wanted more
    ],
)
def test_finish_reason(reason, n_calls, n_incomplete, expected):
    assert finish_reason(reason, n_calls=n_calls, n_incomplete=n_incomplete) == expected


@pytest.mark.parametrize("reason", [FinishReason.CANCELLED, FinishReason.ERROR])
def test_what_failed_is_no_reply(reason):
    with pytest.raises(ValueError, match=reason):
        finish_reason(reason)
