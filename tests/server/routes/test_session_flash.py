"""Flash queries over HTTP, against the wire specification."""

from __future__ import annotations

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
