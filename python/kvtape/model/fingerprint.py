"""What makes two servers answer alike: a short name of the model file, the build and the type of the KV."""

from __future__ import annotations

import hashlib
from pathlib import Path

import kvtape
from kvtape._native import _core

__all__ = ["fingerprint"]

_N_SAMPLES = 256
_SAMPLE_BYTES = 4096


def fingerprint(path: Path, *, kv_type: str) -> str:
    """Return `fp_` and 12 hexadecimal digits.

    Equal where the model file, kvtape's version, its native library and the type of the KV are. Instruction set and
    threads are not in it: they change no bit of an answer. Of a large file the size and 256 samples of 4 KiB are read,
    the first at its header; files of different weights differ in nearly all of them.

    Raises:
        OSError: the file is gone.
    """
    digest = hashlib.sha256(f"{kvtape.__version__} {kv_type} ".encode())
    digest.update(Path(_core.__file__).read_bytes())
    with path.open("rb") as file:
        n_bytes = file.seek(0, 2)
        digest.update(n_bytes.to_bytes(8, "little"))
        for sample in range(_N_SAMPLES):
            file.seek(max(n_bytes - _SAMPLE_BYTES, 0) * sample // (_N_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return f"fp_{digest.hexdigest()[:12]}"
