"""Rows as they arrive, JSON or numpy, checked, into numpy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kvtape.errors import InvalidRequest
from kvtape.session.row_types import MAX_INTEGER, MAX_MAGNITUDE, MAX_TIME, MIN_TIME, MISSING, Field, Names, RowType

__all__ = ["NameTable", "NameTables", "check_rows", "parse_rows"]

MAX_VALUE_SHOWN = 60  # characters of a wrong value in a message


class NameTable:
    """Names of one field of a session, symbols for example, in order of appearance; a row holds the index.

    The text of a name so travels once, and what a session keeps of it is bounded. The first one of an optional field is
    its default: rows without a name are its rows.
    """

    def __init__(self, rule: Names) -> None:
        self.rule = rule
        self.names: list[str] = []
        self.indices: dict[str, int] = {}

    def extend(self, names: Iterable[str]) -> None:
        """Add those names that are not there yet; all of them or none.

        Raises:
            InvalidRequest: a name cannot be one, or there are too many.
        """
        for name in self.missing(names):
            self.indices[name] = len(self.names)
            self.names.append(name)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return those names that are not there yet, each once, all of which could be added.

        Raises:
            InvalidRequest: not so.
        """
        new = [name for name in dict.fromkeys(names) if name not in self.indices]
        for name in new:
            check_name(name, self.rule, "name")
        if len(self.names) + len(new) > self.rule.most:
            raise InvalidRequest(f"data: more than {self.rule.most} {self.rule.plural} in one session", param="data")
        return new

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> int:
        return self.indices[name]

    def __contains__(self, name: object) -> bool:
        return name in self.indices


class NameTables:
    """The tables of a session, by their fields' names."""

    def __init__(self, row_type: RowType) -> None:
        self._tables = {field: NameTable(rule) for field, rule in row_type.names.items()}
        self.indices = [table.indices for table in self._tables.values()]  # as the native code wants them

    def __getitem__(self, field: str) -> NameTable:
        return self._tables[field]

    def extend(self, names: Mapping[str, Iterable[str]]) -> None:
        """Add names to several tables; all of them or none.

        Raises:
            InvalidRequest: a name cannot be one, or there are too many.
        """
        for field in names:
            if field not in self._tables:
                known = ", ".join(self._tables) or "none"
                raise InvalidRequest(
                    f"there are no names of {field!r:.40}, only of {known}", param=f"names.{field:.40}"
                )
        missing = {field: self._tables[field].missing(found) for field, found in names.items()}
        for field, new in missing.items():
            self._tables[field].extend(new)

    def add_defaults(self) -> bool:
        """Give empty tables of optional fields their default; returns whether there were any."""
        empty = [table for table in self._tables.values() if table.rule.default is not None and not len(table)]
        for table in empty:
            table.extend([str(table.rule.default)])
        return bool(empty)


def parse_rows(
    row_type: RowType, data: Sequence[Any], tables: NameTables, *, places: Sequence[int] | None = None
) -> NDArray[Any]:
    """Check JSON rows, decoded as `row_type.model` or as plain objects, and return an array [n] of `row_type.dtype`.

    New names join the tables. What the rows say is not judged, since such data exists: a candle whose high is below its
    low is taken as it is, and a time may be before the last one.

    Args:
        row_type: of the rows.
        data: the rows.
        tables: the session's names.
        places: where each row stands in what was pushed, for messages; None: where it stands in `data`.

    Raises:
        InvalidRequest: a row breaks the schema; `param` names row and field. No name is added then.
    """
    places = places or range(len(data))
    try:
        rows = msgspec.convert(data, row_type.models)
    except msgspec.ValidationError:
        for index, row in zip(places, data, strict=True):
            _check_row(row_type, row, f"data[{index}]")
        raise  # unreachable unless the two checks disagree
    if row_type.names:
        _add_names(row_type, rows, tables, places)
    out = np.empty(len(rows), row_type.dtype)
    row_type.layout.fill(list(map(msgspec.structs.astuple, rows)), tables.indices, out)
    return out


