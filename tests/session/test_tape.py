"""The record from which a context can be rebuilt."""

from __future__ import annotations

import numpy as np

from kvtape.session.tape import EntryKind, Tape


def test_entries_lie_end_to_end():
    tape = Tape()
    rows = np.arange(3)
    tape.record_text(EntryKind.PROMPT, "p", [1, 2], at=1.0, version=0)
    tape.record_text(EntryKind.HEADER, "h", [3], at=2.0, version=1)
    tape.record_rows(rows, [[4, 5], [6], [7, 8, 9]], at=2.0, version=1)
    tape.record_text(EntryKind.TEXT, "", [], at=3.0, version=2)
    assert [(entry.kind, entry.start, len(entry.token_ids), entry.version) for entry in tape] == [
        ("prompt", 0, 2, 0), ("header", 2, 1, 1), ("rows", 3, 6, 1), ("text", 9, 0, 2),
    ]  # fmt: skip
    assert tape.token_ids().tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert tape.token_ids().dtype == np.int32
    assert tape.entries[2].rows is rows
    assert tape.entries[2].row_ends.tolist() == [2, 3, 6]
    assert (tape.n_tokens, tape.n_rows, tape.n_row_tokens, tape.tokens_per_row()) == (9, 3, 6, 2.0)


def test_an_empty_tape():
    tape = Tape()
    assert tape.token_ids().tolist() == []
    assert tape.tokens_per_row() == 0.0
