"""What identifies model and build."""

from __future__ import annotations

import re

import kvtape
from kvtape.model.fingerprint import fingerprint


def test_it_is_short_and_the_same_for_the_same_file(tiny_model, tmp_path):
    name = fingerprint(tiny_model, kv_type="f16")
    assert re.fullmatch("fp_[0-9a-f]{12}", name)
    copy = tmp_path / "other-name.gguf"
    copy.write_bytes(tiny_model.read_bytes())
    assert fingerprint(copy, kv_type="f16") == name


def test_whatever_changes_answers_changes_it(tiny_model, make_tiny_model, tmp_path, monkeypatch):
    longer = tmp_path / "longer.gguf"
    longer.write_bytes(tiny_model.read_bytes() + b"\0")
    first = tmp_path / "first.gguf"
    first.write_bytes(b"x" + tiny_model.read_bytes()[1:])
    last = tmp_path / "last.gguf"
    last.write_bytes(tiny_model.read_bytes()[:-1] + b"x")
    names = [fingerprint(path, kv_type="f16") for path in (tiny_model, longer, first, last, make_tiny_model(seed=9))]
    names.append(fingerprint(tiny_model, kv_type="q8_0"))
    monkeypatch.setattr(kvtape, "__version__", "another")
    names.append(fingerprint(tiny_model, kv_type="f16"))
    assert len(set(names)) == len(names)


def test_an_empty_file_has_one_too(tmp_path):
    (tmp_path / "empty").touch()
    assert fingerprint(tmp_path / "empty", kv_type="f16").startswith("fp_")
