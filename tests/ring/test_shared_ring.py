"""Shared rings between real processes: readers in Python, writers in Python and the C program of the documentation."""

from __future__ import annotations

import os
import random
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kvtape import SharedRing
from kvtape.errors import Conflict, EngineFailed, InvalidRequest, NotFound
from kvtape.ring import ROW_TYPES, SharedRingWriter
from kvtape.session import row_types
from kvtape.session.rows import NameTables, check_rows

ROOT = Path(__file__).parents[2]
HEADER = ROOT / "csrc/ring/kvtape_shared_ring.h"
NAME = f"pytest.{os.getpid()}"
MEMORY = Path(f"/dev/shm/kvtape.{NAME}")
DTYPE = ROW_TYPES["ohlcv"].dtype
C_FLAGS = ["-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion", "-pedantic", "-Werror", "-I", str(HEADER.parent)]


def rows(first: int, n: int) -> np.ndarray:
    out = np.zeros(n, DTYPE)
    out["timestamp"] = np.arange(first, first + n)
    out["c"] = out["timestamp"] * 0.5
    return out


@pytest.fixture
def ring() -> Iterator[SharedRing]:
    with SharedRing.create(NAME, "ohlcv", capacity=16) as made:
        yield made
    assert not MEMORY.exists()


@contextmanager
def process(*command: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def run_python(program: str) -> list[str]:
    return [sys.executable, "-c", "import sys, time\nimport numpy as np\nfrom kvtape import SharedRing\n" + program]


class SharedRingAgainstDeque(RuleBasedStateMachine):
    overflow = "drop_newest"

    def __init__(self) -> None:
        super().__init__()
        self.ring = SharedRing.create(NAME, "ohlcv", capacity=8, overflow=self.overflow)
        self.writer = SharedRing.open(NAME)
        self.model: deque[int] = deque(maxlen=8)
        self.next = 0
        self.popped = self.dropped = self.refused = 0

    @rule(n=st.integers(0, 20))
    def push(self, n: int) -> None:
        taken = self.writer.push(rows(self.next, n))
        fits = n if self.overflow == "drop_oldest" else min(n, 8 - len(self.model))
        assert taken == fits
        self.dropped += max(0, len(self.model) + fits - 8)
        self.refused += n - fits
        self.model.extend(range(self.next, self.next + fits))
        self.next += fits

    @rule(n=st.integers(0, 20))
    def pop(self, n: int) -> None:
        expected = [self.model.popleft() for _ in range(min(n, len(self.model)))]
        assert self.ring.wait(0) == (len(self.ring) > 0)
        assert np.array_equal(self.ring.pop(n), rows(0, self.next)[expected])
        self.popped += len(expected)

    @rule()
    def another_writer(self) -> None:
        self.writer.close()
        self.writer = SharedRing.open(NAME)

    @invariant()
    def counts(self) -> None:
        assert len(self.ring) == len(self.model)
        assert self.writer.room == 8 - len(self.model)
        assert self.ring.counters == (self.next, self.popped, self.dropped, self.refused)
        assert self.next == self.popped + self.dropped + len(self.ring)

    def teardown(self) -> None:
        self.writer.close()
        self.ring.close()


class SharedRingAgainstDequeDropOldest(SharedRingAgainstDeque):
    overflow = "drop_oldest"


TestDropNewest = SharedRingAgainstDeque.TestCase
TestDropOldest = SharedRingAgainstDequeDropOldest.TestCase
TestDropNewest.settings = TestDropOldest.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# ---- the C writer ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def feed_handler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the C program of docs/reference/ring.md."""
    folder = tmp_path_factory.mktemp("feed_handler")
    [source] = re.findall(r"^```c\n(.*?)^```$", (ROOT / "docs/reference/ring.md").read_text(), re.MULTILINE | re.DOTALL)
    (folder / "feed_handler.c").write_text(source)
    subprocess.run(
        ["cc", "-std=c11", "-O2", *C_FLAGS, folder / "feed_handler.c", "-o", folder / "feed_handler"], check=True
    )
    return folder / "feed_handler"


@pytest.mark.parametrize("standard", ["c11", "gnu17", "c++11", "c++20"])
def test_header_compiles_alone(standard: str, tmp_path: Path) -> None:
    language = "c++" if "++" in standard else "c"
    (tmp_path / "alone").write_text('#include "kvtape_shared_ring.h"\n')
    command = ["cc", "-x", language, f"-std={standard}", "-fsyntax-only", *C_FLAGS, str(tmp_path / "alone")]
    subprocess.run(command, check=True)


def test_header_after_others_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "late.c").write_text('#include <stdio.h>\n#include "kvtape_shared_ring.h"\n')
    command = ["cc", "-std=c11", "-fsyntax-only", *C_FLAGS, str(tmp_path / "late.c")]
    failed = subprocess.run(command, capture_output=True, text=True)
    assert "include it before other headers, or build with -D_GNU_SOURCE" in failed.stderr
    subprocess.run([*command, "-D_GNU_SOURCE"], check=True)


