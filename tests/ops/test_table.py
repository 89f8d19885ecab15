import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kvtape._native import _core
from kvtape.errors import InvalidRequest
from kvtape.ops import silu_mul

ONE = np.ones(1, np.float32)


def test_best_first_and_ref_always_there():
    found = _core.available_isas()
    assert found[-1] == "ref"
    assert found == [isa for isa in ("avx512", "avx2", "neon", "ref") if isa in found]
    assert _core.active_isa() in found


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="needs Linux's list of CPU flags")
@pytest.mark.parametrize(
    ("isa", "flags"),
    [
        ("avx2", "avx2 fma f16c"),
        ("avx512", "avx2 fma f16c avx512f avx512bw avx512dq avx512vl avx512_vnni"),
        ("neon", "asimd asimddp"),
    ],
)
def test_listed_where_the_kernel_lists_its_flags(isa, flags):
    """Linux lists a flag only where it saves the registers the flag needs."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    known = next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    assert (isa in _core.available_isas()) == (set(flags.split()) <= set(known))


@pytest.mark.parametrize("isa", ["AVX2", "sse2", "avx2 "])
def test_an_unknown_name_lists_what_there_is(isa):
    with pytest.raises(InvalidRequest, match=r"isa: .* is not available here, wanted .*ref"):
        silu_mul(ONE, ONE, isa=isa)


@pytest.mark.parametrize("forced", ["ref", "avx1024", ""])
def test_the_environment_forces_one(forced):
    program = "from kvtape._native import _core; print(_core.active_isa())"
    environment = {**os.environ, "KVTAPE_ISA": forced}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    if forced == "avx1024":
        assert found.returncode != 0
        assert "KVTAPE_ISA: 'avx1024' is not available here, wanted" in found.stderr
    else:
        assert found.stdout.strip() == (forced or _core.available_isas()[0])
