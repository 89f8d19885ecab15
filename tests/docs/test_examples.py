"""Every Python example of the documentation runs.

The examples of a page are one program, run from top to bottom. A page that names the default model gets the file of the
fixture `model_path`; a page that talks to port 8080 gets a server.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SERVER = "http://127.0.0.1:8080"


def program(page: Path) -> str:
    """Return the examples of a page as one program whose line numbers are the page's."""
    text = page.read_text(encoding="utf-8")
    lines = [""] * text.count("\n")
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(2))
        for i, line in enumerate(block[2].splitlines()):
            lines[first + i] = line.removeprefix(block[1])
    return "\n".join(lines).rstrip()


def pages() -> list[object]:
    found = []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        code = program(page)
        if code:
            needs_model = '"smollm2-135m"' in code or SERVER in code
            marks = [pytest.mark.model] if needs_model else []
            found.append(pytest.param(page, id=str(page.relative_to(ROOT)), marks=marks))
    return found


@pytest.mark.parametrize("page", pages())
def test_examples_run(page: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    code = program(page)
    if '"smollm2-135m"' in code:
        code = code.replace('"smollm2-135m"', repr(str(request.getfixturevalue("model_path"))))
    if SERVER in code:
        code = code.replace(SERVER, request.getfixturevalue("served_url"))
    exec(compile(code, str(page), "exec"), {"__name__": "__main__"})


def test_a_program_keeps_the_lines_of_its_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# x\n\n```python\na = 1\n```\n\n- item\n\n  ```python\n  b = a\n  ```\n\n```sh\nls\n```\n")
    assert program(page) == "\n\n\na = 1\n\n\n\n\n\nb = a"