def _add_names(row_type: RowType, rows: Sequence[Any], tables: NameTables, places: Sequence[int]) -> None:
    found: dict[str, list[str]] = {}
    for field, rule in row_type.names.items():
        names: dict[str | None, None] = dict.fromkeys([getattr(row, field) for row in rows])
        if rule.default is not None and not len(tables[field]) and next(iter(names), "") is None:
            names = {rule.default: None, **names}
        found[field] = [name for name in names if name is not None]
    try:
        tables.extend(found)
    except InvalidRequest:
        for index, row in zip(places, rows, strict=True):
            for field, rule in row_type.names.items():
                if (name := getattr(row, field)) is not None:
                    check_name(name, rule, f"data[{index}].{field}")
        raise  # too many


def check_rows(row_type: RowType, rows: NDArray[Any], tables: NameTables) -> None:
    """Check an array [n] of `row_type.dtype` as `parse_rows` checks JSON; a name counts those of its table.

    An empty table of an optional field gets its default.

    Raises:
        InvalidRequest: a value breaks the schema; `param` names row and field.
        TypeError: another dtype or shape, or rows that are not contiguous.
    """
    if rows.dtype != row_type.dtype:
        raise TypeError(f"rows have dtype {rows.dtype}, wanted that of {row_type.name} rows")
    n_valid = row_type.layout.count_valid(rows, tables.indices)
    if n_valid == len(rows):
        return
    if tables.add_defaults():
        check_rows(row_type, rows, tables)
        return
    path, row = f"data[{n_valid}]", dict(zip(rows.dtype.names or (), rows[n_valid].item(), strict=True))
    row["timestamp"] = None if row["timestamp"] == MISSING else row["timestamp"]
    for field, rule in row_type.names.items():
        if row[field] >= (n_names := len(tables[field])):
            raise InvalidRequest(
                f"{path}.{field} is {row[field]}, the session has {n_names} {rule.plural}", param=f"{path}.{field}"
            )
        row[field] = tables[field].names[row[field]]
    _check_row(row_type, row, path)


def check_name(value: Any, rule: Names, param: str) -> None:
    """Refuse what cannot be a name.

    Raises:
        InvalidRequest: not text of at most so many characters; a bare name must be printable, without spaces and
            commas, and must not begin with `@`.
    """
    fine = isinstance(value, str) and len(value) <= rule.max_len and _is_unicode(value)
    wanted = f"text of at most {rule.max_len} characters"
    if rule.bare:
        wanted = f"1 to {rule.max_len} printable characters without spaces or commas, not beginning with '@'"
        fine = fine and is_bare(value)
    if not fine:
        raise InvalidRequest(f"{param} must be {wanted}, found {value!r:.{MAX_VALUE_SHOWN}}", param=param)


def is_bare(name: str) -> bool:
    """Return whether a name can stand in a line as it is."""
    return name.isprintable() and name[:1] not in ("", "@") and not any(c.isspace() or c == "," for c in name)


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _check_row(row_type: RowType, row: Any, path: str) -> None:
    """Find what is wrong with one row and say so."""
    if not isinstance(row, Mapping):
        raise InvalidRequest(f"{path} must be an object, found {row!r:.{MAX_VALUE_SHOWN}}", param=path)
    for field in row_type.fields:
        if field.optional and row.get(field.name) is None:
            continue
        if field.name not in row:
            wanted = ", ".join(f.name for f in row_type.fields if not f.optional)
            raise InvalidRequest(
                f"{path}.{field.name} is missing; a row of type {row_type.name} has {wanted}",
                param=f"{path}.{field.name}",
            )
        _check_value(field, row[field.name], f"{path}.{field.name}")
    name = "timestamp" if "timestamp" in row else "ts"
    time = row.get(name)
    if time is not None and not (_is_whole(time) and MIN_TIME <= time <= MAX_TIME):
        raise InvalidRequest(
            f"{path}.{name} must be whole Unix seconds of the years 1 to 9999, found {time!r:.{MAX_VALUE_SHOWN}}",
            param=f"{path}.{name}",
        )


def _check_value(field: Field, value: Any, path: str) -> None:
    if field.names is not None:
        check_name(value, field.names, path)
    elif field.kind == "integer":
        if not (_is_whole(value) and -MAX_INTEGER <= value <= MAX_INTEGER):
            raise InvalidRequest(
                f"{path} must be a whole number of at most {MAX_MAGNITUDE:g}, found {value!r:.{MAX_VALUE_SHOWN}}",
                param=path,
            )
    elif isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_MAGNITUDE:
        raise InvalidRequest(
            f"{path} must be a finite number of at most {MAX_MAGNITUDE:g}, found {value!r:.{MAX_VALUE_SHOWN}}",
            param=path,
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
