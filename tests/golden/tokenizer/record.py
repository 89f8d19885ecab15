"""Record what llama.cpp makes of the corpus: `python -m tests.golden.tokenizer.record LIBS MODEL`; see RECORD.md."""

from __future__ import annotations

import ctypes
import json
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from kvtape._native import _core
from tests.golden.tokenizer.corpus import SPECIAL, texts, with_more_words

PRES = ("smollm", "gpt-2", "llama-bpe", "qwen2", "default")
VOCAB_ONLY = 72  # offset of that flag in llama_model_params of this version


class ModelParams(ctypes.Structure):
    """At least as large as llama_model_params, which is passed by value in memory."""

    _fields_ = [("raw", ctypes.c_ubyte * 96)]


class LlamaCpp:
    """The vocabulary of one model file."""

    def __init__(self, folder: Path, model: Path) -> None:
        for name in ("libggml-base.so", "libggml.v0.5.0.so", "libllama.v0.5.0.so"):
            self.lib = ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
        self.lib.llama_model_default_params.restype = ModelParams
        self.lib.llama_model_load_from_file.restype = ctypes.c_void_p
        self.lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, ModelParams]
        self.lib.llama_model_get_vocab.restype = ctypes.c_void_p
        self.lib.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
        params = self.lib.llama_model_default_params()
        params.raw[VOCAB_ONLY] = 1
        loaded = self.lib.llama_model_load_from_file(str(model).encode(), params)
        self.vocab = ctypes.c_void_p(self.lib.llama_model_get_vocab(loaded))

    def encode(self, text: str, *, parse_special: bool) -> list[int]:
        """Ids, without BOS."""
        data = text.encode()
        out = (ctypes.c_int32 * (len(data) + 16))()
        n = self.lib.llama_tokenize(
            self.vocab, data, len(data), out, len(out), ctypes.c_bool(False), ctypes.c_bool(parse_special)
        )
        assert n >= 0
        return out[:n]

    def piece(self, token_id: int) -> bytes:
        """What the token shows, control tokens nothing."""
        out = ctypes.create_string_buffer(1024)
        n = self.lib.llama_token_to_piece(self.vocab, token_id, out, len(out), 0, ctypes.c_bool(False))
        assert n >= 0
        return out.raw[:n]


def write_vocabulary(path: Path, metadata: dict[str, Any]) -> None:
    """A model file without tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(metadata["tokenizer.ggml.pre"])
    writer.add_token_list(metadata["tokenizer.ggml.tokens"])
    writer.add_token_types(metadata["tokenizer.ggml.token_type"].tolist())
    writer.add_token_merges(metadata["tokenizer.ggml.merges"])
    writer.add_bos_token_id(metadata["tokenizer.ggml.bos_token_id"])
    writer.add_eos_token_id(metadata["tokenizer.ggml.eos_token_id"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def checksum(ids: list[int]) -> int:
    """Of the ids as little-endian int32: 16 bits, which miss one difference in 65,536."""
    return zlib.crc32(np.array(ids, "<i4").tobytes()) & 0xFFFF


def main() -> None:
    folder, model = Path(sys.argv[1]), Path(sys.argv[2])
    metadata, corpus, here = _core.GgufFile(str(model)).metadata, texts(), Path(__file__).parent
    arrays: dict[str, np.ndarray] = {"corpus": np.uint32(zlib.crc32("\0".join(corpus).encode()))}
    samples: dict[str, dict[str, list[int]]] = {}
    for pre in PRES:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "vocabulary.gguf"
            write_vocabulary(path, metadata if pre == "smollm" else with_more_words(metadata, pre))
            llama = LlamaCpp(folder, path)
            for name, parse_special in (("plain", False), ("special", True)):
                if pre == "smollm" or name == "plain":
                    ids = [llama.encode(text, parse_special=parse_special) for text in corpus]
                    arrays[f"{pre}.{name}"] = np.array([checksum(i) for i in ids], np.uint16)
            samples[pre] = {text: llama.encode(text, parse_special=False) for text in [*SPECIAL, *corpus[:24]]}
            if pre == "smollm":
                pieces = [llama.piece(i) for i in range(len(metadata["tokenizer.ggml.tokens"]))]
                arrays["pieces"] = np.uint32(zlib.crc32(repr(pieces).encode()))
    np.savez_compressed(here / "llama_cpp.npz", **arrays)
    (here / "llama_cpp.json").write_text(
        json.dumps(samples, ensure_ascii=True, indent=None).replace('], "', '],\n"') + "\n"
    )


if __name__ == "__main__":
    main()
