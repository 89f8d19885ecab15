"""Random programs over sequences with holes in a memory that is too small, beside the same verbs where there is room.

What is answered has the same bits; what is lost has a hole, says so, and goes on from the ids that are left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from kvtape import Engine
from kvtape.engine import Sequence
from kvtape.errors import Conflict, InvalidRequest, SequenceLost
from kvtape.types import WorkClass

BLOCK_BYTES = 12_288  # of the tiny model
N_CTX = 256
ROOM = 10  # blocks: a full context, and one more
MOST = 7  # sequences
WORK = st.sampled_from(WorkClass)


def evict(sequence: Sequence, begin: int, end: int) -> None:
    while True:
        sequence.resident()
        try:
            return sequence.evict(begin, end)
        except Conflict:  # others took its memory in between
            continue


@dataclass
class Held:
    """A sequence where memory is short, and the same one where it is not, with what it should be."""

    crowded: Sequence
    roomy: Sequence
    ids: list[int] = field(default_factory=list)
    hole: tuple[int, int] = (0, 0)

    def left(self) -> list[int]:
        begin, end = self.hole
        return self.ids[:begin] + self.ids[end:]


class Holes(RuleBasedStateMachine):
    """See the module."""

    engines: tuple[Engine, Engine]  # crowded, roomy
    n_lost = 0

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Held] = []

    def teardown(self) -> None:
        for held in self.held:
            held.crowded.close()
            held.roomy.close()
        for engine in self.engines:
            stats = engine.stats()
            assert stats.kv_blocks_free + stats.kv_blocks_indexed == stats.kv_blocks_total

    def pick(self, data: st.DataObject) -> Held:
        return data.draw(st.sampled_from(self.held), label="sequence")

    def rebased(self, held: Held) -> None:
        """The crowded one is lost: both go on from what is left, on a new sequence."""
        assert held.crowded.lost
        assert held.hole[1] > held.hole[0]
        type(self).n_lost += 1
        held.crowded.close()
        held.roomy.close()
        held.ids, held.hole = held.left(), (0, 0)
        held.crowded, held.roomy = (engine.open() for engine in self.engines)
        for sequence in (held.crowded, held.roomy):
            sequence.append(held.ids)

    @precondition(lambda self: len(self.held) < MOST)
    @rule(n=st.integers(2, 130), kind=st.integers(0, 2))
    def open(self, n: int, kind: int) -> None:
        crowded, roomy = (engine.open() for engine in self.engines)
        held = Held(crowded, roomy, [3 + (kind + i * i) % 200 for i in range(n)])
        crowded.append(held.ids)
        roomy.append(held.ids)
        self.held.append(held)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), ids=st.lists(st.integers(3, 249), min_size=1, max_size=40), work=WORK)
    def append(self, data: st.DataObject, ids: list[int], work: WorkClass) -> None:
        held = self.pick(data)
        if len(held.ids) + len(ids) > N_CTX:
            return
        try:
            held.crowded.append(ids, work=work)
        except SequenceLost:
            self.rebased(held)
            return
        held.roomy.append(ids, work=work)
        held.ids += ids

    @precondition(lambda self: 0 < len(self.held) < MOST)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        held = self.pick(data)
        try:
            crowded = held.crowded.fork()
        except SequenceLost:
            self.rebased(held)
            crowded = held.crowded.fork()  # what is drawn next must not depend on when others ran
        self.held.append(Held(crowded, held.roomy.fork(), list(held.ids), held.hole))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), share=st.floats(0, 1))
    def evict(self, data: st.DataObject, share: float) -> None:
        held = self.pick(data)
        begin, end = held.hole
        if end == begin:
            begin = end = int(share * 20)
        end += 1 + int(share * 40)
        if end >= len(held.ids):
            return
        try:
            evict(held.crowded, begin, end)
        except SequenceLost:
            self.rebased(held)
            return
        evict(held.roomy, begin, end)
        held.hole = (begin, end)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), share=st.floats(0, 1))
    def truncate(self, data: st.DataObject, share: float) -> None:
        held = self.pick(data)
        n = 1 + int(share * (len(held.ids) - 1))
        begin, end = held.hole
        try:
            held.crowded.truncate(n)
        except SequenceLost:
            self.rebased(held)
            return
        except InvalidRequest:
            assert begin < n <= end
            return
        held.roomy.truncate(n)
        held.ids = held.ids[:n]
        if n <= begin:
            held.hole = (0, 0)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), work=WORK, n=st.integers(1, 3), n_answer=st.integers(1, 12))
    def ask(self, data: st.DataObject, work: WorkClass, n: int, n_answer: int) -> None:
        """Several at once, of one sequence or of different ones."""
        branches = []
        for i, held in enumerate([self.pick(data) for _ in range(n)]):
            if len(held.ids) + 1 + n_answer > N_CTX:
                continue
            try:
                crowded = held.crowded.fork()
            except SequenceLost:
                self.rebased(held)
                crowded = held.crowded.fork()
            roomy = held.roomy.fork()
            running = []
            for branch in (crowded, roomy):
                try:
                    branch.append([5 + i], work=work)
                    options = {"max_tokens": n_answer, "ignore_eos": True, "logprobs": True, "speculate": False}
                    running.append(branch.generate(work=work, **options))
                except SequenceLost:
                    assert branch is crowded
                    assert held.hole[1] > held.hole[0]
                    break
            else:
                branches.append((held, crowded, roomy, running))
        for held, _, _, (generation, expected) in branches:
            wanted = [(event.token_id, event.logprob) for event in expected]
            try:
                assert [(event.token_id, event.logprob) for event in generation] == wanted
            except SequenceLost:
                assert held.hole[1] > held.hole[0]

    @precondition(lambda self: len(self.held) > 1)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        held = self.pick(data)
        self.held.remove(held)
        held.crowded.close()
        held.roomy.close()

    @rule(data=st.data())
    def pressure(self, data: st.DataObject) -> None:
        """Somebody who needs nearly everything for a moment."""
        rival = self.engines[0].open()
        kind = data.draw(st.integers(0, 200))
        rival.append([3 + (kind + i * i) % 247 for i in range(N_CTX)])
        rival.resident()
        rival.close()

    @invariant()
    def nothing_leaks(self) -> None:
        for held in self.held:
            np.testing.assert_array_equal(held.crowded.token_ids(), held.ids)
            assert held.crowded.hole == held.hole
            assert not held.roomy.lost
            assert not held.crowded.lost or held.hole[1] > held.hole[0]
        for engine in self.engines:
            engine.core.native.check_integrity()


def test_programs(make_tiny_model: Callable[..., Path]) -> None:
    model = make_tiny_model()
    with (
        Engine(model, n_ctx=N_CTX, kv_memory=ROOM * BLOCK_BYTES, n_threads=1) as crowded,
        Engine(model, n_ctx=N_CTX, kv_memory=100 * ROOM * BLOCK_BYTES, n_threads=1) as roomy,
    ):
        Holes.engines, Holes.n_lost = (crowded, roomy), 0
        run_state_machine_as_test(
            Holes, settings=settings(max_examples=60, stateful_step_count=60, deadline=None, derandomize=True)
        )
        assert Holes.n_lost > 10
        assert crowded.stats().sequences_dropped > 100
        assert roomy.stats().sequences_dropped == roomy.stats().sequences_lost == 0
