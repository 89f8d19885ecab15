"""Random damage to a model file: the reader answers with a ModelError or with something that can be walked through."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvtape._native import _core
from kvtape.errors import ModelError


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("fuzz") / "good.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "ab"])
    writer.add_array("tokenizer.ggml.scores", [0.0, 1.0])
    writer.add_array("nested", [[1], [2, 3]])
    writer.add_tensor("w", np.ones((2, 32), np.float32))
    writer.add_tensor("v", np.ones(32, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "damaged.gguf"


def walk(path: Path) -> None:
    """Look at everything the file says."""
    try:
        file = _core.GgufFile(str(path))
        str(file.metadata)
        for name, *_ in file.tensors:
            file.tensor_bytes(name).sum()
    except ModelError as error:
        if "gguf: " not in str(error):
            raise


DAMAGE = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 600), st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("cut"), st.integers(0, 600), st.integers(1, 40)),
        st.tuples(st.just("add"), st.integers(0, 600), st.binary(min_size=1, max_size=40)),
        st.tuples(
            st.just("number"), st.integers(0, 600), st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**61, 2**63, 2**64 - 1])
        ),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=DAMAGE)
def test_damaged_files(good, scratch, damage):
    data = bytearray(good)
    for kind, at, what in damage:
        if kind == "set":
            data[at : at + len(what)] = what
        elif kind == "cut":
            del data[at : at + what]
        elif kind == "add":
            data[at:at] = what
        else:
            data[at : at + 8] = what.to_bytes(8, "little")
    scratch.write_bytes(data)
    walk(scratch)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=st.binary(max_size=200), n_tensors=st.integers(0, 3), n_keys=st.integers(0, 3))
def test_random_bytes_after_a_good_beginning(scratch, rest, n_tensors, n_keys):
    scratch.write_bytes(b"GGUF\x03\0\0\0" + n_tensors.to_bytes(8, "little") + n_keys.to_bytes(8, "little") + rest)
    walk(scratch)
