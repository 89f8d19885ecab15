"""The calls of LayerScale's npm client, sent by Node as a browser would: no package of theirs is to be had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.layerscale_world import KEY, standing
from tests.serving import ROWS

NODE = ["node", "--experimental-websocket"]  # WebSocket is there by itself from 22 on
FOLDER = Path(__file__).parent / "node" / "layerscale"


def test_what_its_readme_sends(tmp_path):
    if shutil.which("node") is None or subprocess.run([*NODE, "-e", ""], capture_output=True).returncode != 0:
        pytest.skip("no node with WebSocket is here")
    with standing(tmp_path) as world:
        environment = {"KVTAPE_URL": world["urls"]["main"], "KVTAPE_KEY": KEY, "KVTAPE_ROWS": json.dumps(ROWS)}
        command = [*NODE, "--test", "readme.test.mjs"]
        done = subprocess.run(command, cwd=FOLDER, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
