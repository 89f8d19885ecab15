"""What an answer costs at least, by the bytes it must read and the products it must do at the speed of this machine.

Tokens that come together (the rows and the question that are not in the cache yet) go through the layers once: their
products, or the weights and the KV of the context read once, whichever takes longer. Each further token of the answer
reads weights and context again.
"""

from __future__ import annotations

from bench.llama_cpp.limits import KV_BYTES, Cost, Limit, ModelShape

__all__ = ["least_seconds"]


def least_seconds(limit: Limit, shape: ModelShape, n_context: int, n_new: int, n_answer: int) -> float:
    """Return the seconds of reading `n_new` tokens behind `n_context` and generating `n_answer`, measured now."""
    n_before = n_context + n_new
    prompt = _cost(shape, 1, n_context, n_new)
    decode = _cost(shape, n_answer - 1, n_before + (n_answer - 2) / 2, n_answer - 1)
    return limit.run(prompt) + (limit.run(decode) if n_answer > 1 else 0.0)


def _cost(shape: ModelShape, n_steps: int, n_context: float, n_tokens: int) -> Cost:
    positions = n_tokens * (n_context + (n_tokens + 1) / 2 if n_steps == 1 else n_context + 1)
    return Cost(
        n_steps=n_steps,
        step_bytes=round(shape.layer_bytes + shape.head_bytes + n_context * shape.kv_elements * KV_BYTES["f16"]),
        prefix_bytes=0,
        int_products=n_tokens * shape.layer_weights + n_steps * shape.head_weights,
        float_products=round(positions * shape.attention_products),
        weight_bits=shape.weight_bits,
    )
