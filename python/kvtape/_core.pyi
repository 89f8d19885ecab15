"""kvtape's native core; use it through the kvtape package. Each section is one file of csrc/bindings."""

import enum
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# ---- build -----------------------------------------------------------------------------------------------------------
def compiler() -> str:
    """Name and version of the compiler that built this module."""

# ---- ops -------------------------------------------------------------------------------------------------------------
def available_isas() -> list[str]:
    """Instruction sets this CPU can run, best first; `ref` is always the last."""

def active_isa() -> str:
    """The one in use: `KVTAPE_ISA`, else the best. Raises InvalidRequest where `KVTAPE_ISA` names none of them."""

def rms_norm(
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    out: NDArray[np.float32],
    *,
    eps: float,
    isa: str,
    n_threads: int,
) -> None:
    """x, out: [n_rows, dim]; weight: [dim]."""

def rope(
    x: NDArray[np.float32],
    positions: NDArray[np.int32],
    cos: NDArray[np.float32],
    sin: NDArray[np.float32],
    *,
    style: str,
    isa: str,
    n_threads: int,
) -> None:
    """In place. x: [n_rows, n_heads, head_dim]; positions: [n_rows]; cos, sin: [n_ctx, head_dim / 2]."""

def silu_mul(
    gate: NDArray[np.float32], up: NDArray[np.float32], out: NDArray[np.float32], *, isa: str, n_threads: int
) -> None:
    """Arrays of one size."""

def gelu_mul(
    gate: NDArray[np.float32], up: NDArray[np.float32], out: NDArray[np.float32], *, isa: str, n_threads: int
) -> None:
    """Arrays of one size."""

def softcap(x: NDArray[np.float32], *, cap: float, isa: str, n_threads: int) -> None:
    """In place, any shape."""

def quantize_rows(
    x: NDArray[np.float32],
    q: NDArray[np.int8],
    d: NDArray[np.float32],
    s: NDArray[np.float32],
    sum: NDArray[np.int32],
    half: NDArray[np.int16],
    *,
    isa: str,
) -> None:
    """x, q: [n_rows, dim]; d, s, sum: [n_rows, dim / 32]; half: [n_rows, dim / 16]."""

class PackedWeights:
    """A weight matrix in the layout of the matmul kernels."""

    @property
    def dtype(self) -> str:
        """Name of the GGUF type."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_cols)"""

    @property
    def n_bytes(self) -> int: ...
    def dequantize_row(self, row: int, out: NDArray[np.float32]) -> None:
        """out: [n_cols]"""

def pack(rows: NDArray[np.uint8], *, dtype: str, n_rows: int, n_cols: int, n_threads: int) -> PackedWeights:
    """rows: [n_bytes]"""

def matmul(w: PackedWeights, x: NDArray[np.float32], out: NDArray[np.float32], *, isa: str, n_threads: int) -> None:
    """x: [n_tokens, n_cols]; out: [n_tokens, n_rows]"""

# ---- attention -------------------------------------------------------------------------------------------------------
class AttentionSpan:
    """Consecutive tokens of one sequence in a batch of rows.

    Rows first_row to first_row + n_rows stand at positions first_position on. blocks: the block id of each block_size
    positions, from position 0. Spans of one group stand side by side and have the same blocks in their first shared_len
    positions, which are then read once for all of them. No row sees positions hole_begin to hole_end, which are before
    first_position; blocks wholly inside have no id in the table.
    """

    def __init__(
        self,
        *,
        first_row: int,
        n_rows: int,
        first_position: int,
        blocks: NDArray[np.int32],
        group: int = 0,
        shared_len: int = 0,
        hole_begin: int = 0,
        hole_end: int = 0,
    ) -> None: ...

def attention(
    q: NDArray[np.float32],
    pool: NDArray[np.uint8],
    spans: Sequence[AttentionSpan],
    out: NDArray[np.float32],
    *,
    kv_type: str,
    layer: int,
    scale: float,
    window: int,
    n_threads: int,
    isa: str,
) -> None:
    """q, out: [n_rows, n_heads, head_dim]; pool: [n_blocks, n_layers, 2, n_kv_heads, bytes of a tile]."""

