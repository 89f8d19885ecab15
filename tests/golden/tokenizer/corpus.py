# ruff: noqa: RUF001 - ambiguous characters are what it is for
"""Varied strings for tokenizers, the same on every machine: only `Random.random()` is used, whose sequence is fixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

SEED = 20240229
N_TEXTS = 10_400

PROSE = """
the market closed higher on Monday while traders were waiting for data it's don't we'll I'm they've you're she'd IT'S
DON'T WE'LL naïve café Zürich Ångström e-mail state-of-the-art U.S. 3rd x86_64 foo_bar camelCase HTTPServer résumé —
“quoted” ‘single’ … ¿qué? ¡hola! Straße Łódź İstanbul ﬁnance ǅungla ſo Kelvin
"""
FACES = "😀 😂 🙏🏽 👩‍💻 👨‍👩‍👧‍👦 🇩🇪 🇯🇵 ❤️ ☕ 📈 📉 🏳️‍🌈 1️⃣ #️⃣ ✈️ 🤷🏿‍♀️ 🧑‍🚀"
NAMES = """
<|im_start|> <|im_end|> <|endoftext|> <repo_name> <reponame> <file_sep> <jupyter_code> <empty_output> <|im_end <im_end|>
<|IM_END|> |im_end|> <|eot_id|> <s> </s> <unk> [INST] <|im_start|>system
"""
WORDS, EMOJI, SPECIAL = PROSE.split(), FACES.split(), [*NAMES.split(), "<|im_end|>\n<|im_start|>user\n"]
CODE = (
    "def f(x, *, y=0):\n    return x + y\n",
    "for (int i = 0; i < n; ++i) { a[i] = b[i] * 2.0f; }\n",
    "\tif err != nil {\n\t\treturn nil, err\n\t}\n",
    'const x = `${a.b?.c ?? "d"}`; // note\n',
    "SELECT id, COUNT(*) FROM t WHERE a <> 'b' GROUP BY 1;\r\n",
    "template <class T, size_t N> using A = std::array<T, N>;\n",
    "#include <vector>\n\n\n\nint main() {}\n",
    "| a | b |\n|---|:-:|\n| 1 | **2** |\n",
    '{"k": [1, 2.5e-3, null, true], "s": "\\u00e9\\n"}',
    "https://example.org/a/b?c=d&e=%20f#g",
    "<p class='x'>&nbsp;&amp;</p>\n<!-- -->",
)
SCRIPTS = (
    (0x0391, 0x03A1), (0x03B1, 0x03C9), (0x0410, 0x044F), (0x05D0, 0x05EA), (0x0627, 0x063A), (0x0905, 0x0939),
    (0x0E01, 0x0E2E), (0x10D0, 0x10F0), (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3),
)  # fmt: skip
MARKS = ((0x0300, 0x036F), (0x064B, 0x0652), (0x093E, 0x094C), (0x20D0, 0x20DC), (0xFE00, 0xFE0F), (0x0E34, 0x0E3A))
SIGNS = (
    (0x00A1, 0x00FF), (0x0100, 0x024F), (0x2010, 0x2027), (0x2030, 0x205E), (0x20A0, 0x20B9), (0x2100, 0x214F),
    (0x2150, 0x2189), (0x2190, 0x22FF), (0x2460, 0x25FF), (0x2600, 0x27BF), (0x3001, 0x303D), (0xFF01, 0xFF5E),
    (0x0660, 0x0669), (0x0966, 0x096F), (0x1D400, 0x1D454), (0x1D7CE, 0x1D7FF), (0xE000, 0xE0FF), (0x2070, 0x2071),
)  # fmt: skip
INVISIBLE = (*range(0x20), 0x7F, *range(0x80, 0xA1), 0xAD, 0x200B, 0x200D, 0x200E, 0x2060, 0xFEFF, 0xFFFD)
CONTROLS = [chr(c) for c in INVISIBLE]
SPACES = [*"  \n \n\t\r\v\f\x85\xa0\u1680\u2003\u2028\u3000", "\r\n"]


class Picker:
    """Choices from a fixed sequence of random numbers."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed).random

    def below(self, n: int) -> int:
        """An integer from 0 to n - 1."""
        return int(self._random() * n)

    def one(self, items: list[T] | tuple[T, ...]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def char(self, ranges: tuple[tuple[int, int], ...]) -> str:
        """A character from one of the ranges, ends included."""
        low, high = self.one(ranges)
        return chr(low + self.below(high - low + 1))

    def many(self, n_max: int, piece: Callable[[], str], between: str = "") -> str:
        """1 to n_max pieces."""
        return between.join(piece() for _ in range(1 + self.below(n_max)))


def _number(p: Picker) -> str:
    value = p.below(10 ** (1 + p.below(9)))
    forms = (
        f"{value}", f"-{value}", f"{value / 100:.2f}", f"{value:,}", f"{value:x}", f"0x{value:X}", f"${value}",
        f"{value}%",         f"{value / 7:.5e}", f"{2000 + value % 30}-{1 + value % 12:02}-{1 + value % 28:02}",
        f"{value % 24:02}:{value % 60:02}",
        f"O:{value / 100:.2f} H:{value / 90:.2f} L:{value / 110:.2f} C:{value / 101:.2f} V:{value}",
    )  # fmt: skip
    return p.one(forms)


def _scripts(p: Picker) -> str:
    ranges = (p.one(SCRIPTS),)
    return p.many(8, lambda: p.char(ranges))


def _mixed(p: Picker) -> str:
    pieces: tuple[Callable[[], str], ...] = (
        lambda: p.one(WORDS), lambda: _number(p), lambda: p.one(EMOJI), lambda: _scripts(p), lambda: p.one(SPACES),
        lambda: p.char(SIGNS), lambda: p.char(MARKS), lambda: p.one(CONTROLS), lambda: p.one(SPECIAL),
        lambda: chr(33 + p.below(94)), lambda: p.one(CODE),
    )  # fmt: skip
    return p.many(12, lambda: p.one(pieces)())


KINDS: tuple[Callable[[Picker], str], ...] = (
    lambda p: p.many(14, lambda: p.one(WORDS), " "),
    lambda p: p.many(3, lambda: " " * (4 * p.below(4)) + p.one(CODE)),
    lambda p: p.many(8, lambda: _number(p), p.one([" ", ",", "", "\n"])),
    lambda p: p.many(5, lambda: p.one(EMOJI), p.one(["", " ", "a"])),
    lambda p: p.many(5, lambda: _scripts(p), p.one(["", " ", "。", "، "])),
    lambda p: p.many(10, lambda: p.char(((0x61, 0x7A),)) + p.many(3, lambda: p.char(MARKS))),
    lambda p: p.many(8, lambda: p.one(["", "a", "1", "!", " "]) + p.one(CONTROLS)),
    lambda p: p.many(10, lambda: p.one(SPACES)) + p.one(["", "x", "7", "."]),
    lambda p: p.many(12, lambda: p.char(SIGNS)),
    lambda p: p.many(16, lambda: chr(32 + p.below(95))),
    lambda p: p.many(6, lambda: p.one(["Zürich", " HTTPServer", " camelCase", "!!!!!!!?", "\n", "12"])),
    lambda p: p.one(SPECIAL),
    lambda p: p.many(4, lambda: p.one(["", " ", "text", "\n"]) + p.one(SPECIAL)),
    _mixed,
)


def texts() -> list[str]:
    """`N_TEXTS` strings, the kinds in turn."""
    p = Picker(SEED)
    return [KINDS[i % len(KINDS)](p) for i in range(N_TEXTS)]


def with_more_words(metadata: Mapping[str, Any], pre: str) -> dict[str, Any]:
    """SmolLM2's tokenizer keys with another pre-tokenizer, and tokens by which one can see where it cuts.

    Numbers of two and three digits with their merges (SmolLM2 has none), and words that no merge can make.
    """
    digits = "0123456789"
    numbers = [a + b for a in digits for b in digits] + [a + b + c for a in digits for b in digits for c in digits]
    words = ["ZÃ¼rich", "ĠHTTPServer", "ĠcamelCase", "!!!!!!!?"]
    kinds = metadata["tokenizer.ggml.token_type"]
    return {
        **metadata,
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [*metadata["tokenizer.ggml.tokens"], *numbers, *words],
        "tokenizer.ggml.token_type": np.append(kinds, np.ones(len(numbers) + len(words), kinds.dtype)),
        "tokenizer.ggml.merges": [*metadata["tokenizer.ggml.merges"], *(f"{n[:-1]} {n[-1]}" for n in numbers)],
    }
