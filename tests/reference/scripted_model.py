"""A model that writes what it is told to: each token has one that follows it, whatever stood before.

The embedding is one-hot, the layer adds nothing, and row j of the head is the sum of the embeddings that j follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from tests.reference.tiny_vocab import byte_alphabet

__all__ = ["END", "Script", "write_scripted_model"]

END = 0  # id of the token that ends each script
_HEAD_DIM = 32


@dataclass(frozen=True, slots=True)
class Script:
    """A reply: its tokens follow any prompt that ends with `start`, and the end-of-sequence token follows them."""

    start: int
    ids: tuple[int, ...]


def write_scripted_model(
    path: Path, replies: Sequence[Sequence[bytes | str]], *, chat_template: str | None = None, n_ctx: int = 256
) -> list[Script]:
    """Write a model that knows these replies. A token is bytes, or the name of a control token, which one reply has.

    `<|0|>` in a prompt is the start of the first reply, `<|1|>` of the second. With a chat template prompts are text,
    so there is a token for each byte.
    """
    letters = byte_alphabet()
    tokens = ["<|end|>", "ab", *(letters.values() if chat_template else ())]
    types = [gguf.TokenType.CONTROL, *[gguf.TokenType.NORMAL] * (len(tokens) - 1)]
    follows = [END] * len(tokens)
    scripts = []
    for reply in replies:
        first = len(tokens)
        for token in (f"<|{len(scripts)}|>", *reply):
            is_control = isinstance(token, str)
            tokens.append(token if isinstance(token, str) else "".join(letters[byte] for byte in token))
            types.append(gguf.TokenType.CONTROL if is_control else gguf.TokenType.NORMAL)
            follows.append(len(tokens))
        follows[-1] = END
        scripts.append(Script(first, tuple(range(first + 1, len(tokens)))))
    controls = [text for text, kind in zip(tokens, types, strict=True) if kind == gguf.TokenType.CONTROL]
    assert len(set(controls)) == len(controls)

    n_vocab = len(tokens)
    dim = (n_vocab + 31) // 32 * 32
    head = np.zeros((n_vocab, dim), dtype=np.float32)
    head[follows, np.arange(n_vocab)] = 4.0
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("scripted")
    writer.add_block_count(1)
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(dim)
    writer.add_feed_forward_length(_HEAD_DIM)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_key_length(_HEAD_DIM)
    writer.add_value_length(_HEAD_DIM)
    writer.add_rope_dimension_count(_HEAD_DIM)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(n_vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["a b"])  # a file has at least one
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(False)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    writer.add_tensor("token_embd.weight", np.eye(n_vocab, dim, dtype=np.float32))
    writer.add_tensor("output.weight", head)
    for name, shape in (("attn_q", (_HEAD_DIM, dim)), ("attn_k", (_HEAD_DIM, dim)), ("attn_v", (_HEAD_DIM, dim)),
                        ("attn_output", (dim, _HEAD_DIM)), ("ffn_gate", (_HEAD_DIM, dim)),
                        ("ffn_up", (_HEAD_DIM, dim)), ("ffn_down", (dim, _HEAD_DIM))):  # fmt: skip
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, dtype=np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(dim, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return scripts
