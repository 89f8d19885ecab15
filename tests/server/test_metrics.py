"""Counters as text."""

from __future__ import annotations

import re

from kvtape.protocols.layerscale.models import Health
from kvtape.server.metrics import render_metrics


def test_every_counter_is_written_in_prometheus_form():
    text = render_metrics(Health(status="ok", running=2, steps=7, sessions=3))
    lines = text.splitlines()
    assert lines[:2] == ["# TYPE kvtape_ready gauge", "kvtape_ready 1"]
    assert "# TYPE kvtape_running gauge\nkvtape_running 2\n" in text
    assert "# TYPE kvtape_steps_total counter\nkvtape_steps_total 7\n" in text
    assert "kvtape_sessions 3\n" in text
    assert text.endswith("\n")
    for comment, sample in zip(lines[::2], lines[1::2], strict=True):
        assert re.fullmatch(r"# TYPE (\w+) (gauge|counter)", comment)
        assert re.fullmatch(r"\w+ \d+", sample)
        assert comment.split()[2] == sample.split()[0]
    assert len(lines) == 2 * len(Health.__struct_fields__)  # `ready` in the place of `status`


def test_unready_is_zero():
    assert "kvtape_ready 0\n" in render_metrics(Health(status="unavailable"))
