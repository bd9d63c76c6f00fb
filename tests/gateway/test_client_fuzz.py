"""The gateway's client against a replica that answers byte by byte as it is told: with all that HTTP allows, and
with what it does not. h11 judges what an answer means, as it shares no code with httptools."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import client as client_module
from gateway import connection as connection_module
from gateway import upstream_response as answer_module
from gateway.client import Client
from gateway.upstream_response import ConnectionBroken
from shopkit.web.upstreams import Target
from tests.fuzzing import fuzz
from tests.servers import running
from tests.support import eventually

ENOUGH = 1024 * 1024
# Twenty seconds are enough for a good answer on a busy machine. The short limit is for answers that never end.
PATIENT_SECONDS, SHORT_SECONDS = 20, 0.15
NO_BODY = (204, 304)


@pytest.fixture(autouse=True, scope="module")
def short_limits() -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_module, "RESPONSE_SECONDS", PATIENT_SECONDS)
        patch.setattr(connection_module, "HEAD_LIMIT", 2048)
        patch.setattr(answer_module, "BUFFERED_BODY_LIMIT", 1024)
        patch.setattr(answer_module, "HIGH_WATER", 2048)
        patch.setattr(client_module, "EXPIRY_CHECK_SECONDS", 0.05)
        yield


@dataclass
class Script:
    """What is sent for one request, in pieces, and what happens to the connection afterwards."""

    pieces: Sequence[bytes]
    ending: str = "stay"


@dataclass
class Scripted:
    """A replica. A path that has no script is answered properly, with the path itself."""

    scripts: dict[bytes, Script] = field(default_factory=dict[bytes, Script])
    paths: list[bytes] = field(default_factory=list[bytes])
    serving: set[asyncio.Task[None] | None] = field(default_factory=set[asyncio.Task[None] | None])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split()[1]
                self.paths.append(path)
                await self._play(self.scripts.pop(path, Script([proper(path)])), writer)
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self.serving.discard(asyncio.current_task())

    async def _play(self, script: Script, writer: asyncio.StreamWriter) -> None:
        for piece in script.pieces:
            if not writer.transport.is_closing():
                writer.write(piece)
            await asyncio.sleep(0)
        if script.ending == "half-close":
            writer.write_eof()
        elif script.ending == "close":
            writer.close()
        elif script.ending == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()


@asynccontextmanager
async def replica(scripted: Scripted) -> AsyncGenerator[tuple[Client, Target]]:
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    client = Client()
    try:
        async with running(client):
            yield client, Target(*server.sockets[0].getsockname())
    finally:
        server.close()
        await eventually(lambda: nobody(scripted))


async def asked(
    client: Client, target: Target, path: bytes, method: str = "GET", seconds: float = PATIENT_SECONDS
) -> tuple[int, bytes] | None:
    """Status and body, or None when there was no answer; anything but the errors that say so is a mistake.

    `seconds` limits how long the client waits.
    """
    connection_module.RESPONSE_SECONDS = seconds
    request = b"%b %b HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n" % (method.encode(), path)
    async with asyncio.timeout(2 * PATIENT_SECONDS):
        try:
            answer = await client.request(target, method, request)
            return answer.status, await answer.read(ENOUGH)
        except (ConnectionBroken, TimeoutError):
            return None


def proper(path: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path)


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[start:end] for start, end in pairwise(places)]


@dataclass
class Meant:
    """A valid answer."""

    method: str
    status: int
    framing: str
    body: bytes
    before: Sequence[int]
    chunks: Sequence[int]

    @property
    def without_body(self) -> bool:
        return self.method == "HEAD" or self.status in NO_BODY

    @property
    def wire(self) -> bytes:
        before = b"".join(b"HTTP/1.1 %d Wait\r\nX-Early: yes\r\n\r\n" % status for status in self.before)
        head = b"HTTP/1.1 %d Some Words\r\nX-Mine: yes\r\n" % self.status
        if self.framing == "length":
            head += b"Content-Length: %d\r\n" % len(self.body)
        elif self.framing == "chunked":
            head += b"transfer-encoding: Chunked\r\n"
        return before + head + b"\r\n" + (b"" if self.without_body else self._body)

    @property
    def ending(self) -> str:
        return "stay" if self.framing != "end" or self.status in NO_BODY else "close"

    @property
    def _body(self) -> bytes:
        if self.framing != "chunked":
            return self.body
        parts = [part for part in cut(self.body, self.chunks) if part]
        return (
            b"".join(b"%X;why=not\r\n%b\r\n" % (len(part), part) for part in parts) + b"000\r\nTrailer: 1\r\n\r\n"
        )


bodies = st.binary(max_size=300) | st.builds(bytes.__mul__, st.binary(min_size=1, max_size=5), st.just(2_000))
meant = st.builds(
    Meant,
    method=st.sampled_from(["GET", "POST", "HEAD"]),
    status=st.sampled_from([200, 201, 404, 503, *NO_BODY]),
    framing=st.sampled_from(["length", "chunked", "end"]),
    body=bodies,
    before=st.lists(st.sampled_from([100, 102, 103]), max_size=2),
    chunks=st.lists(st.integers(0, 1_000_000), max_size=5),
)
cuts = st.lists(st.integers(0, 1_000_000), max_size=30) | st.just(range(2000))


@fuzz(200)
@given(st.lists(st.tuples(meant, cuts), min_size=1, max_size=4))
async def test_whatever_way_a_good_answer_is_sent_it_is_what_was_meant(
    answers: list[tuple[Meant, Sequence[int]]],
) -> None:
    scripted = Scripted({b"/%d" % i: Script(cut(a.wire, at), a.ending) for i, (a, at) in enumerate(answers)})
    async with replica(scripted) as (client, target):
        for number, (answer, _) in enumerate(answers):
            got = await asked(client, target, b"/%d" % number, answer.method)
            assert got == (answer.status, b"" if answer.without_body else answer.body)
    assert scripted.paths == [b"/%d" % number for number in range(len(answers))]


FRAGMENTS = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"HTTP/1.1 999 What\r\n",
    b"HTTP/1.1 200 O\x00K\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/2.0 200 OK\r\n",
    b"ICE/1.1 200 OK\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 6\r\n",
    b"Content-Length: -5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length : 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: \x0bchunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    b"X: y\r\n",
    b"X: y\n",
    b"X: \x00y\r\n",
    b" folded\r\n",
    b": nameless\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"hello",
    b"5\r\nhello\r\n",
    b"5;x=\r\nhello\r\n",
    b"+5\r\nhello\r\n",
    b"0x5\r\nhello\r\n",
    b"fffffffffffffffff\r\n",
    b"0\r\n\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"X: %b\r\n" % (b"y" * 3000),
    b"X: y\r\n" * 600,
    b"z" * 3000,
    proper(b"poison"),
]
edits = st.tuples(st.integers(0, 1_000_000), st.integers(0, 3), st.binary(max_size=3) | st.sampled_from(FRAGMENTS))


def edited(answer: Meant, changes: list[tuple[int, int, bytes]], kept: int, more: bytes) -> bytes:
    data = answer.wire
    for place, removed, put in changes:
        at = place % (len(data) + 1)
        data = data[:at] + put + data[at + removed :]
    return data[: max(kept, 0)] + more


hostile = (
    st.binary(max_size=100)
    | st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(b"".join)
    | st.lists(st.sampled_from(FRAGMENTS), max_size=10).map(lambda some: b"HTTP/1.1 200 OK\r\n" + b"".join(some))
    | st.builds(
        edited,
        meant,
        st.lists(edits, max_size=3),
        st.integers(0, 400) | st.just(ENOUGH),
        st.sampled_from([b"", b"\r\n", b"x", proper(b"poison")]),
    )
)


# httptools skips empty lines before a status line, and h11 does not. They stay within one answer and do no harm.
EMPTY_LINES_AFTER_1XX = re.compile(rb"(HTTP/1\.[01] 1[0-9]{2}[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n)[\r\n]+")


def judged(data: bytes, method: str, ended: bool) -> tuple[int, bytes] | None:
    """What h11 takes it for."""
    data = EMPTY_LINES_AFTER_1XX.sub(rb"\1", data)
    judge = h11.Connection(h11.CLIENT, max_incomplete_event_size=ENOUGH)
    judge.send(h11.Request(method=method, target="/", headers=[("host", "x"), ("content-length", "0")]))
    judge.send(h11.EndOfMessage())
    status, body = 0, b""
    try:
        judge.receive_data(data)
        if ended:
            judge.receive_data(b"")
        while True:
            event = judge.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return status, body
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None


@fuzz(300)
@given(
    hostile,
    st.sampled_from(["GET", "POST", "HEAD"]),
    st.sampled_from(["stay", "close", "half-close", "reset"]),
    cuts,
    st.booleans(),
)
@example(proper(b"/bad") + proper(b"poison"), "POST", "stay", [len(proper(b"/bad"))], True)
@example(proper(b"/bad") + b"\r\n" + proper(b"poison"), "POST", "stay", [], False)
@example(proper(b"/bad") + proper(b"poison"), "HEAD", "stay", [], False)
@example(b"HTTP/1.0 200 \x00\r\n\r\n", "GET", "close", range(2000), False)
@example(b"HTTP/1.1 100 Wait\r\n\r\n\r\n" + proper(b"/bad"), "GET", "stay", [], False)
async def test_a_bad_answer_is_none_and_never_the_next_ones(
    data: bytes, method: str, ending: str, at: Sequence[int], used_before: bool
) -> None:
    scripted = Scripted({b"/bad": Script(cut(data, at), ending)})
    async with replica(scripted) as (client, target):
        if used_before:
            assert await asked(client, target, b"/first") == (200, b"/first")
        got = await asked(client, target, b"/bad", method, SHORT_SECONDS)
        again = scripted.paths.count(b"/bad")
        assert again <= (2 if used_before and method != "POST" else 1)
        if got is not None and again == 1:
            assert got == judged(data, method, ended=ending in ("close", "half-close")), data
        for number in range(3):
            path = b"/next/%d" % number
            assert await asked(client, target, path) == (200, path)
            assert await asked(client, target, path, "POST") in ((200, path), None)


@pytest.mark.parametrize(("method", "times", "got"), [("POST", 1, None), ("GET", 2, (200, b"/cut"))])
async def test_only_a_safe_request_is_sent_again_when_its_idle_connection_ends(
    method: str, times: int, got: tuple[int, bytes] | None
) -> None:
    scripted = Scripted({b"/cut": Script([], "close")})
    async with replica(scripted) as (client, target):
        assert await asked(client, target, b"/first") == (200, b"/first")
        assert await asked(client, target, b"/cut", method) == got
        assert scripted.paths.count(b"/cut") == times


async def test_on_a_new_connection_nothing_is_sent_again() -> None:
    scripted = Scripted({b"/cut": Script([], "close")})
    async with replica(scripted) as (client, target):
        assert await asked(client, target, b"/cut") is None
        assert scripted.paths == [b"/cut"]


async def test_a_connection_that_was_closed_while_it_rested_is_not_used() -> None:
    scripted = Scripted({b"/first": Script([proper(b"/first")], "close")})
    async with replica(scripted) as (client, target):
        assert await asked(client, target, b"/first") == (200, b"/first")
        await eventually(lambda: nobody(scripted))
        assert await asked(client, target, b"/next", "POST") == (200, b"/next")


async def nobody(scripted: Scripted) -> bool:
    return not scripted.serving


async def test_a_replica_that_says_nothing_is_not_waited_for_longer_than_the_limit() -> None:
    scripted = Scripted({b"/silent": Script([]), b"/drip": Script([b"H"])})
    async with replica(scripted) as (client, target):
        for path in (b"/silent", b"/drip"):
            connection_module.RESPONSE_SECONDS = SHORT_SECONDS
            with pytest.raises(TimeoutError):
                await client.request(target, "GET", b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path)
            assert await asked(client, target, b"/next") == (200, b"/next")
