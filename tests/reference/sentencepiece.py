"""SentencePiece's BPE by its definition: join the neighbours whose union has the best score, the leftmost of equals."""

from __future__ import annotations

import itertools

__all__ = ["encode"]


def encode(text: str, tokens: list[str], scores: list[float], types: list[int]) -> list[int]:
    """Return the ids of text whose spaces are `▁` already, by normal pieces, and bytes for what has none."""
    normal = {token: i for i, token in enumerate(tokens) if types[i] == 1}
    symbols = list(text)
    while True:
        unions = ["".join(pair) for pair in itertools.pairwise(symbols)]
        joined = [(scores[normal[union]], -i) for i, union in enumerate(unions) if union in normal]
        if not joined:
            break
        at = -max(joined)[1]
        symbols[at : at + 2] = [unions[at]]
    ids = []
    for symbol in symbols:
        if symbol in normal:
            ids.append(normal[symbol])
        else:
            ids += [tokens.index(f"<0x{byte:02X}>") for byte in symbol.encode()]
    return ids
