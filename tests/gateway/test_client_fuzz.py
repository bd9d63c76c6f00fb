"""Fuzz tests of the gateway's HTTP client, with a replica that sends valid and malformed responses piece by piece.

h11 determines what a response means, because it shares no code with httptools.
"""

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
from gateway import upstream_response as response_module
from gateway.client import Client
from gateway.upstream_response import ConnectionBroken
from shopkit.web.upstreams import Target
from tests.fuzzing import fuzz
from tests.servers import running
from tests.support import eventually

NO_LIMIT = 1024 * 1024
# Twenty seconds are enough for a valid response on a busy machine. The short limit is for responses that never end.
PATIENT_SECONDS, SHORT_SECONDS = 20, 0.15
NO_BODY = (204, 304)


@pytest.fixture(autouse=True, scope="module")
def short_limits() -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_module, "RESPONSE_SECONDS", PATIENT_SECONDS)
        patch.setattr(connection_module, "HEAD_LIMIT", 2048)
        patch.setattr(response_module, "BUFFERED_BODY_LIMIT", 1024)
        patch.setattr(response_module, "HIGH_WATER_BYTES", 2048)
        patch.setattr(client_module, "EXPIRY_CHECK_SECONDS", 0.05)
        yield


@dataclass
class Script:
    """The pieces to send for one request, and what the connection does then: stay, close, half-close or reset."""

    pieces: Sequence[bytes]
    ending: str = "stay"


@dataclass
class ScriptedReplica:
    """A replica that plays the script of a path once. Without a script, it sends the path in a valid response."""

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
                await self._play(self.scripts.pop(path, Script([valid_response(path)])), writer)
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
async def replica(scripted: ScriptedReplica) -> AsyncGenerator[tuple[Client, Target]]:
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    client = Client()
    try:
        async with running(client):
            yield client, Target(*server.sockets[0].getsockname())
    finally:
        server.close()
        await eventually(lambda: has_no_connection(scripted))


async def response_to(
    client: Client, target: Target, path: bytes, method: str = "GET", seconds: float = PATIENT_SECONDS
) -> tuple[int, bytes] | None:
    """Sends a request through the client. Returns status and body, or None if it raised one of its two errors.

    `seconds` limits how long the client waits. Any other exception fails the test.
    """
    connection_module.RESPONSE_SECONDS = seconds
    request = b"%b %b HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n" % (method.encode(), path)
    async with asyncio.timeout(2 * PATIENT_SECONDS):
        try:
            response = await client.request(target, method, request)
            return response.status, await response.read(NO_LIMIT)
        except (ConnectionBroken, TimeoutError):
            return None


def valid_response(path: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path)


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[start:end] for start, end in pairwise(places)]


@dataclass
class ValidResponse:
    """A valid response, to be encoded in one of several ways."""

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
    def encoded(self) -> bytes:
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
valid_responses = st.builds(
    ValidResponse,
    method=st.sampled_from(["GET", "POST", "HEAD"]),
    status=st.sampled_from([200, 201, 404, 503, *NO_BODY]),
    framing=st.sampled_from(["length", "chunked", "end"]),
    body=bodies,
    before=st.lists(st.sampled_from([100, 102, 103]), max_size=2),
    chunks=st.lists(st.integers(0, 1_000_000), max_size=5),
)
cuts = st.lists(st.integers(0, 1_000_000), max_size=30) | st.just(range(2000))


@fuzz(200)
@given(st.lists(st.tuples(valid_responses, cuts), min_size=1, max_size=4))
async def test_a_valid_response_is_read_correctly_in_any_encoding_and_any_pieces(
    responses: list[tuple[ValidResponse, Sequence[int]]],
) -> None:
    scripted = ScriptedReplica(
        {b"/%d" % i: Script(cut(r.encoded, at), r.ending) for i, (r, at) in enumerate(responses)}
    )
    async with replica(scripted) as (client, target):
        for number, (response, _) in enumerate(responses):
            got = await response_to(client, target, b"/%d" % number, response.method)
            assert got == (response.status, b"" if response.without_body else response.body)
    assert scripted.paths == [b"/%d" % number for number in range(len(responses))]


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
    valid_response(b"poison"),
]
edits = st.tuples(st.integers(0, 1_000_000), st.integers(0, 3), st.binary(max_size=3) | st.sampled_from(FRAGMENTS))


