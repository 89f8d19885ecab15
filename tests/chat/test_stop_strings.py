"""Which stop string ended a reply."""

from __future__ import annotations

import pytest

from kvtape._native import _core
from kvtape.chat.stop_strings import matched_stop


@pytest.mark.parametrize(
    ("pieces", "stops", "expected"),
    [
        ([b"ab", b"cd"], ["cd"], "cd"),
        ([b"ab", b"cd"], ["bc"], "bc"),
        ([b"ab", b"cd"], ["d", "c"], "c"),  # complete first
        ([b"ab", b"cd"], ["d", "cd", "bcd"], "bcd"),  # of those that end together the longest
        ([b"ab", b"cd"], ["ab"], None),  # not of the last token's doing
        ([b"x\xc3", b"\xa9y"], ["é"], "é"),
        ([b"ab", b""], ["b"], None),
        ([b"ab"], [], None),
    ],
)
def test_matches(pieces, stops, expected):
    assert matched_stop(pieces, stops) == expected


def test_it_is_the_one_that_the_engine_cuts(rng):
    alphabet = [b"a", b"b", b"ab", b"ba", b"aab"]
    for _ in range(300):
        stops = ["".join(rng.choice(["a", "b"], size=rng.integers(2, 6))) for _ in range(3)]
        rules = _core.TextRules(stop=stops, shown=[], reasoning=None)
        assembler = _core.TextAssembler(_core.TokenBytes(alphabet), rules)
        pieces, text = [], ""
        for token in rng.integers(0, len(alphabet), size=60).tolist():
            pieces.append(alphabet[token])
            piece, stopped = assembler.push(token)
            text += piece
            if stopped:
                stop = matched_stop(pieces, stops)
                assert stop is not None
                assert b"".join(pieces).decode().startswith(text + stop)
                break
            assert matched_stop(pieces, stops) is None
