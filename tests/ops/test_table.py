import os
import subprocess
import sys

import numpy as np
import pytest

from kvtape._native import _core
from kvtape.errors import InvalidRequest
from kvtape.ops import silu_mul

ONE = np.ones(1, np.float32)


def test_ref_is_always_there_and_last():
    assert _core.available_isas()[-1] == "ref"
    assert _core.active_isa() in _core.available_isas()


@pytest.mark.parametrize("isa", ["AVX2", "neon", "avx2 "])
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
