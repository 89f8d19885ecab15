"""Run by `make package` in an environment that holds nothing but the wheel, with KVTAPE_ISA=ref."""

import importlib.metadata
import sys
from pathlib import Path

import kvtape

assert "numpy" not in sys.modules, "import kvtape loads numpy"
folder = Path(kvtape.__file__).parent
assert folder.is_relative_to(sys.prefix), f"kvtape comes from {folder}, not from the wheel"
assert (folder / "py.typed").is_file(), "py.typed is not in the wheel"
assert (folder / "_core.pyi").is_file(), "the stubs are not in the wheel"
assert (folder / "include/kvtape_shared_ring.h").is_file(), "the header for feed handlers is not in the wheel"
assert kvtape.__version__ == importlib.metadata.version("kvtape"), "two versions"

from kvtape._native import _core  # noqa: E402

assert _core.active_isa() == "ref", f"KVTAPE_ISA=ref was not obeyed: {_core.active_isa()}"
for name in kvtape.__all__:
    try:
        getattr(kvtape, name)
        said = ""
    except ModuleNotFoundError as error:
        said = str(error)
    needs_extra = name in ("client", "server")
    assert bool(said) == needs_extra, f"{name}: {said or 'there without its extra'}"
    assert not needs_extra or "pip install 'kvtape[server]'" in said, said
print(f"kvtape {kvtape.__version__}: wheel imported, {_core.active_isa()} in use")