def test_header_has_the_same_row_types(tmp_path: Path) -> None:
    found = dict(re.findall(r"KVTAPE_ROW_(\w+) = (\d+)", HEADER.read_text()))
    assert found.pop("ANY") == "0"
    assert found == {name.upper(): str(row_type.id) for name, row_type in ROW_TYPES.items()}
    program = '#include "kvtape_shared_ring.h"\n'
    for name, (_, dtype) in ROW_TYPES.items():
        assert dtype.fields is not None
        facts = {f"offsetof(struct kvtape_{name}, {field})": at for field, (_, at) in dtype.fields.items()}
        facts |= {f"sizeof(((struct kvtape_{name}*)0)->{field})": of[0].itemsize for field, of in dtype.fields.items()}
        facts[f"sizeof(struct kvtape_{name})"] = dtype.itemsize
        program += "".join(f'_Static_assert({fact} == {value}, "{fact}");\n' for fact, value in facts.items())
    (tmp_path / "layout.c").write_text(program)
    subprocess.run(["cc", "-std=c11", "-fsyntax-only", *C_FLAGS, str(tmp_path / "layout.c")], check=True)


def test_rows_from_c_reach_python(ring: SharedRing, feed_handler: Path) -> None:
    n = 20_000
    found: list[np.ndarray] = []
    with process(feed_handler, NAME, n) as feeder:
        while sum(map(len, found)) < n and ring.wait(60):
            found.append(ring.pop(11))
        assert feeder.wait(60) == 0
    got = np.concatenate(found)
    assert got["timestamp"].tolist() == [1_700_000_000 + 60 * k for k in range(n)]
    assert got["c"].tolist() == [100 + k % 10 for k in range(n)]
    assert not got["sym"].any()
    assert ring.counters[:3] == (n, n, 0)


def test_c_writer_says_what_is_wrong(ring: SharedRing, feed_handler: Path) -> None:
    def complaint(name: str) -> str:
        ended = subprocess.run([feed_handler, name, "1"], capture_output=True, text=True)
        assert ended.returncode == 1
        return ended.stderr

    assert "there is no such ring" in complaint("nix")
    assert "a name is 1 to 200 of" in complaint("../nix")
    with SharedRing.open(NAME):
        assert "another process has this side" in complaint(NAME)
    with MEMORY.open("r+b") as memory:
        memory.seek(12)
        memory.write((77).to_bytes(4, "little"))
    assert "rows are of another type" in complaint(NAME)


def test_c_writer_killed_at_any_moment(ring: SharedRing, feed_handler: Path) -> None:
    expected = 0
    chance = random.Random(5)

    def drain() -> int:
        nonlocal expected
        got = ring.pop(chance.randrange(1, 20))
        assert got["timestamp"].tolist() == [1_700_000_000 + 60 * (expected + i) for i in range(len(got))]
        expected += len(got)
        return len(got)

    for _ in range(200):
        with process(feed_handler, NAME, 0) as feeder:
            assert ring.wait(60)
            end = time.monotonic() + chance.random() * 0.002
            while drain() or time.monotonic() < end:
                if time.monotonic() > end:
                    break
            feeder.kill()
    while drain():
        pass
    assert not ring.has_writer
    assert ring.counters[:3] == (expected, expected, 0)


# ---- processes in Python ---------------------------------------------------------------------------------------------
FEED = f"""
with SharedRing.open({NAME!r}) as writer:
    print("ready", flush=True)
    while True:
        row = np.zeros(3, writer.dtype)
        row["timestamp"] = np.arange(3) + writer.n_pushed
        writer.push(row) or time.sleep(0)
"""


def test_python_writer_killed(ring: SharedRing) -> None:
    expected = 0
    for round_ in range(4):
        with process(*run_python(FEED)) as feeder:
            assert feeder.stdout is not None
            assert feeder.stdout.readline() == "ready\n"
            with pytest.raises(Conflict, match="another process has this side"):
                SharedRing.open(NAME)
            until = expected + 100 + 37 * round_
            while expected < until and ring.wait(60):
                got = ring.pop(5)
                assert got["timestamp"].tolist() == list(range(expected, expected + len(got)))
                expected += len(got)
            feeder.kill()
        assert not ring.has_writer


