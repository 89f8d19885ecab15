"""Whole characters from bytes cut anywhere: Python's decoder is the yardstick."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from kvtape._native import _core


def assemble(tokens: list[bytes]) -> str:
    """The text of the tokens, every piece of it whole characters."""
    assembler = _core.TextAssembler(_core.TokenBytes(tokens), _core.TextRules(stop=[], shown=[], reasoning=None))
    return "".join([*(assembler.push(i)[0] for i in range(len(tokens))), assembler.finish()[0]])


@given(st.binary(max_size=24), st.lists(st.integers(0, 24), max_size=6))
def test_random_bytes_and_cuts(data, cuts):
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    tokens = [data[i:j] for i, j in itertools.pairwise(edges)]
    assert assemble(tokens) == data.decode("utf-8", "replace")


def test_every_two_byte_and_boundary_sequence_follows_python():
    leads = [
        0x41,
        0x7F,
        0x80,
        0xBF,
        0xC1,
        0xC2,
        0xDF,
        0xE0,
        0xE1,
        0xEC,
        0xED,
        0xEE,
        0xEF,
        0xF0,
        0xF1,
        0xF3,
        0xF4,
        0xF5,
        0xFF,
    ]
    seconds = [0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC2, 0xF0]
    for data in map(bytes, itertools.product(leads, seconds, seconds, seconds)):
        assert assemble([data[:2], data[2:3], data[3:]]) == data.decode("utf-8", "replace"), data
