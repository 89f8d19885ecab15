"""What blocking and asynchronous sequences have in common: every verb but waiting."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from collections.abc import Sequence as Ids
from typing import Any

import numpy as np
import numpy.typing as npt

from kvtape._native import _core
from kvtape.engine.core import EngineCore
from kvtape.errors import InvalidRequest
from kvtape.model.tokenizer import Tokenizer
from kvtape.ops.sampling import native_params as native_sampling
from kvtape.types import ReasoningSpan, SamplingParams, WorkClass

__all__ = ["SequenceBase", "native_params"]

_WORK = {work: getattr(_core.WorkClass, work.value) for work in WorkClass}


def native_params(params: SamplingParams, work: WorkClass, tokenizer: Tokenizer) -> _core.GenerationParams:
    """Return the native form of sampling parameters; where there is no seed, one is drawn here.

    Raises:
        InvalidRequest: an id is outside the vocabulary, or a shown token none of the tokenizer's control tokens.
    """
    for name in ("logit_bias", "allowed_tokens", "logprob_ids"):
        ids: Iterable[int] = getattr(params, name)
        for token_id in ids:
            if not 0 <= token_id < tokenizer.n_vocab:
                raise InvalidRequest(f"{name} has token {token_id} of a vocabulary of {tokenizer.n_vocab}", param=name)
    return _core.GenerationParams(
        sampling=native_sampling(params, seed=secrets.randbits(64)),
        max_tokens=params.max_tokens,
        text=_native_rules(params, tokenizer),
        ignore_eos=params.ignore_eos,
        guided=params.constraint is not None,
        work=_WORK[work],
        speculate=params.speculate,
    )


def _native_rules(params: SamplingParams, tokenizer: Tokenizer) -> _core.TextRules:
    shown = []
    for token_id in params.shown_tokens:
        text = tokenizer.token_text(token_id) if token_id < tokenizer.n_vocab else ""
        if tokenizer.special_tokens.get(text) != token_id:
            raise InvalidRequest(f"shown_tokens has {token_id}, which is no control token", param="shown_tokens")
        shown.append((token_id, text.encode()))
    return _core.TextRules(stop=list(params.stop), shown=shown, reasoning=_native_span(params.reasoning))


def _native_span(span: ReasoningSpan | None) -> _core.ReasoningSpan | None:
    if span is None:
        return None
    return _core.ReasoningSpan(
        open=span.open,
        close=span.close,
        opened=span.opened,
        budget=span.budget,
        close_ids=list(span.close_ids),
        stop_inside=span.stop_inside,
    )


def merged_params(params: SamplingParams | None, options: dict[str, Any]) -> SamplingParams:
    """Return `params`, or those the keyword options make; not both."""
    if params is None:
        return SamplingParams(**options)
    if options:
        raise InvalidRequest(f"give params or keyword options, not both; found {', '.join(options)}", param="params")
    return params


class SequenceBase:
    """A sequence: token ids with KV behind them. Usable from any thread; closed when it is garbage."""

    def __init__(self, core: EngineCore, sequence_id: int) -> None:
        self._core = core
        self.id = sequence_id
        self._closed = False

    @property
    def n_tokens(self) -> int:
        """Token ids held."""
        return self._core.native.n_tokens(self.id)

    @property
    def n_cached(self) -> int:
        """How many of them have KV; the last one may lack it until it is needed."""
        return self._core.native.n_cached(self.id)

    def token_ids(self) -> npt.NDArray[np.int32]:
        """Return a copy of the token ids, [n_tokens] int32."""
        return self._core.native.token_ids(self.id)

    def append(
        self,
        text_or_ids: str | Ids[int] | npt.NDArray[np.int32],
        *,
        parse_special: bool = False,
        work: WorkClass = WorkClass.INTERACTIVE,
    ) -> int:
        """Add text or token ids; returns at once, KV is computed in the background.

        Args:
            text_or_ids: text is tokenised; the first text of a sequence gets the model's BOS token, if it wants one.
            parse_special: whether texts of special tokens become these tokens.
            work: who goes first when the engine is busy.

        Returns:
            The number of tokens added.

        Raises:
            ContextOverflow: they do not fit; nothing was added.
            Conflict: the sequence is generating.
            InvalidRequest: an id is outside the vocabulary.
        """
        if isinstance(text_or_ids, str):
            tokenizer = self._core.model.tokenizer
            add_bos = tokenizer.add_bos and self.n_tokens == 0
            text_or_ids = tokenizer.encode(text_or_ids, parse_special=parse_special, add_bos=add_bos)
        try:
            ids = np.ascontiguousarray(text_or_ids, dtype=np.int32)
        except (OverflowError, ValueError, TypeError) as error:
            raise InvalidRequest(f"token ids: {error}", param="text_or_ids") from None
        self._core.native.append(self.id, ids, _WORK[work])
        return len(ids)

    @property
    def hole(self) -> tuple[int, int]:
        """Positions from the first up to the second were evicted; equal where there are none."""
        return self._core.native.hole(self.id)

    @property
    def lost(self) -> bool:
        """Whether a sequence with a hole has lost its KV, so that `append` and `generate` raise `SequenceLost`."""
        return self._core.native.is_lost(self.id)

    def truncate(self, n_tokens: int) -> None:
        """Keep the first n_tokens. What is cut to before a hole has none any more, and is lost no longer.

        Raises:
            InvalidRequest: more than there are, negative, or inside a hole.
            Conflict: the sequence is generating.
            SequenceLost: it is lost, and more is to be kept than stood before the hole.
        """
        self._core.native.truncate(self.id, n_tokens)
        self._core.wake_waits(self.id)

    def evict(self, begin: int, end: int) -> None:
        """Make a hole of positions begin up to end: the last token and all to come do not see them.

        The others keep their KV, their positions and their ids, and so do the ids in the hole. Blocks wholly inside are
        free at once. A hole grows by another call with the same begin and a later end; there is one a sequence.

        Raises:
            InvalidRequest: it does not grow to the right, or the last token is in it.
            Conflict: the sequence is generating, or not `resident()`.
            SequenceLost: it is lost.
        """
        self._core.native.evict(self.id, begin, end)

    def freeze(self, n_tokens: int) -> None:
        """Mark the first n_tokens as a prefix whose blocks are evicted after all others."""
        self._core.native.freeze(self.id, n_tokens)

    def close(self) -> None:
        """Give everything back; cancels what it generates. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._core.failure is None:
            self._core.native.close(self.id)
            self._core.wake_waits(self.id)

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # the engine is shut down, or this is the interpreter's end
            return