READ = """
with SharedRing.{make} as ring:
    print("ready", flush=True)
    while True:
        ring.wait()
        ring.pop(5)
"""


def test_python_reader_killed() -> None:
    next_, writer = 0, None
    for make in (f"create({NAME!r}, 'ohlcv', capacity=16)", f"resume({NAME!r})", f"resume({NAME!r})"):
        with process(*run_python(READ.format(make=make))) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
            with pytest.raises(Conflict):
                SharedRing.create(NAME, "ohlcv")
            writer = writer or SharedRing.open(NAME)
            assert writer.has_reader
            until = next_ + 1000
            while next_ < until:
                next_ += writer.push(rows(next_, 4))
            reader.kill()
        assert not writer.has_reader
    n_left = 16 - writer.room
    with SharedRing.resume(NAME) as ring:
        assert ring.pop(99)["timestamp"].tolist() == list(range(next_ - n_left, next_))
        assert ring.counters[:3] == (next_, next_, 0)
    with pytest.raises(NotFound, match="its reader has closed it"):
        writer.push(rows(0, 1))
    writer.close()


def test_a_new_ring_replaces_that_of_a_dead_reader() -> None:
    program = f"ring = SharedRing.create({NAME!r}, 'ohlcv', capacity=4)\n"
    program += "import os\nos.kill(os.getpid(), 9)"
    assert subprocess.run(run_python(program)).returncode == -signal.SIGKILL
    assert MEMORY.exists()
    with SharedRing.open(NAME) as writer, SharedRing.create(NAME, "ohlcv", capacity=8) as ring:
        with pytest.raises(NotFound):
            writer.push(rows(0, 1))
        with SharedRing.open(NAME) as next_:
            assert next_.push(rows(0, 9)) == 8
        assert len(ring) == 8


def test_the_name_goes_when_the_interpreter_ends() -> None:
    subprocess.run(run_python(f"ring = SharedRing.create({NAME!r}, 'ohlcv')"), check=True)
    assert not MEMORY.exists()


def test_waiting_hears_control_c() -> None:
    program = f"""
ring = SharedRing.create({NAME!r}, 'ohlcv')
try:
    print("ready", flush=True)
    ring.wait()
except KeyboardInterrupt:
    sys.exit(7)
"""
    with process(*run_python(program)) as waiter:
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == "ready\n"
        waiter.send_signal(signal.SIGINT)
        assert waiter.wait(60) == 7


def test_waiting_leaves_the_gil_to_others(ring: SharedRing) -> None:
    found: list[bool] = []
    waiter = threading.Thread(target=lambda: found.append(ring.wait(60)))
    waiter.start()
    with SharedRing.open(NAME) as writer:
        writer.push(rows(0, 1))
        waiter.join()
    assert found == [True]


# ---- one process -----------------------------------------------------------------------------------------------------
def test_row_types_are_those_of_a_session() -> None:
    assert {name: row_type.dtype for name, row_type in ROW_TYPES.items()} == {
        name: row_type.dtype for name, row_type in row_types.ROW_TYPES.items()
    }
    assert [row_type.id for row_type in ROW_TYPES.values()] == list(range(1, len(ROW_TYPES) + 1))


@pytest.mark.parametrize("row_type", ROW_TYPES)
def test_rows_of_each_type(row_type: str) -> None:
    with SharedRing.create(NAME, row_type, capacity=4) as ring, SharedRing.open(NAME) as writer:
        assert (ring.row_type, writer.row_type) == (row_type, row_type)
        sent = np.zeros(3, writer.dtype)
        sent["timestamp"] = 1_700_000_000
        assert writer.push(sent) == 3
        got = ring.pop(9)
    assert np.array_equal(got, sent)
    names = NameTables(row_types.ROW_TYPES[row_type])
    names.extend({key: ["a"] for key in row_types.ROW_TYPES[row_type].names})
    check_rows(row_types.ROW_TYPES[row_type], got, names)


def test_one_row(ring: SharedRing) -> None:
    with SharedRing.open(NAME) as writer:
        assert isinstance(writer, SharedRingWriter)
        assert writer.push(rows(5, 2)[1]) == 1
    assert ring.pop(2)["timestamp"].tolist() == [6]


def test_wrong_rows_are_refused_and_nothing_is_taken(ring: SharedRing) -> None:
    with SharedRing.open(NAME) as writer:
        with pytest.raises(TypeError, match="dtype"):
            writer.push(np.zeros(3))
        with pytest.raises(TypeError, match="contiguous"):
            writer.push(rows(0, 6)[::2])
    assert ring.counters == (0, 0, 0, 0)


