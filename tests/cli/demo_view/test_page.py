from __future__ import annotations

import re
from html.parser import HTMLParser

from kvtape.cli.demo_view.page import html_page
from kvtape.cli.demo_view.results import DISCLAIMER, TIMES, DemoResult

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Balance(HTMLParser):
    """Every tag that opens closes, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_whole_and_stands_alone(result: DemoResult) -> None:
    page = html_page(result)
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert parser.seen.isdisjoint({"script", "img", "link", "iframe"})
    assert not re.search(r"https?:|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page


def test_page_says_what_it_shows(result: DemoResult) -> None:
    page = html_page(result)
    assert DISCLAIMER in page
    assert "<b>11.5 ms</b>" in page
    assert "Why &amp; how?" in page
    assert "Mood &lt;one word&gt;:" in page
    assert f"600 ms (12.0{TIMES})" in page
    assert "1,234 tokens of context" in page


def test_page_without_questions(result: DemoResult) -> None:
    result.questions.clear()
    page = html_page(result)
    assert "same question" not in page
    assert "resend" not in page
