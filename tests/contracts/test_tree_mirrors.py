"""Each source file has its test file, where a reader would look for it.

csrc/kernels/norm/rms_norm.h        tests/kernels/norm/test_rms_norm.py, for the files of every instruction set too
csrc/ring/spsc_ring.h               tests/native/ring/test_spsc_ring.cpp or tests/ring/test_spsc_ring.py
python/kvtape/cli/config.py         tests/cli/test_config.py
python/kvtape/cli/__init__.py       tests/cli/test_cli.py, where it holds more than names and imports
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Files without a test file of their own, and what tests them instead.
EXCEPTIONS = {
    "csrc/base/cpu_features.h": "its one answer shows in the ISAs that every kernel test runs on",
    "csrc/base/error.h": "a struct; the mapping to Python is tested with the bindings' users",
    "csrc/bindings/bind.h": "declarations",
    "csrc/bindings/bind_build.cpp": "one constant: cli/test_version.py",
    "csrc/bindings/bind_errors.cpp": "every test of an error from the core",
    "csrc/bindings/module.cpp": "a list of calls: contracts/test_stubs.py",
    "csrc/bindings/numpy_views.h": "bindings/test_bind_ops.py",
    "csrc/kernels/table.h": "ops/test_table.py, which adds the errors",
    "csrc/tensor/quant_blocks.h": "layouts, asserted where they are declared",
    "python/kvtape/__init__.py": "contracts/test_public_names.py",
    "python/kvtape/__main__.py": "cli/test_cli.py",
    "python/kvtape/_native.py": "one import: contracts/test_layers.py",
}


def wanted_tests(source: str) -> list[str]:
    """Return the places where the test of a source file may be."""
    path = Path(source)
    stem = path.stem
    if source.startswith("csrc/kernels/") and len(path.parts) == 4:
        folder = path.parent.relative_to("csrc")
        stem = stem.removesuffix("_ref").removesuffix("_avx2").removesuffix("_neon")
        # One contract may have several files, matmul.h with matmul_q8_0_ref.cpp and others.
        headers = [
            header.stem for header in (ROOT / path.parent).glob("*.h") if (stem + "_").startswith(header.stem + "_")
        ]
        return [f"tests/{folder}/test_{max(headers, key=len, default=stem)}.py"]
    if source.startswith("csrc/bindings/bind_"):
        return [f"tests/{stem.removeprefix('bind_')}/test_*.py"]
    if source.startswith("csrc/"):
        folder = path.parent.relative_to("csrc")
        return [f"tests/native/{folder}/test_{stem}.cpp", f"tests/{folder}/test_{stem}.py"]
    folder = path.parent.relative_to("python/kvtape")
    return [f"tests/{folder}/test_{folder.name if stem == '__init__' else stem}.py"]


def only_names(path: Path) -> bool:
    """Whether a Python file holds a docstring, imports and `__all__`, and nothing that could be wrong by itself."""
    for node in ast.parse(path.read_text()).body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_all = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        if not (is_docstring or is_all or isinstance(node, (ast.Import, ast.ImportFrom))):
            return False
    return True


def sources() -> list[str]:
    found = [
        path
        for path in (ROOT / "csrc").rglob("*")
        if path.suffix == ".h" or path.name.endswith(("_avx2.cpp", "_ref.cpp"))
    ]
    found += [
        path for path in (ROOT / "csrc").rglob("*.cpp") if not path.with_suffix(".h").exists() and path not in found
    ]
    found += [
        path for path in (ROOT / "python/kvtape").rglob("*.py") if not (path.name == "__init__.py" and only_names(path))
    ]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def has_test(source: str) -> bool:
    return any(any(ROOT.glob(place)) for place in wanted_tests(source))


def test_each_source_has_its_test() -> None:
    missing = [source for source in sources() if source not in EXCEPTIONS and not has_test(source)]
    assert not missing, "\n".join(f"{source}: wanted {' or '.join(wanted_tests(source))}" for source in missing)


def test_exceptions_are_still_needed() -> None:
    known = sources()
    for source in EXCEPTIONS:
        assert source in known, f"{source} is gone"
        assert not has_test(source), f"{source} has a test by now"
