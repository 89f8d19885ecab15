"""An object built for one instruction set defines its own kernels and nothing else.

A weak symbol there (an inline function, a template of the standard library) is code for that instruction set under a
name that everybody shares; the linker may hand it to callers on machines that cannot run it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IN_CI = os.environ.get("CI") == "true"
ON_ARM = platform.machine() in ("aarch64", "arm64")
NATIVE = ("native", "release", "dev")  # builds for this machine; sanitizers would add symbols of their own


def newest_objects(builds: tuple[str, ...]) -> Path | None:
    """Return the folder of the kernels' objects in the newest of these builds."""
    found = [ROOT / "build" / name / "CMakeFiles/kvtape_kernels.dir/csrc/kernels" for name in builds]
    return max((path for path in found if path.is_dir()), key=lambda path: path.stat().st_mtime, default=None)


BUILDS = {"neon": NATIVE} if ON_ARM else {"avx2": NATIVE, "avx512": NATIVE}
if not ON_ARM and newest_objects(("aarch64",)) is not None:  # once `make test-neon` has run
    BUILDS["neon"] = ("aarch64",)
KERNELS = sorted(path for isa in BUILDS for path in (ROOT / "csrc/kernels").glob(f"*/*_{isa}.cpp"))


def foreign_symbols(listing: str, isa: str) -> list[str]:
    """Return the lines of `nm --demangle` that are not strong functions or constants of `isa`'s namespace."""
    own = re.compile(rf"^[0-9a-f]+ [TR] kvtape::kernels::{isa}::")
    return [line for line in listing.splitlines() if line and not own.match(line)]


def test_a_weak_symbol_is_noticed() -> None:
    assert foreign_symbols("0000 T kvtape::kernels::avx2::rms_norm(float const*)\n", "avx2") == []
    assert foreign_symbols("0000 W void std::__sort<float*>(float*)\n", "avx2")
    assert foreign_symbols("0000 T kvtape::kernels::ref::rms_norm(float const*)\n", "avx2")
    assert foreign_symbols("0000 W kvtape::kernels::avx2::helper()\n", "avx2")


@pytest.mark.parametrize("source", KERNELS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_object_defines_only_its_own(source: Path) -> None:
    isa = source.stem.rsplit("_", 1)[1]
    objects = newest_objects(BUILDS[isa])
    nm = shutil.which("nm")
    if objects is None or nm is None:
        (pytest.fail if IN_CI else pytest.skip)("needs nm and a build tree: make build")
    built = objects / source.parent.name / f"{source.name}.o"
    assert built.is_file(), f"{source.name} is not built: is it in kernels.cmake?"
    listing = subprocess.run(
        [nm, "--demangle", "--defined-only", "--extern-only", str(built)], check=True, capture_output=True, text=True
    ).stdout
    assert listing, f"{built} defines nothing"
    assert foreign_symbols(listing, isa) == []
