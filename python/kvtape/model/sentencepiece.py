"""SentencePiece's BPE ("llama" in GGUF files) by the `tokenizers` library: scored pieces, bytes for what has none."""

from __future__ import annotations

import tokenizers
from tokenizers import models

__all__ = ["SPACE", "build"]

SPACE = "▁"  # how pieces write a space


def build(pieces: dict[str, int], scores: list[float]) -> tokenizers.Tokenizer:
    """Build the encoder of text whose spaces are `SPACE`.

    SentencePiece joins the two neighbours whose union has the best score, the library the pair of lowest rank; so each
    way to cut a piece in two pieces is a merge, ranked by the score of the piece.

    Args:
        pieces: text to id, byte tokens ("<0x0A>") among them.
        scores: by id.
    """
    merges = [
        (scores[i], cut, left, right)
        for text, i in pieces.items()
        for cut in range(1, len(text))
        if (left := text[:cut]) in pieces and (right := text[cut:]) in pieces
    ]
    merges.sort(key=lambda merge: merge[:2], reverse=True)
    pairs = [(left, right) for _, _, left, right in merges]
    return tokenizers.Tokenizer(models.BPE(vocab=pieces, merges=pairs, byte_fallback=True))