def edited(response: ValidResponse, changes: list[tuple[int, int, bytes]], kept: int, more: bytes) -> bytes:
    data = response.encoded
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
        valid_responses,
        st.lists(edits, max_size=3),
        st.integers(0, 400) | st.just(NO_LIMIT),
        st.sampled_from([b"", b"\r\n", b"x", valid_response(b"poison")]),
    )
)


# httptools skips empty lines before a status line, and h11 does not. They are part of one response and do no harm.
EMPTY_LINES_AFTER_1XX = re.compile(rb"(HTTP/1\.[01] 1[0-9]{2}[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n)[\r\n]+")


def parsed_by_h11(data: bytes, method: str, ended: bool) -> tuple[int, bytes] | None:
    """Returns the status and body that h11 reads, or None if the response is malformed or incomplete."""
    data = EMPTY_LINES_AFTER_1XX.sub(rb"\1", data)
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=NO_LIMIT)
    parser.send(h11.Request(method=method, target="/", headers=[("host", "x"), ("content-length", "0")]))
    parser.send(h11.EndOfMessage())
    status, body = 0, b""
    try:
        parser.receive_data(data)
        if ended:
            parser.receive_data(b"")
        while True:
            event = parser.next_event()
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
@example(valid_response(b"/bad") + valid_response(b"poison"), "POST", "stay", [len(valid_response(b"/bad"))], True)
@example(valid_response(b"/bad") + b"\r\n" + valid_response(b"poison"), "POST", "stay", [], False)
@example(valid_response(b"/bad") + valid_response(b"poison"), "HEAD", "stay", [], False)
@example(b"HTTP/1.0 200 \x00\r\n\r\n", "GET", "close", range(2000), False)
@example(b"HTTP/1.1 100 Wait\r\n\r\n\r\n" + valid_response(b"/bad"), "GET", "stay", [], False)
async def test_a_malformed_response_is_an_error_and_never_reaches_the_next_request(
    data: bytes, method: str, ending: str, at: Sequence[int], used_before: bool
) -> None:
    scripted = ScriptedReplica({b"/bad": Script(cut(data, at), ending)})
    async with replica(scripted) as (client, target):
        if used_before:
            assert await response_to(client, target, b"/first") == (200, b"/first")
        got = await response_to(client, target, b"/bad", method, SHORT_SECONDS)
        again = scripted.paths.count(b"/bad")
        assert again <= (2 if used_before and method != "POST" else 1)
        if got is not None and again == 1:
            assert got == parsed_by_h11(data, method, ended=ending in ("close", "half-close")), data
        for number in range(3):
            path = b"/next/%d" % number
            assert await response_to(client, target, path) == (200, path)
            assert await response_to(client, target, path, "POST") in ((200, path), None)


@pytest.mark.parametrize(("method", "times", "got"), [("POST", 1, None), ("GET", 2, (200, b"/cut"))])
async def test_only_a_safe_request_is_sent_again_when_its_idle_connection_ends(
    method: str, times: int, got: tuple[int, bytes] | None
) -> None:
    scripted = ScriptedReplica({b"/cut": Script([], "close")})
    async with replica(scripted) as (client, target):
        assert await response_to(client, target, b"/first") == (200, b"/first")
        assert await response_to(client, target, b"/cut", method) == got
        assert scripted.paths.count(b"/cut") == times


async def test_a_request_on_a_new_connection_is_never_sent_again() -> None:
    scripted = ScriptedReplica({b"/cut": Script([], "close")})
    async with replica(scripted) as (client, target):
        assert await response_to(client, target, b"/cut") is None
        assert scripted.paths == [b"/cut"]


async def test_an_idle_connection_that_was_closed_is_not_used() -> None:
    scripted = ScriptedReplica({b"/first": Script([valid_response(b"/first")], "close")})
    async with replica(scripted) as (client, target):
        assert await response_to(client, target, b"/first") == (200, b"/first")
        await eventually(lambda: has_no_connection(scripted))
        assert await response_to(client, target, b"/next", "POST") == (200, b"/next")


async def has_no_connection(scripted: ScriptedReplica) -> bool:
    return not scripted.serving


async def test_a_silent_replica_causes_a_timeout() -> None:
    scripted = ScriptedReplica({b"/silent": Script([]), b"/drip": Script([b"H"])})
    async with replica(scripted) as (client, target):
        for path in (b"/silent", b"/drip"):
            connection_module.RESPONSE_SECONDS = SHORT_SECONDS
            with pytest.raises(TimeoutError):
                await client.request(target, "GET", b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path)
            assert await response_to(client, target, b"/next") == (200, b"/next")
