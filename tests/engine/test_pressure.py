"""More sequences than the KV memory holds: everything still comes out, bit for bit, only later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kvtape import Engine
from kvtape.engine import Generation, Sequence
from kvtape.types import WorkClass

BLOCK_BYTES = 12_288  # of the tiny model
N_SESSIONS, N_OPERATIONS = 256, 1_500
N_OPENING, N_ROW, N_QUESTION = 90, 17, 9  # tokens
N_CTX = 704
ROOM = 140  # blocks: 20 sessions of about 200 tokens
MOST_AT_ONCE = 200  # questions

Answer = list[tuple[int, float | None]]


@dataclass
class Run:
    """One engine and what is going on in it."""

    engine: Engine
    sessions: list[Sequence] = field(default_factory=list)
    asked: deque[tuple[Sequence, Generation]] = field(default_factory=deque)
    answers: list[Answer] = field(default_factory=list)
    n_needed: int = 0  # tokens that would have to run if each question and push found nothing in memory

    def ask(self, session: Sequence, ids: np.ndarray, n_answer: int, work: WorkClass) -> None:
        branch = session.fork()
        branch.append(ids, work=work)
        self.n_needed += branch.n_tokens + n_answer
        generation = branch.generate(max_tokens=n_answer, ignore_eos=True, logprobs=True, speculate=False, work=work)
        self.asked.append((branch, generation))
        if len(self.asked) > MOST_AT_ONCE:
            self.take_answer()

    def push(self, session: Sequence, ids: np.ndarray) -> None:
        session.append(ids, work=WorkClass.INGEST)
        self.n_needed += session.n_tokens

    def take_answer(self) -> None:
        branch, generation = self.asked.popleft()
        self.answers.append([(event.token_id, event.logprob) for event in generation])
        branch.close()


def run_sessions(engine: Engine, seed: int) -> Run:
    rng = np.random.default_rng(seed)
    run = Run(engine)
    head = rng.integers(3, 250, 40)  # of all sessions
    for _ in range(N_SESSIONS):
        run.sessions.append(engine.open())
        run.push(run.sessions[-1], np.concatenate([head, rng.integers(3, 250, N_OPENING - len(head))]))
    for _ in range(N_OPERATIONS):
        session = run.sessions[rng.integers(N_SESSIONS)]
        kind = rng.random()
        if kind < 0.5:
            run.push(session, rng.integers(3, 250, N_ROW * rng.integers(1, 5)))
        elif kind < 0.95:
            work = WorkClass.INTERACTIVE if kind < 0.6 else WorkClass.FLASH
            run.ask(session, rng.integers(3, 250, N_QUESTION), int(rng.integers(1, 80)), work)
        else:
            session.resident()
    while run.asked:
        run.take_answer()
    for session in run.sessions:
        session.resident()
    engine.core.native.check_integrity()
    return run


def test_more_sessions_than_memory(make_tiny_model: Callable[..., Path]) -> None:
    model = make_tiny_model(n_ctx=1024)
    with Engine(model, n_ctx=N_CTX, kv_memory=40 * ROOM * BLOCK_BYTES, n_threads=1) as engine:
        roomy = run_sessions(engine, 1)
        stats = engine.stats()
        assert stats.preemptions == stats.sequences_dropped == 0
    with Engine(model, n_ctx=N_CTX, kv_memory=ROOM * BLOCK_BYTES, n_threads=2) as engine:
        crowded = run_sessions(engine, 1)
        stats = engine.stats()
        for session in crowded.sessions:
            session.close()
        after = engine.stats()
        assert after.kv_blocks_free + after.kv_blocks_indexed == after.kv_blocks_total
    assert crowded.answers == roomy.answers
    assert stats.sequences_dropped > N_OPERATIONS / 4
    assert stats.computed_tokens + stats.recomputed_tokens < crowded.n_needed