def test_only_this_user_may_read_and_write(ring: SharedRing) -> None:
    assert stat.S_IMODE(MEMORY.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", ".x", "a/b", "a b", "a\0b", "é", "a" * 201])
def test_names_are_checked(name: str) -> None:
    with pytest.raises(InvalidRequest, match="a name is 1 to 200 of"):
        SharedRing.create(name, "ohlcv")
    with pytest.raises(InvalidRequest, match="a name is 1 to 200 of"):
        SharedRing.open(name)


def test_bad_options_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"one of ohlcv.*, found 'tick'"):
        SharedRing.create(NAME, "tick")
    for capacity in (0, 3, -4):
        with pytest.raises(InvalidRequest, match=f"power of two, found {capacity}"):
            SharedRing.create(NAME, "ohlcv", capacity=capacity)
    with pytest.raises(InvalidRequest, match="found 'block'"):
        SharedRing.create(NAME, "ohlcv", overflow="block")
    with pytest.raises(InvalidRequest, match="at most 1 TiB"):
        SharedRing.create(NAME, "ohlcv", capacity=1 << 40)
    assert not MEMORY.exists()


def test_no_room_is_an_error() -> None:
    room = os.statvfs("/dev/shm")
    n_bytes = room.f_blocks * room.f_frsize
    if n_bytes == 0:
        pytest.skip("a /dev/shm without a limit")
    with pytest.raises(OSError, match=r"cannot reserve .* bytes in /dev/shm: No space left"):
        SharedRing.create(NAME, "ohlcv", capacity=1 << (n_bytes // 56).bit_length())
    assert not MEMORY.exists()


@pytest.mark.parametrize(
    ("offset", "value", "complaint"),
    [
        (0, 1, "it is no ring"),
        (8, 2, "another version"),
        (24, 3, "sizes or counters"),
        (40, 1, "another pid namespace"),
    ],
)
def test_a_header_that_cannot_be(ring: SharedRing, offset: int, value: int, complaint: str) -> None:
    with MEMORY.open("r+b") as memory:
        memory.seek(offset)
        memory.write(value.to_bytes(4, "little"))
    with pytest.raises(OSError, match=complaint):
        SharedRing.open(NAME)
    with pytest.raises(OSError, match=complaint):
        SharedRing.resume(NAME)


def test_rows_of_an_unknown_type(ring: SharedRing) -> None:
    with MEMORY.open("r+b") as memory:
        memory.seek(12)
        memory.write((77).to_bytes(4, "little"))
    with pytest.raises(InvalidRequest, match="rows of type 77, 56 bytes each, are not known here"):
        SharedRing.open(NAME)
    assert not ring.has_writer


@pytest.mark.parametrize("n_bytes", [0, 100, 511, 600])
def test_memory_cut_short(n_bytes: int) -> None:
    MEMORY.write_bytes(b"kvtring\0".ljust(n_bytes, b"\1")[:n_bytes])
    try:
        for use in (SharedRing.open, SharedRing.resume, lambda name: SharedRing.create(name, "ohlcv")):
            with pytest.raises(OSError, match=f"shared ring '{NAME}': its? "):
                use(NAME)
    finally:
        MEMORY.unlink()


def test_counters_that_cannot_be(ring: SharedRing) -> None:
    with MEMORY.open("r+b") as memory:
        memory.seek(136)
        memory.write((17).to_bytes(8, "little"))
    assert ring.wait(0)
    with pytest.raises(OSError, match="the writer says that it pushed 17 rows"):
        ring.pop(1)


def test_after_close(ring: SharedRing) -> None:
    writer = SharedRing.open(NAME)
    writer.close()
    writer.close()
    with pytest.raises(InvalidRequest, match="is closed"):
        writer.push(rows(0, 1))
    ring.close()
    ring.close()
    with pytest.raises(InvalidRequest, match="is closed"):
        ring.pop(1)
    with pytest.raises(InvalidRequest, match="is closed"):
        ring.wait(0)
    assert len(ring) == 0


def test_a_forked_child_may_not_use_its_parents_sides(ring: SharedRing) -> None:
    with SharedRing.open(NAME) as writer:
        child = os.fork()
        if child == 0:
            n_refused = 0
            for use in (
                lambda: ring.pop(1),
                lambda: ring.wait(0),
                lambda: writer.push(rows(0, 1)),
                lambda: writer.room,
            ):
                try:
                    use()
                except EngineFailed:
                    n_refused += 1
            writer.close()
            ring.close()
            os._exit(n_refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
        assert writer.push(rows(0, 1)) == 1
    assert len(ring.pop(2)) == 1
