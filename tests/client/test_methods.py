"""Methods made of calls: bound, documented, sent by the transport."""

from __future__ import annotations

import inspect

import pytest

from kvtape.client.call import Call, StreamCall
from kvtape.client.methods import AsyncMethod, AsyncResource, AsyncStreamMethod, Method, Resource, StreamMethod


def double(n: int, *, more: int = 0) -> Call[int]:
    """Double a number."""
    return Call("GET", f"/{2 * n + more}", int)


def count(n: int) -> StreamCall[int]:
    """Count."""
    return StreamCall("GET", f"/{n}", lambda frame: 0, lambda frame: True)


class Echo:
    """A transport that answers with the path."""

    def send(self, call):
        return int(call.path[1:])

    def stream(self, call):
        yield from range(int(call.path[1:]))


class AsyncEcho:
    async def send(self, call):
        return int(call.path[1:])

    async def stream(self, call):
        for n in range(int(call.path[1:])):
            yield n


class Numbers(Resource):
    double = Method(double)
    count = StreamMethod(count)


class AsyncNumbers(AsyncResource):
    double = AsyncMethod(double)
    count = AsyncStreamMethod(count)


def test_a_method_takes_what_its_call_takes():
    numbers = Numbers(Echo())
    assert numbers.double(3) == 6
    assert numbers.double(3, more=1) == 7
    assert list(numbers.count(3)) == [0, 1, 2]
    with pytest.raises(TypeError):
        numbers.double()


async def test_the_asynchronous_ones_too():
    numbers = AsyncNumbers(AsyncEcho())
    assert await numbers.double(3, more=1) == 7
    assert [n async for n in numbers.count(3)] == [0, 1, 2]


def test_methods_say_what_they_are():
    for numbers in (Numbers(Echo()), AsyncNumbers(AsyncEcho())):
        assert inspect.getdoc(numbers.double) == "Double a number."
        assert list(inspect.signature(numbers.double).parameters) == ["n", "more"]
    assert inspect.iscoroutinefunction(AsyncNumbers(AsyncEcho()).double)
