"""The GGUF reader against files written by the `gguf` package, which shares no code with it."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import gguf
import numpy as np
import pytest

from kvtape._native import _core
from kvtape.errors import ModelError, NotFound
from tests.reference import k_quants

QUANT = gguf.GGMLQuantizationType


@pytest.fixture
def written(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, dict[str, np.ndarray]]:
    """A small model file with every scalar type, and the bytes of its tensors."""
    path = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("t.uint8", 255)
    writer.add_int8("t.int8", -128)
    writer.add_uint16("t.uint16", 65535)
    writer.add_int16("t.int16", -32768)
    writer.add_uint32("t.uint32", 2**32 - 1)
    writer.add_int32("t.int32", -(2**31))
    writer.add_uint64("t.uint64", 2**64 - 1)
    writer.add_int64("t.int64", -(2**63))
    writer.add_float32("t.float32", 0.5)
    writer.add_float64("t.float64", 1e300)
    writer.add_bool("t.true", True)
    writer.add_bool("t.false", False)
    writer.add_string("t.string", "naïve 🙂\n")
    writer.add_array("t.strings", ["a", "ж", "日本"])
    writer.add_array("t.floats", [0.25, -1.0])
    writer.add_array("t.ints", [1, -2, 3])
    writer.add_array("t.nested", [[1, 2], [3]])
    tensors = {"norm": rng.standard_normal(48, dtype=np.float32)}
    weight = rng.standard_normal((3, 64), dtype=np.float32)
    writer.add_tensor("norm", tensors["norm"])
    for kind in (QUANT.F16, QUANT.BF16, QUANT.Q8_0, QUANT.Q4_0, QUANT.Q4_1, QUANT.Q5_0, QUANT.Q5_1):
        tensors[kind.name] = gguf.quants.quantize(weight, kind)
        writer.add_tensor(kind.name, tensors[kind.name], raw_dtype=kind)
    for name in k_quants.NAMES:
        tensors[name] = k_quants.quantize(rng.standard_normal((3, 512), dtype=np.float32), name)
        writer.add_tensor(name, tensors[name], raw_dtype=QUANT[name])
    writer.add_tensor("exotic", np.zeros((2, 110), np.uint8), raw_dtype=QUANT.Q3_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, tensors


def test_metadata_is_what_was_written(written):
    metadata = _core.GgufFile(str(written[0])).metadata
    assert list(metadata) == sorted(metadata)
    scalars = {k.removeprefix("t."): v for k, v in metadata.items() if not isinstance(v, list | np.ndarray)}
    assert scalars == {
        "general.architecture": "llama",
        "uint8": 255,
        "int8": -128,
        "uint16": 65535,
        "int16": -32768,
        "uint32": 2**32 - 1,
        "int32": -(2**31),
        "uint64": 2**64 - 1,
        "int64": -(2**63),
        "float32": 0.5,
        "float64": 1e300,
        "true": True,
        "false": False,
        "string": "naïve 🙂\n",
    }
    assert type(metadata["t.true"]) is bool
    assert type(metadata["t.uint8"]) is int
    assert metadata["t.strings"] == ["a", "ж", "日本"]
    assert metadata["t.floats"].dtype == np.float32
    assert metadata["t.floats"].tolist() == [0.25, -1.0]
    assert metadata["t.ints"].dtype == np.int32
    assert metadata["t.ints"].tolist() == [1, -2, 3]
    assert [part.tolist() for part in metadata["t.nested"]] == [[1, 2], [3]]


def test_tensors_are_what_was_written(written):
    path, tensors = written
    file = _core.GgufFile(str(path))
    assert file.version == 3
    listed = {name: (dims, dtype, n_bytes) for name, dims, dtype, _, n_bytes in file.tensors}
    assert listed["norm"] == ((48,), "F32", 192)
    assert listed["Q4_1"] == ((64, 3), "Q4_1", 3 * 2 * 20)
    assert listed["Q6_K"] == ((512, 3), "Q6_K", 3 * 2 * 210)
    assert listed["exotic"] == ((256, 2), "Q3_K", None)
    for name, _, _, offset, n_bytes in file.tensors:
        if n_bytes is not None:
            wanted = tensors[name].tobytes()
            assert file.tensor_bytes(name).tobytes() == wanted
            assert path.read_bytes()[offset : offset + n_bytes] == wanted


def test_a_view_keeps_the_file_alive_and_cannot_be_written(written):
    path, tensors = written
    view = _core.GgufFile(str(path)).tensor_bytes("norm")
    path.unlink()
    gc.collect()
    assert view.tobytes() == tensors["norm"].tobytes()
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1


def test_pages_can_be_dropped_and_read_again(written):
    path, tensors = written
    file = _core.GgufFile(str(path))
    file.drop_pages()
    assert file.tensor_bytes("Q8_0").tobytes() == tensors["Q8_0"].tobytes()


def test_errors_name_what_was_wanted(written, tmp_path):
    file = _core.GgufFile(str(written[0]))
    with pytest.raises(ModelError, match="tensor 'exotic' has type Q3_K, supported: F32, F16, BF16"):
        file.tensor_bytes("exotic")
    with pytest.raises(ModelError, match=r"tensor 'blk\.0' is missing"):
        file.tensor_bytes("blk.0")
    with pytest.raises(NotFound, match="No such file"):
        _core.GgufFile(str(tmp_path / "absent.gguf"))
    with pytest.raises(OSError, match="no regular file"):
        _core.GgufFile(str(tmp_path))
    with pytest.raises(OSError, match="Invalid argument"):
        _core.GgufFile(str(written[0]) + "\0")


@pytest.mark.parametrize("name", ["empty.gguf", "sch\\xfdn.gguf"])
def test_a_broken_file_is_named(tmp_path, name):
    path = tmp_path / os.fsdecode(name.replace("\\xfd", "\udcfd").encode("utf-8", "surrogateescape"))
    path.write_bytes(b"")
    with pytest.raises(ModelError) as caught:
        _core.GgufFile(os.fsencode(path))
    assert name in str(caught.value)
    assert "magic number" in str(caught.value)


def test_a_named_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        _core.GgufFile(str(tmp_path / "pipe"))


@pytest.mark.model
def test_real_file_equals_the_other_reader(model_path):
    ours, theirs = _core.GgufFile(str(model_path)), gguf.GGUFReader(model_path)
    metadata = ours.metadata
    names = [name for name in theirs.fields if not name.startswith("GGUF.")]
    assert sorted(names) == list(metadata)
    for name in names:
        wanted, found = theirs.fields[name].contents(), metadata[name]
        assert (found.tolist() if isinstance(found, np.ndarray) else found) == wanted, name
    assert len(ours.tensors) == len(theirs.tensors) == 272
    for (name, dims, dtype, offset, n_bytes), tensor in zip(ours.tensors, theirs.tensors, strict=True):
        assert (name, list(dims), dtype) == (tensor.name, tensor.shape.tolist(), tensor.tensor_type.name)
        assert (offset, n_bytes) == (tensor.data_offset, tensor.n_bytes)
