"""Flash queries over HTTP, against the wire specification."""

from __future__ import annotations

import pytest

from tests.serving import eventually, push


def test_flash_queries_are_registered_listed_and_removed(http, session):
    added = http.post(f"{session}/flash", json={"query": "up?"}).json()
    assert added == {
        "id": 1, "object": "flash_query", "query": "up?", "max_tokens": 32, "tokens": added["tokens"],
        "n_tokens": added["tokens"], "fresh": False, "total_flash_queries": 1,
    }  # fmt: skip
    listed = http.get(f"{session}/flash").json()
    assert (listed["count"], listed["data_version"], listed["current_data_version"]) == (1, 0, 0)
    assert set(listed["data"][0]) == {"id", "object", "query", "max_tokens", "tokens", "fresh"}
    assert listed["flash_queries"][0] == {
        "id": 1, "query": "up?", "max_tokens": 32, "n_tokens": added["tokens"], "has_answer": False, "value": "",
        "data_version": 0, "confidence": 0.0, "evaluated_at": 0,
    }  # fmt: skip
    assert http.post(f"{session}/flash", json={"query": "up?"}).status_code == 409
    assert http.post(f"{session}/flash", json={"query": " "}).status_code == 400
    push(http, session)
    eventually(lambda: http.get(f"{session}/flash").json()["data"][0]["fresh"])
    listed = http.get(f"{session}/flash").json()
    item, entry = listed["flash_queries"][0], listed["data"][0]
    assert item["has_answer"] is True
    for name in ("value", "data_version", "confidence", "evaluated_at"):
        assert item[name] == entry[name]
    assert (item["data_version"], listed["current_data_version"]) == (1, 1)
    assert item["confidence"] >= 0
    assert http.delete(f"{session}/flash/1").json() == {
        "id": 1, "remaining": 0, "deleted": True, "success": True, "object": "flash_query.deleted",
    }  # fmt: skip
    assert http.delete(f"{session}/flash/1").status_code == 404
    assert http.delete(f"{session}/flash/x").status_code == 400


def test_a_query_with_choices_answers_with_one_and_says_how_probable_each_is(http, session):
    added = http.post(f"{session}/flash", json={"query": "up?", "choices": ["Yes", "No"]}).json()
    assert added["choices"] == ["Yes", "No"]
    listed = http.get(f"{session}/flash").json()
    for item in (listed["data"][0], listed["flash_queries"][0]):
        assert item["choices"] == ["Yes", "No"]
        assert {"probabilities", "coverage"}.isdisjoint(item)
    push(http, session)
    eventually(lambda: http.get(f"{session}/flash").json()["data"][0]["fresh"])
    listed = http.get(f"{session}/flash").json()
    entry, item = listed["data"][0], listed["flash_queries"][0]
    assert list(entry["probabilities"]) == ["Yes", "No"]
    assert sum(entry["probabilities"].values()) == pytest.approx(1)
    assert entry["value"] == max(entry["probabilities"], key=entry["probabilities"].get)
    assert 0 < entry["coverage"] < 1
    answer = http.post(f"{session}/generate", json={"prompt": "up?"}).json()
    for other in (item, answer):
        assert (other["probabilities"], other["coverage"]) == (entry["probabilities"], entry["coverage"])
    assert (answer["text"], answer["flash_id"]) == (entry["value"], 1)


@pytest.mark.parametrize(
    ("choices", "param"),
    [
        (["only"], "choices"),
        ("Yes", "choices"),
        (["Yes", 7], "choices[1]"),
        (["Yes", " No"], "choices[1]"),
        (["Yes", "Yes!"], "choices[1]"),
        (["Yes", "x" * 65], "choices[1]"),
    ],
)
def test_choices_that_are_none(http, session, choices, param):
    response = http.post(f"{session}/flash", json={"query": "up?", "choices": choices})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    body = {"type": "ohlcv", "flash": ["down?", {"query": "up?", "choices": choices}]}
    response = http.post("/v1/sessions/init", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, f"flash[1].{param}")
    assert http.get(f"{session}/flash").json()["count"] == 0


def test_the_twenty_first_query_conflicts(http, session):
    for number in range(20):
        assert http.post(f"{session}/flash", json={"query": f"{number}?"}).status_code == 200
    refused = http.post(f"{session}/flash", json={"query": "20?"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (409, "conflict_error")