def write_kv(
    k: NDArray[np.float32],
    v: NDArray[np.float32],
    pool: NDArray[np.uint8],
    spans: Sequence[AttentionSpan],
    *,
    kv_type: str,
    layer: int,
    n_threads: int,
    isa: str,
) -> None:
    """k, v: [n_rows, n_kv_heads, head_dim]; pool as in attention."""

# ---- sampling --------------------------------------------------------------------------------------------------------
class SamplingParams:
    """The fields of `kvtape.types.SamplingParams` that choose a token."""

    def __init__(
        self,
        *,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        repeat_penalty: float,
        repeat_last_n: int,
        frequency_penalty: float,
        presence_penalty: float,
        logit_bias: list[tuple[int, float]],
        allowed_tokens: list[int],
        seed: int,
        choice: int,
        logprobs: bool,
        top_logprobs: int,
        logprob_ids: list[int],
    ) -> None: ...

def sample(
    logits: NDArray[np.float32],
    params: SamplingParams,
    *,
    recent: NDArray[np.int32],
    mask: NDArray[np.uint64],
    draw: int,
    logit_gap: bool,
    vocab_size: int,
    isa: str,
) -> tuple[int, float, list[tuple[int, float]], float] | None:
    """Token, logprob, logprobs of logprob_ids and of the best, gap; mask: a bit a token in words of 64, or empty."""

def log_softmax(logits: NDArray[np.float32], out: NDArray[np.float32], *, isa: str) -> None:
    """logits, out: [vocab_size]."""

def uniform(seed: int, choice: int, draw: int) -> float:
    """In [0, 1), from Philox4x32-10."""

def run_max(x: NDArray[np.float32], *, isa: str) -> NDArray[np.float32]:
    """x: [n]; returns [ceil(n / 64)]."""

