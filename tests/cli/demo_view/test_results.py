from __future__ import annotations

import json

import pytest

from kvtape.cli.demo_view.results import Candle, DemoResult, to_json


def test_quantiles_of_each_stage(result: DemoResult) -> None:
    resident, flash, whole = result.stages()
    assert (resident.quantiles.p50, flash.quantiles.p50, whole.quantiles.p50) == (11.5, 115.0, 126.5)
    assert resident.quantiles.p99 == pytest.approx(12.97)
    assert whole.times_ms == [110.0, 121.0, 132.0, 143.0]


def test_no_steps_yet() -> None:
    empty = DemoResult(model="m", symbol="S", n_candles=3, queries=[])
    assert [stage.quantiles.p99 for stage in empty.stages()] == [0.0, 0.0, 0.0]


def test_json_has_everything(result: DemoResult) -> None:
    found = json.loads(to_json(result))
    assert found["steps"][2]["answers"]["Up or down?"] == {"text": "down", "confidence": 3.0, "version": 3}
    assert found["questions"][0]["factor"] == 12.0
    assert found["summary"]["stages_ms"]["push → resident"]["p50"] == 11.5
    assert "worthless" in found["summary"]["disclaimer"]
    assert found["decode_tokens_per_s"] is None


def test_dates_show_the_time_only_where_there_is_one() -> None:
    values = {"o": 1.0, "h": 1.0, "l": 1.0, "c": 1.0, "v": 1.0}
    assert Candle(timestamp=1361750400, **values).date == "2013-02-25"
    assert Candle(timestamp=1361750400 + 5400, **values).date == "2013-02-25 01:30"
