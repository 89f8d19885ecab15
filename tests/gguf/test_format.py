"""Names of types against the `gguf` package."""

from __future__ import annotations

import struct
from pathlib import Path

from gguf import GGMLQuantizationType

from kvtape._native import _core


def type_name(path: Path, number: int) -> str:
    """How the reader lists a tensor of that type."""
    name = b"w"
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 0)
    tensor = struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, 256, number, 0)
    path.write_bytes((header + tensor).ljust(96, b"\0") + bytes(4096))
    (listed,) = _core.GgufFile(str(path)).tensors
    return str(listed[2])


def test_tensor_types_have_their_names(tmp_path):
    for kind in GGMLQuantizationType:
        if kind.value < 40:  # newer ones are shown by number
            assert type_name(tmp_path / "one.gguf", kind.value) == kind.name
    assert type_name(tmp_path / "one.gguf", 4) == "4"  # a type that was taken back
    assert type_name(tmp_path / "one.gguf", 4_000_000_000) == "4000000000"
