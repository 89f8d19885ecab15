from __future__ import annotations

import inspect
import re

import pytest

from kvtape import errors
from kvtape.errors import ContextOverflow, EngineFailed, InvalidRequest, KvtapeError, NotFound, Overloaded

TREE = {
    "KvtapeError": (Exception,),
    "InvalidRequest": (KvtapeError, ValueError),
    "ContextOverflow": (InvalidRequest,),
    "NotFound": (KvtapeError, LookupError),
    "Conflict": (KvtapeError,),
    "Overloaded": (KvtapeError,),
    "ModelError": (KvtapeError,),
    "EngineFailed": (KvtapeError,),
    "SequenceLost": (EngineFailed,),
}


def test_the_tree_is_the_one_in_the_docstring() -> None:
    drawn = re.findall(r"^[\s│├└─]*([A-Z]\w+)", str(errors.__doc__).split("::", 1)[1], re.MULTILINE)
    assert sorted(drawn) == sorted(errors.__all__) == sorted(TREE)
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    assert {name: value.__bases__ for name, value in classes.items()} == TREE


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (InvalidRequest("no", param="a.b"), {"param": "a.b"}),
        (InvalidRequest("no"), {"param": None}),
        (ContextOverflow("no", n_tokens=9, limit=8), {"param": None, "n_tokens": 9, "limit": 8}),
        (Overloaded("no", retry_after=0.5), {"retry_after": 0.5}),
        (NotFound("no"), {}),
    ],
)
def test_fields(error: KvtapeError, fields: dict[str, object]) -> None:
    assert str(error) == "no"
    assert vars(error) == fields
