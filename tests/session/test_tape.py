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


def record(tape, kind, n_tokens):
    tape.record_text(kind, "", [kind == "turn"] * n_tokens, at=0.0, version=1)


def test_the_oldest_leave_as_a_whole_and_the_newest_stays():
    tape = Tape()
    record(tape, EntryKind.PROMPT, 5)
    record(tape, EntryKind.TEXT, 6)
    tape.record_rows(np.arange(3), [[1] * 4, [2] * 4, [3] * 4], at=0.0, version=1)
    assert not tape.move_window(18, at=1.0, version=2)
    assert tape.move_window(15, at=1.0, version=2)
    assert (tape.head_end, tape.kept_from, tape.n_kept, tape.n_evicted, tape.n_evicted_rows) == (5, 11, 12, 1, 0)
    assert (tape.entries[-1].kind, tape.entries[-1].start, tape.entries[-1].version) == ("evict", 11, 2)
    assert tape.move_window(1, at=1.0, version=2)
    assert (tape.kept_from, tape.n_kept, tape.n_evicted, tape.n_evicted_rows) == (19, 4, 3, 2)
    assert not tape.move_window(0, at=1.0, version=2)


def test_a_rebase_forgets_what_has_left():
    tape = Tape()
    record(tape, EntryKind.PROMPT, 5)
    tape.record_rows(np.arange(4), [[1] * 4, [2] * 4, [3] * 4, [4] * 4], at=0.0, version=1)
    record(tape, EntryKind.TEXT, 3)
    tape.move_window(12, at=0.0, version=1)
    begun_at = tape.kept_from
    assert begun_at == 13
    tape.move_window(8, at=0.0, version=2)
    tape.rebase(begun_at, at=3.0, version=3)
    assert [(entry.kind, entry.start, len(entry.token_ids)) for entry in tape] == [
        ("prompt", 0, 5), ("rows", 5, 8), ("text", 13, 3), ("rebase", 16, 0), ("evict", 9, 0),
    ]  # fmt: skip
    assert (tape.entries[1].rows.tolist(), tape.entries[1].row_ends.tolist()) == ([2, 3], [4, 8])
    assert (tape.head_end, tape.kept_from, tape.n_tokens, tape.n_kept) == (5, 9, 16, 7)
    assert tape.kept_ids().tolist() == tape.token_ids()[:5].tolist() + [4] * 4 + [0] * 3
    assert tape.move_window(4, at=4.0, version=4)
    assert (tape.kept_from, tape.n_evicted) == (13, 4)


def test_the_last_turns_may_be_dropped():
    tape = Tape()
    for kind in (EntryKind.PROMPT, EntryKind.TURN, EntryKind.TEXT, EntryKind.TURN, EntryKind.TEXT):
        record(tape, kind, 4)
    assert tape.kept_ids(1).tolist() == [0] * 4 + [1] * 4 + [0] * 8
    tape.rebase(tape.kept_from, at=0.0, version=2, n_dropped_turns=1)
    assert [(entry.kind, entry.start) for entry in tape] == [
        ("prompt", 0), ("turn", 4), ("text", 8), ("text", 12), ("rebase", 16),
    ]  # fmt: skip
    assert tape.n_tokens == 16


def test_what_is_frozen_joins_the_head():
    tape = Tape()
    record(tape, EntryKind.PROMPT, 4)
    record(tape, EntryKind.TURN, 4)
    tape.freeze()
    record(tape, EntryKind.TEXT, 4)
    assert tape.move_window(0, at=0.0, version=1) is False
    record(tape, EntryKind.TEXT, 4)
    assert tape.move_window(0, at=0.0, version=1)
    assert (tape.head_end, tape.kept_from) == (8, 12)
    assert tape.kept_ids(1).tolist() == [0] * 4 + [1] * 4 + [0] * 4  # a frozen turn is no longer a turn to drop


def test_a_tape_of_turns_may_open_otherwise():
    tape = Tape()
    record(tape, EntryKind.PROMPT, 5)
    record(tape, EntryKind.TURN, 4)
    tape.reopen("other", [7, 8], at=1.0, version=3)
    record(tape, EntryKind.TURN, 3)
    assert tape.token_ids().tolist() == [7, 8, 1, 1, 1]
    assert [(entry.kind, entry.text, entry.version) for entry in tape] == [("prompt", "other", 3), ("turn", "", 1)]
    assert (tape.head_end, tape.kept_from, tape.n_kept) == (2, 2, 3)
