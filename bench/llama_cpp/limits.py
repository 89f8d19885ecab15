"""The time that a workload cannot beat on this machine: its bytes at the speed of memory, its products at that of the
multipliers, both measured beside the contenders by `bench_limits` (bench/limits).

A step reads every weight once and the KV of each context once, shared ones once for all. The linear layers' products
are of 8-bit integers, or of 4-bit and 8-bit ones, those of attention of float32. Where both are needed the longer one
counts.
"""

from __future__ import annotations

import math
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import gguf

from bench.llama_cpp.workloads import Workload

__all__ = ["Cost", "Limit", "ModelShape", "program"]

KV_BYTES = {"f16": 2.0, "q8_0": 34 / 32}  # an element


@dataclass(frozen=True)
class ModelShape:
    """What of a model file decides how much work a token is."""

    layer_bytes: int  # all linear layers
    head_bytes: int
    layer_weights: int  # products a token
    head_weights: int  # products a token whose logits are wanted
    weight_bits: int  # 4 where most weights of the layers have no more, else 8
    kv_elements: int  # K and V of one position, all layers
    attention_products: int  # of one token with one position: q.k and p.v, all heads and layers

    @classmethod
    def read(cls, model: Path) -> Self:
        """Read the shape from a GGUF file."""
        reader = gguf.GGUFReader(model)
        architecture = reader.get_field("general.architecture").contents()

        def key(name: str, default: int | None = None) -> int:
            field = reader.get_field(f"{architecture}.{name}")
            return int(default if field is None else field.contents())  # type: ignore[arg-type]

        tensors = {tensor.name: tensor for tensor in reader.tensors if len(tensor.shape) == 2}
        head = tensors.get("output.weight", tensors["token_embd.weight"])
        layers = [tensor for name, tensor in tensors.items() if name.startswith("blk.")]
        n_4_bit = sum(int(tensor.n_elements) for tensor in layers if tensor.tensor_type.name.startswith("Q4"))
        n_layers, n_heads = key("block_count"), key("attention.head_count")
        n_kv_heads = key("attention.head_count_kv", n_heads)
        head_dim = key("attention.key_length", key("embedding_length") // n_heads)
        return cls(
            layer_bytes=sum(int(tensor.n_bytes) for tensor in layers),
            head_bytes=int(head.n_bytes),
            layer_weights=sum(int(tensor.n_elements) for tensor in layers),
            head_weights=int(head.n_elements),
            weight_bits=4 if 2 * n_4_bit > sum(int(tensor.n_elements) for tensor in layers) else 8,
            kv_elements=n_layers * n_kv_heads * head_dim * 2,
            attention_products=n_layers * n_heads * head_dim * 2,
        )


@dataclass(frozen=True)
class Cost:
    """What a workload costs at least, whoever does it."""

    n_steps: int
    step_bytes: int  # read in a step, on average
    prefix_bytes: int  # of these, the KV of contexts that sequences share
    int_products: int
    float_products: int
    weight_bits: int

    @classmethod
    def of(cls, workload: Workload, shape: ModelShape) -> Self:
        """Count bytes and products of one run of `workload`."""
        n, steps = workload.n_sequences, workload.n_tokens
        kv_bytes = shape.kv_elements * KV_BYTES[workload.kv_type]
        prefix = workload.n_prompts * workload.n_context * kv_bytes
        own = n * (workload.n_tail + (steps - 1) / 2) * kv_bytes
        rows = n * (workload.n_tail + steps - 1)  # tokens that go through the layers
        positions = rows * (workload.n_context + (workload.n_tail + steps) / 2)  # (row, position) pairs
        return cls(
            n_steps=steps,
            step_bytes=math.ceil(shape.layer_bytes + shape.head_bytes + prefix + own),
            prefix_bytes=int(prefix) if workload.shared else 0,
            int_products=rows * shape.layer_weights + n * steps * shape.head_weights,
            float_products=int(positions * shape.attention_products),
            weight_bits=shape.weight_bits,
        )


def program() -> Path | None:
    """Return the path of bench_limits: KVTAPE_BENCH_LIMITS, or where the CMake preset `release` puts it."""
    path = Path(os.environ.get("KVTAPE_BENCH_LIMITS", "build/release/bench_limits"))
    return path if path.exists() else None


class Limit:
    """A process of bench_limits, told what a contender would have to do."""

    def __init__(self, path: Path, threads: int, isa: str) -> None:
        self._process = subprocess.Popen(
            [str(path), str(threads), isa], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, cost: Cost) -> float:
        """Return the seconds that `cost` takes at least."""
        read = self._seconds(f"read {cost.step_bytes} {cost.n_steps}")
        multiply = self._seconds(f"int{cost.weight_bits} {cost.int_products}")
        return max(read, multiply + self._seconds(f"fma {cost.float_products}"))

    def _seconds(self, command: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
