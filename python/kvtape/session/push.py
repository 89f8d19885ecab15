"""Pushed data: rows and texts as they arrive, checked, in runs of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvtape.errors import InvalidRequest
from kvtape.session.row_types import RowType
from kvtape.session.rows import NameTables, check_rows, parse_rows

__all__ = ["MAX_ENTRY_BYTES", "Run", "parse_push"]

MAX_ENTRY_BYTES = 1 << 18  # of one text: twenty such keep the tokenizer busy for about a second

Run = NDArray[np.void] | list[str]


def parse_push(
    data: str | Sequence[Any] | NDArray[Any], row_type: RowType | None, names: NameTables | None
) -> list[Run]:
    """Check what was pushed; all of it or nothing is fine.

    Returns:
        Runs in order: an array [n] of `row_type.dtype`, or texts, each ending in a newline.

    Raises:
        InvalidRequest: an entry is malformed, `param` names it. No name joins the tables then.
        TypeError: an array of another dtype or shape, or one that is not contiguous.
    """
    if isinstance(data, np.ndarray):
        if row_type is None or names is None:
            raise InvalidRequest("the session takes texts, it has no typed rows", param="data")
        check_rows(row_type, data, names)
        return [data]
    if isinstance(data, str):
        return [[_checked_text(data, "data")]]
    if str not in set(map(type, data)):
        return [_parse_rows(data, range(len(data)), row_type, names)] if len(data) else []
    texts = {i: _checked_text(item, f"data[{i}]") for i, item in enumerate(data) if isinstance(item, str)}
    places = [i for i in range(len(data)) if i not in texts]
    rows = _parse_rows([data[i] for i in places], places, row_type, names) if places else None
    runs: list[Run] = []
    n_rows = 0
    for is_text, group in groupby(range(len(data)), key=texts.__contains__):
        run = list(group)
        if is_text:
            runs.append([texts[i] for i in run])
        elif rows is not None:
            runs.append(rows[n_rows : n_rows + len(run)])
            n_rows += len(run)
    return runs


def _parse_rows(
    data: Sequence[Any], places: Sequence[int], row_type: RowType | None, names: NameTables | None
) -> NDArray[np.void]:
    if row_type is None or names is None:
        param = f"data[{places[0]}]"
        raise InvalidRequest(f"{param} must be text: the session has no typed rows, found {data[0]!r:.60}", param=param)
    return parse_rows(row_type, data, names, places=places)


def _checked_text(text: str, param: str) -> str:
    """Return a text that ends in a newline, which none adds to nothing."""
    try:
        n_bytes = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"{param} has half of a surrogate pair", param=param) from None
    if n_bytes > MAX_ENTRY_BYTES:
        raise InvalidRequest(f"{param} has {n_bytes} bytes, at most {MAX_ENTRY_BYTES} go in one text", param=param)
    return text if text.endswith("\n") or not text else f"{text}\n"
