"""A small but real byte-level BPE vocabulary in GPT-2 form: specials, the 256 bytes, and one token a merge.

Specials come first, as in SmolLM2. Any text can be encoded; words made of the merges take fewer tokens.
"""

from __future__ import annotations

__all__ = ["CHAT_TEMPLATE", "MERGES", "SPECIAL_TOKENS", "TOKENS", "byte_alphabet"]

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
