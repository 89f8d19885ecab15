"""Text up to a marker, cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtape.chat.markers import UntilMarker


def split(text: str, marker: str, cuts: list[int]) -> tuple[str, str | None]:
    """Return what stands before the marker and what behind it, as read in pieces."""
    until, before = UntilMarker(marker), ""
    ends = [*sorted({cut for cut in cuts if cut < len(text)}), len(text)]
    start = 0
    for end in ends:
        piece, found = until.read("#" + text[start:end], 1)
        before += piece
        if found is not None:
            return before, text[start + found - 1 :]
        start = end
    return before + until.finish(), None


@pytest.mark.parametrize("marker", ["</a>", "aab", "```", "\\n```"])
@settings(deadline=None)
@given(text=st.text(alphabet="</a>b`\\n", max_size=30), cuts=st.lists(st.integers(0, 30)))
def test_equals_the_search_in_the_whole_text(marker, text, cuts):
    before, found, behind = text.partition(marker)
    assert split(text, marker, cuts) == (before, behind if found else None)


@settings(deadline=None)
@given(st.text(alphabet="</a>b", max_size=30))
def test_holds_back_less_than_the_marker(text):
    until = UntilMarker("</aa>")
    passed = sum(len(until.read(char)[0]) for char in text if "</aa>" not in text)
    assert "</aa>" in text or len(text) - passed < len("</aa>")
    assert UntilMarker("</aa>").read("plain")[0] == "plain"


def test_no_marker_never_comes():
    assert split("anything", "", [3]) == ("anything", None)
