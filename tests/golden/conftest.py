"""The real model, loaded once, and the promise that it is the recorded one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from kvtape.model.load import Model, load

GOLDEN = Path(__file__).parent


@pytest.fixture(scope="session")
def greedy_record() -> dict[str, Any]:
    return json.loads((GOLDEN / "smollm2_greedy.json").read_text())


@pytest.fixture(scope="session")
def smollm2(model_path: Path, greedy_record: dict[str, Any]) -> Model:
    found = hashlib.sha256(model_path.read_bytes()).hexdigest()
    assert found == greedy_record["sha256"], f"{model_path} is not the recorded {greedy_record['model']}"
    return load(model_path)
