"""Who may include whom in csrc/. The Python half is import-linter's (`pyproject.toml`), but for the native module."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"

# Everything a folder may include besides itself. Change the picture in docs/decisions/0005-layers.md first.
LAYERS: dict[str, set[str]] = {
    "base": set(),
    "tensor": {"base"},
    "kernels": {"base", "tensor"},
    "ops": {"base", "tensor", "kernels"},
    "ring": {"base"},
    "cache": {"base", "tensor"},
    "gguf": {"base", "tensor"},
    "text": {"base", "tensor", "gguf"},
    "model": {"base", "tensor", "kernels", "ops", "cache", "gguf", "text"},
    "engine": {"base", "tensor", "kernels", "ops", "cache", "gguf", "text", "ring", "model"},
    "bindings": {"base", "tensor", "kernels", "ops", "cache", "gguf", "text", "ring", "model", "engine"},
}
# What a file for one instruction set may take from outside: nothing that could leave a template behind for the linker.
KERNEL_HEADERS = {"immintrin.h", "arm_neon.h"} | {
    name for stem in ("float", "limits", "math", "stddef", "stdint", "string") for name in (f"{stem}.h", f"c{stem}")
}
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)


def includes(path: Path) -> list[tuple[str, str]]:
    """Return (kind, path) of each include; kind is `"` or `<`."""
    return INCLUDE.findall(path.read_text())


SOURCES = sorted(path for path in CSRC.rglob("*") if path.suffix in (".h", ".cpp"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CSRC)))
def test_includes_only_what_lies_below(path: Path) -> None:
    layer = path.relative_to(CSRC).parts[0]
    for kind, name in includes(path):
        if kind == '"':
            assert (CSRC / name).is_file(), f"{name}: ours are included by their path from csrc/"
            assert name.split("/")[0] in LAYERS[layer] | {layer}, f"{layer} may not know {name}"
        else:
            assert layer == "bindings" or not name.startswith(("pybind11", "Python.h")), f"{name}: bindings/ only"
            assert not name.startswith("cuda"), f"{name}: no file of csrc/ knows CUDA"


@pytest.mark.parametrize(
    "path",
    sorted(path for isa in ("avx2", "avx512", "neon") for path in CSRC.glob(f"kernels/*/*_{isa}.cpp")),
    ids=lambda path: str(path.relative_to(CSRC)),
)
def test_fast_kernels_include_no_cpp_library(path: Path) -> None:
    for kind, name in includes(path):
        if kind == '"':
            assert name.startswith(("kernels/", "tensor/")), name
        else:
            assert name in KERNEL_HEADERS, f"<{name}> in a file built for one instruction set"


def test_every_folder_has_a_layer() -> None:
    assert {path.name for path in CSRC.iterdir() if path.is_dir()} <= set(LAYERS)


def test_one_module_imports_the_native_library() -> None:
    importers = set()
    for path in sorted((ROOT / "python/kvtape").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            if any(name.split(".")[:2] in (["kvtape", "_core"], ["kvtape", "_cuda"]) for name in names):
                importers.add(path.name)
    assert importers == {"_native.py"}
