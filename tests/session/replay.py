"""What a tape says, done again on a sequence of its own: bit for bit what the live context holds."""

from __future__ import annotations

from kvtape.engine import AsyncEngine, AsyncSequence
from kvtape.session.durable import DurableContext
from kvtape.session.tape import EntryKind, Tape

__all__ = ["assert_replayable", "logprobs"]


async def logprobs(sequence: AsyncSequence, n: int = 3) -> list[tuple[int, float | None]]:
    """Generate greedily on a fork, which tells one state of the KV from any other."""
    fork = sequence.fork()
    try:
        events = [e async for e in fork.generate(max_tokens=n, ignore_eos=True, logprobs=True, speculate=False)]
        return [(event.token_id, event.logprob) for event in events]
    finally:
        fork.close()


async def replayed(engine: AsyncEngine, tape: Tape) -> AsyncSequence:
    sequence = engine.open()
    for entry in tape:
        assert entry.start == sequence.n_tokens or entry.kind is EntryKind.EVICT
        if len(entry.token_ids):
            sequence.append(entry.token_ids)
        if entry.kind is EntryKind.EVICT:
            await sequence.resident()
            if entry.start > sequence.hole[1]:
                sequence.evict(tape.head_end, entry.start)
    return sequence


async def assert_replayable(engine: AsyncEngine, context: DurableContext) -> None:
    """Check that the context is what its tape says."""
    async with context.turns.turn(context.n_settled):  # else a rebase might come between
        branch, again = context.branch(), await replayed(engine, context.tape)
        try:
            assert branch.token_ids().tolist() == again.token_ids().tolist() == context.tape.token_ids().tolist()
            assert branch.hole == again.hole
            assert await logprobs(branch) == await logprobs(again)
        finally:
            branch.close()
            again.close()