def exp_weights(
    x: NDArray[np.float32], *, m: float, s: float, isa: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """x: [n]; returns [n] and [ceil(n / 512)]."""

def select_at_least(x: NDArray[np.float32], *, least: float, isa: str) -> NDArray[np.int32]:
    """x: [n]; returns ascending indices."""

# ---- gguf ------------------------------------------------------------------------------------------------------------
class GgufFile:
    """A model file, mapped read-only."""

    def __init__(self, path: str | bytes) -> None:
        """Read all but the tensors' data. Raises NotFound, OSError or ModelError; the message names the path."""

    @property
    def version(self) -> int: ...
    @property
    def metadata(self) -> dict[str, Any]:
        """Keys in order: int, float, bool, str, numpy arrays of numbers, lists of the rest. Built at each call."""

    @property
    def tensors(self) -> list[tuple[str, tuple[int, ...], str, int, int | None]]:
        """Name, dims (the row length first), type, offset in the file, bytes (None for a type not supported)."""

    def tensor_bytes(self, name: str) -> NDArray[np.uint8]:
        """Read-only view that keeps the file open. Raises ModelError: no such tensor, or its type."""

    def drop_pages(self) -> None:
        """Give the file's pages back to the system; they are read again when touched."""

# ---- text ------------------------------------------------------------------------------------------------------------
class TokenBytes:
    """Token id to bytes."""

    def __init__(self, pieces: list[bytes]) -> None: ...
    def __len__(self) -> int: ...
    def __getitem__(self, id: int) -> bytes:
        """Raises InvalidRequest for an id outside the table."""

class ReasoningSpan:
    """Where a reply may reason, and when that is closed by force."""

    def __init__(
        self,
        *,
        open: str,
        close: str,
        opened: bool,
        budget: int | None,
        close_ids: list[int],
        stop_inside: bool,
    ) -> None: ...

class ReasoningReader:
    """Tells the reasoning in front of an answer from the answer, in bytes that may be cut anywhere."""

    def __init__(self, span: ReasoningSpan) -> None: ...
    def read(self, bytes: bytes) -> tuple[bytes, bytes]:
        """What is now known to be reasoning, its markers included, and what is known to be answer."""

    def finish(self) -> bytes:
        """What was held back, after the last bytes: it is answer."""

    @property
    def inside(self) -> bool: ...
    @property
    def was_inside(self) -> bool: ...

class TextRules:
    """What a generation's text obeys."""

    def __init__(self, *, stop: list[str], shown: list[tuple[int, bytes]], reasoning: ReasoningSpan | None) -> None: ...

class TextAssembler:
    """The text of one generation: token ids in, whole characters out, ended by the first stop string."""

    def __init__(self, token_bytes: TokenBytes, rules: TextRules) -> None: ...
    def push(self, token_id: int) -> tuple[str, bool]:
        """Text that is certain by now, and whether a stop string is complete."""

    def finish(self) -> tuple[str, bool]:
        """The rest of the text, after the last token, and whether a stop string ended it."""

    @property
    def matched_stop(self) -> int | None: ...

# ---- model -----------------------------------------------------------------------------------------------------------
BLOCK_SIZE: int

class Model:
    """Weights of one model file, repacked for the CPU; shared by its engines."""

    def __init__(self, file: GgufFile, *, n_threads: int) -> None:
        """Read, check and repack. Raises ModelError."""

    def forward_logits(
        self, ids: NDArray[np.int32], *, chunk: int, kv_type: str, isa: str, n_threads: int
    ) -> NDArray[np.float32]:
        """[n, vocab_size] float32: logits of every position of ids, [n] int32."""

    def block_bytes(self, kv_type: str) -> int:
        """Memory of one block of KV, in bytes."""

    def kv_bytes_for(self, kv_type: str, n_ctx: int) -> int:
        """Least KV memory for a context of n_ctx tokens, in bytes."""

    @property
    def architecture(self) -> str: ...
    @property
    def n_layers(self) -> int: ...
    @property
    def n_heads(self) -> int: ...
    @property
    def n_kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def ffn_dim(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def n_ctx_train(self) -> int: ...
    @property
    def n_params(self) -> int: ...
    @property
    def n_bytes(self) -> int: ...

# ---- engine ----------------------------------------------------------------------------------------------------------
MAX_SEQUENCES: int
STEP_TOKENS: int

class WorkClass(enum.Enum):
    interactive = 0
    ingest = 1
    flash = 2
    background = 3

class FinishReason(enum.Enum):
    none = 0
    stop = 1
    length = 2
    error = 3
    lost = 4

class Usage:
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...

class TokenEvent:
    """One generated token."""

    @property
    def generation(self) -> int: ...
    @property
    def token(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def in_reasoning(self) -> bool: ...
    @property
    def guided(self) -> bool: ...
    @property
    def logprob(self) -> float | None: ...
    @property
    def logit_gap(self) -> float | None: ...
    @property
    def top(self) -> list[tuple[int, float]]: ...
    @property
    def finish(self) -> FinishReason: ...
    @property
    def stop_string(self) -> str | None: ...
    @property
    def error(self) -> str: ...
    @property
    def usage(self) -> Usage: ...

class GenerationParams:
    """A generation: how to draw tokens, when to stop, who goes first."""

    def __init__(
        self,
        *,
        sampling: SamplingParams,
        max_tokens: int | None,
        text: TextRules,
        ignore_eos: bool,
        guided: bool,
        work: WorkClass,
        speculate: bool,
    ) -> None: ...

class Engine:
    """The native engine: verbs from any thread, step() from one."""

    def __init__(
        self,
        model: Model,
        *,
        token_bytes: list[bytes],
        eos: list[int],
        n_ctx: int,
        kv_bytes: int,
        kv_type: str,
        n_threads: int,
        isa: str,
    ) -> None: ...
    def open(self) -> int: ...
    def fork(self, sequence: int) -> int: ...
    def append(self, sequence: int, ids: NDArray[np.int32], work: WorkClass) -> None: ...
    def generate(self, sequence: int, params: GenerationParams) -> int: ...
    def set_mask(self, generation: int, words: NDArray[np.uint64]) -> None:
        """Say which tokens the next one of a guided generation may be; no error where it has ended."""

    def cancel(self, generation: int) -> None: ...
    def truncate(self, sequence: int, n_tokens: int) -> None: ...
    def evict(self, sequence: int, begin: int, end: int) -> None: ...
    def close(self, sequence: int) -> None: ...
    def freeze(self, sequence: int, n_tokens: int) -> None: ...
    def request_resident(self, sequence: int) -> bool:
        """True where all tokens but the last have KV; else step() will report the sequence."""

    def n_tokens(self, sequence: int) -> int: ...
    def n_cached(self, sequence: int) -> int: ...
    def hole(self, sequence: int) -> tuple[int, int]: ...
    def is_lost(self, sequence: int) -> bool: ...
    def token_ids(self, sequence: int) -> NDArray[np.int32]: ...
    def step(self) -> tuple[list[TokenEvent], list[int]] | None:
        """One step: (token events, ids of sequences now resident or lost), or None after stop()."""

    def stop(self) -> None: ...
    def hold(self) -> None:
        """Begin no step until release(); they nest."""

    def release(self) -> None: ...
    def stats(self) -> dict[str, int]: ...
    def check_integrity(self) -> None:
        """Raise RuntimeError where a block leaked; for tests."""

    @property
    def n_ctx(self) -> int: ...
    @property
    def n_blocks(self) -> int: ...

# ---- ring ------------------------------------------------------------------------------------------------------------
class RingBuffer:
    def __init__(self, capacity: int, item_bytes: int, overflow: str) -> None: ...
    def push(self, items: NDArray[Any] | bytes | bytearray | memoryview) -> int: ...
    def pop(self, max_items: int) -> NDArray[np.uint8]: ...
    def __len__(self) -> int: ...
    def counters(self) -> tuple[int, int, int, int]: ...
    @property
    def capacity(self) -> int: ...
    @property
    def item_bytes(self) -> int: ...

class SharedRing:
    @staticmethod
    def create(name: str, row_type: int, item_bytes: int, capacity: int, overflow: str) -> SharedRing: ...
    @staticmethod
    def resume(name: str) -> SharedRing: ...
    def pop(self, max_items: int) -> NDArray[np.uint8]: ...
    def wait(self, policy: str, timeout: float | None) -> bool: ...
    def __len__(self) -> int: ...
    def counters(self) -> tuple[int, int, int, int]: ...
    def has_writer(self) -> bool: ...
    def close(self) -> None: ...
    @property
    def row_type(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def item_bytes(self) -> int: ...

class SharedRingWriter:
    def __init__(self, name: str) -> None: ...
    def push(self, items: NDArray[Any] | bytes | bytearray | memoryview) -> int: ...
    def room(self) -> int: ...
    def has_reader(self) -> bool: ...
    def close(self) -> None: ...
    @property
    def n_pushed(self) -> int: ...
    @property
    def row_type(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def item_bytes(self) -> int: ...

MAX_INTEGER: int
MAX_MAGNITUDE: float
MAX_TIME: int
MIN_TIME: int
NO_TIMESTAMP: int

# ---- rows ------------------------------------------------------------------------------------------------------------
class RowLayout:
    def __init__(self, row_bytes: int, fields: list[tuple[str, int]]) -> None: ...
    def fill(self, rows: list[tuple[Any, ...]], tables: list[dict[str, int]], out: NDArray[Any]) -> None: ...
    def count_valid(self, rows: NDArray[Any], tables: list[dict[str, int]]) -> int: ...

class RowText:
    def __init__(
        self,
        *,
        compact: bool,
        row_bytes: int,
        time_offset: int,
        n_tables: int,
        series_offset: int | None,
        units: list[str],
        first_is_unnamed: bool,
        columns: list[tuple[str, int, int, int, str]],
    ) -> None: ...
    def add_name(self, table: int, name: str) -> None: ...
    def add_series(self, index: int, *, units: list[float], interval: int | None, weekdays_only: bool) -> None: ...
    def header(self) -> str: ...
    def render(self, rows: NDArray[Any]) -> tuple[bytes, NDArray[np.int64]]: ...
