from __future__ import annotations

import pytest

from kvtape._native import _core
from kvtape.errors import InvalidRequest


def test_each_id_has_its_bytes():
    pieces = [b"", b"a", b"\x00\xff", b"", "é".encode(), b"x" * 1000]
    table = _core.TokenBytes(pieces)
    assert len(table) == len(pieces)
    assert [table[i] for i in range(len(pieces))] == pieces


@pytest.mark.parametrize("bad", [-1, 2, 2**31 - 1, -(2**31)])
def test_an_id_outside_the_table(bad):
    with pytest.raises(InvalidRequest, match=f"token id {bad} is outside the vocabulary of 2"):
        _core.TokenBytes([b"a", b"b"])[bad]


def test_an_empty_table():
    table = _core.TokenBytes([])
    assert len(table) == 0
    with pytest.raises(InvalidRequest, match="vocabulary of 0"):
        table[0]
