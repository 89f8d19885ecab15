"""A window computed afresh while the tape goes on."""

from __future__ import annotations

import pytest

from kvtape.engine import AsyncEngine
from kvtape.session.rebase import PIECE, Rebase
from kvtape.session.tape import EntryKind, Tape


@pytest.fixture
def engine(tiny_engine):
    return AsyncEngine.wrap(tiny_engine)


def record(tape, kind, ids):
    tape.record_text(kind, "", ids, at=0.0, version=1)


async def test_it_catches_up_with_the_tape(engine, rng):
    tape = Tape()
    record(tape, EntryKind.PROMPT, [5] * 10)
    for _ in range(4):
        record(tape, EntryKind.TEXT, rng.integers(3, 250, PIECE - 50).tolist())
    tape.move_window(2 * PIECE, at=0.0, version=1)
    rebase = Rebase(engine.open(), tape)
    assert rebase.kept_from == 10 + 2 * (PIECE - 50)
    await rebase.advance()
    record(tape, EntryKind.TEXT, [7] * 3)
    await rebase.advance()
    sequence = rebase.take()
    assert sequence.token_ids().tolist() == tape.kept_ids().tolist()
    assert sequence.n_cached + 1 >= sequence.n_tokens
    record(tape, EntryKind.TEXT, [8] * 3)
    await rebase.advance()  # whoever has it now appends himself
    assert sequence.n_tokens == tape.n_tokens - (tape.kept_from - tape.head_end) - 3
    sequence.close()


async def test_closing_frees_what_it_computed(engine):
    n_before = engine.stats().n_sequences
    rebase = Rebase(engine.open(), Tape())
    rebase.close()
    await rebase.advance()
    assert engine.stats().n_sequences == n_before
