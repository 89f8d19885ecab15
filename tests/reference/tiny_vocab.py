"""Small but real vocabularies. Any text can be encoded; words made of the merges take fewer tokens.

Byte-level BPE in GPT-2 form: specials first, as in SmolLM2, the 256 bytes, and one token a merge. SentencePiece as
Gemma has it: specials, user-defined runs, byte tokens, then pieces whose score is their rank.
"""

from __future__ import annotations

import gguf

__all__ = [
    "CHAT_TEMPLATE",
    "GEMMA_CHAT_TEMPLATE",
    "GEMMA_TOKENS",
    "MERGES",
    "SPECIAL_TOKENS",
    "TOKENS",
    "byte_alphabet",
    "gemma_scores",
    "gemma_types",
]

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

# Left and right piece, best first; Ġ is the space byte and Ċ the newline byte of the alphabet below.
MERGES = (
    "Ġ t", "h e", "Ġ a", "i n", "e r", "o n", "Ġt he", "r e", "Ġ s", "a t", "e n", "Ġ c", "o r", "Ġ o", "e s",
    "in g", "Ġa n", "Ġan d", "l o", "Ġc lo", "Ġclo s", "Ġclos e", "u s", "us er", "Ġ Ġ", "ĠĠ ĠĠ", "Ċ Ċ", "Ã ©",
    "s y", "sy s", "t e", "te m", "sys tem", "a s", "as s", "i s", "ass is", "a n", "t an", "assis tan", "assistan t",
)  # fmt: skip

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_alphabet() -> dict[int, str]:
    """Return the printable character that stands for each byte: itself, or one from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    alphabet = {byte: chr(byte) for byte in printable}
    hidden = (byte for byte in range(256) if byte not in alphabet)
    return alphabet | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


TOKENS = (
    *SPECIAL_TOKENS,
    *(byte_alphabet()[byte] for byte in range(256)),
    *(merge.replace(" ", "") for merge in MERGES),
)

GEMMA_CONTROL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
GEMMA_USER_DEFINED = ("\n", "\n\n", "  ", "   ", "<b>")
GEMMA_PIECES = (
    "▁t", "he", "▁a", "in", "er", "on", "▁the", "re", "▁s", "at", "en", "▁c", "or", "▁o", "es", "ing", "▁an", "▁and",
    "lo", "▁clo", "▁clos", "▁close", "us", "user", "▁▁", "sy", "sys", "te", "tem", "system", "as", "is", "mo", "mod",
    "mode", "model", "aa", "aaa",
    "▁", *"etaoinshrdlcumwfgypbvk.,:0123456789éü日",
)  # fmt: skip
GEMMA_TOKENS = (*GEMMA_CONTROL, *GEMMA_USER_DEFINED, *(f"<0x{byte:02X}>" for byte in range(256)), *GEMMA_PIECES)

GEMMA_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] + '<end_of_turn>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def gemma_scores() -> list[float]:
    """Return GGUF's scores of `GEMMA_TOKENS`: pieces fall by one each."""
    n_others = len(GEMMA_TOKENS) - len(GEMMA_PIECES)
    return [-1000.0] * (n_others - 256) + [0.0] * 256 + [-float(rank) for rank in range(len(GEMMA_PIECES))]


def gemma_types() -> list[int]:
    """Return GGUF's types of `GEMMA_TOKENS`."""
    kinds = gguf.TokenType
    counts = ((kinds.CONTROL, GEMMA_CONTROL), (kinds.USER_DEFINED, GEMMA_USER_DEFINED), (kinds.BYTE, range(256)))
    known = [int(kind) for kind, tokens in counts for _ in tokens]
    return known + [int(kinds.NORMAL)] * len(GEMMA_PIECES)
