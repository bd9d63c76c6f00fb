"""Request smuggling: a client sends bytes that the gateway and a service could read as different requests.

A strict replica reads the bytes that the gateway sends. h11, which shares no code with our server, determines the
requests in the client's bytes. The replica must never receive any other request.
"""

import asyncio
import itertools
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.conftest import Spawn
from tests.fuzzing import fuzz
from tests.support import Replica, free_port

REQUEST_LINE = re.compile(rb"[A-Z]+ /[\x21-\x7e]* HTTP/1\.1")
HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+: [\t\x20-\x7e\x80-\xff]*")
FORBIDDEN = {b"connection", b"upgrade", b"te", b"trailer", b"keep-alive", b"expect", b"proxy-connection"}
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

# Target and body of a request.
Seen: TypeAlias = tuple[bytes, bytes]


@dataclass
class Strict:
    """A replica that accepts only requests that conform to HTTP/1.1. It records the others in `wrong`."""

    seen: list[Seen] = field(default_factory=list[Seen])
    wrong: list[bytes] = field(default_factory=list[bytes])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b""
        try:
            while head := await _read_head(reader):
                self.seen.append((head.split(b" ")[1], await _read_body(reader, _framing(head))))
                writer.write(OK)
        except ValueError:
            self.wrong.append(head)
        except asyncio.IncompleteReadError:
            pass  # the client disconnected within a body
        finally:
            writer.transport.abort()


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        return error.partial


def _framing(head: bytes) -> dict[bytes, bytes]:
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if (
        not head.endswith(b"\r\n\r\n")
        or not REQUEST_LINE.fullmatch(first)
        or not all(HEADER.fullmatch(line) for line in lines)
    ):
        raise ValueError
    headers = [tuple(line.split(b": ", 1)) for line in lines]
    names = [name for name, _ in headers]
    if FORBIDDEN & set(names) or names.count(b"host") != 1:
        raise ValueError
    framing = [(name, value) for name, value in headers if name in (b"content-length", b"transfer-encoding")]
    if len(framing) > 1:
        raise ValueError
    return dict(framing)


async def _read_body(reader: asyncio.StreamReader, framing: dict[bytes, bytes]) -> bytes:
    if length := framing.get(b"content-length"):
        return await reader.readexactly(int(length))
    if not framing:
        return b""
    if framing[b"transfer-encoding"] != b"chunked":
        raise ValueError
    body = b""
    while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    if await reader.readexactly(2) != b"\r\n":
        raise ValueError
    return body


@dataclass
class Behind:
    gateway: Replica
    replica: Strict


@pytest.fixture
async def behind(spawn: Spawn) -> AsyncGenerator[Behind]:
    replica, port = Strict(), free_port()
    server = await asyncio.start_server(replica.serve, "127.0.0.1", port)
    url = f"http://127.0.0.1:{port}"
    gateway = await spawn("gateway", ORDERS_URLS=url, PAYMENTS_URLS=url, NOTIFIER_URLS=url, WEB_URLS=url)
    yield Behind(gateway, replica)
    await gateway.stop()
    server.close()


async def sent(gateway: Replica, pieces: Sequence[bytes], quiet: float = 2) -> list[int]:
    """Sends the pieces. Returns the statuses of the responses, until there is none for `quiet` seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    received = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        while data := await asyncio.wait_for(reader.read(65536), quiet):
            received += data
    except (TimeoutError, OSError):
        pass
    finally:
        writer.transport.abort()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", received)]


def parsed_by_h11(data: bytes) -> list[Seen]:
    """Returns the requests that h11 reads."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    parser.receive_data(data)
    found: list[Seen] = []
    target, body = b"", b""
    try:
        while True:
            event = parser.next_event()
            if isinstance(event, h11.Request):
                target, body = event.target, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                found.append((target, body))
                parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                parser.send(h11.EndOfMessage())
                parser.start_next_cycle()
            else:
                return found
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return found


# Each example replaces this by its own number, so that a late request is not taken for one of the next example.
NUMBER = b"NNNNNN"
SMUGGLED = b"GET /api/orders/smuggled/NNNNNN HTTP/1.1\r\nHost: x\r\n\r\n"
REFUSED = {
    "both lengths": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "both lengths, the other way round": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "two lengths": b"Content-Length: 0\r\nContent-Length: 53\r\n\r\n" + SMUGGLED,
    "a list of lengths": b"Content-Length: 0, 53\r\n\r\n" + SMUGGLED,
    "a signed length": b"Content-Length: +53\r\n\r\n" + SMUGGLED,
    "a length too large": b"Content-Length: 18446744073709551616\r\n\r\n" + SMUGGLED,
    "a coding after chunked": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a coding before chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a coding that is no token": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a space in a name": b"Content Length: 47\r\n\r\n" + SMUGGLED,
    "a folded line": b"X: y\r\n Content-Length: 53\r\n\r\n" + SMUGGLED,
    "a bare LF": b"X: y\nContent-Length: 53\r\n\r\n" + SMUGGLED,
    "a bare CR": b"X: y\rContent-Length: 53\r\n\r\n" + SMUGGLED,
    "a NUL": b"X: y\x00\r\n\r\n" + SMUGGLED,
    "two hosts": b"Host: y\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "a huge chunk": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + SMUGGLED,
    "a chunk size that is none": b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk longer than it says": b"Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "an upgrade with a body": b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 53\r\n\r\n" + SMUGGLED,
    "h2c with chunks": b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n35\r\n"
    + SMUGGLED,
}


async def test_an_ambiguous_request_reaches_no_replica(behind: Behind) -> None:
    """uvicorn refuses most of these requests. `shopkit.web.protocol` refuses upgrades and codings before chunked.

    The gateway itself refuses two hosts.
    """
    for name, rest in REFUSED.items():
        statuses = await sent(behind.gateway, [b"POST /api/orders/first HTTP/1.1\r\nHost: x\r\n" + rest])
        assert statuses in ([400], [400, 400]), name
    for target in (b"/api/orders/\xff", b"/api/orders/\x01", b"/api/orders/a b"):
        assert await sent(behind.gateway, [b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target]) == [400], target
    assert not [seen for seen in behind.replica.seen if b"smuggled" in seen[0]]
    assert not behind.replica.wrong


async def test_a_percent_encoded_line_break_stays_encoded(behind: Behind) -> None:
    target = b"/api/orders/%0d%0aX:%20y?a=%0d%0a%0d%0aGET"
    assert await sent(behind.gateway, [b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target]) == [200]
    assert behind.replica.seen == [(target, b"")]


LINES = [
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 53\r\n",
    b"content-length:\t5 \r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: Chunked \r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, Content-Length\r\n",
    b"Connection: Host, Transfer-Encoding\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"TE: trailers\r\nTrailer: X\r\n",
    b"X: y\r\n",
    b"X: y\n",
    b" X: y\r\n",
    b"X : y\r\n",
    b"X: \xc3\xa9\r\n",
    b"X:\r\n",
]
ENDS = [
    b"hello",
    b"5\r\nhello\r\n",
    b"5;a=b\r\nhello\r\n",
    b"05 \r\nhello\r\n",
    b"35\r\n" + SMUGGLED + b"\r\n",
    b"0\r\n\r\n",
    b"0\r\nX: y\r\nContent-Length: 9\r\n\r\n",
    SMUGGLED,
]
LINE = [
    b"GET /api/orders/1/NNNNNN HTTP/1.1\r\n",
    b"POST /api/orders/2/NNNNNN?x HTTP/1.1\r\n",
    b"PUT /api/payments/3/NNNNNN HTTP/1.0\r\n",
    b"HEAD /api/orders?NNNNNN HTTP/1.1\r\n",
    b"DELETE http://evil/api/orders/4/NNNNNN HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"CONNECT /api/orders HTTP/1.1\r\n",
]


def message(line: bytes, lines: list[bytes], ends: list[bytes]) -> bytes:
    return line + b"Host: x\r\n" + b"".join(lines) + b"\r\n" + b"".join(ends)


messages = st.builds(
    message,
    st.sampled_from(LINE),
    st.lists(st.sampled_from(LINES), max_size=4),
    st.lists(st.sampled_from(ENDS), max_size=4),
)
cuts = st.lists(st.integers(0, 1000), max_size=4)
numbers = itertools.count()
UPGRADE = [LINES[2], LINES[11]]


@fuzz(100)
@given(st.lists(messages, min_size=1, max_size=2).map(b"".join), cuts)
@example(message(LINE[6], [], [SMUGGLED]), [len(message(LINE[6], [], []))])
@example(message(LINE[1], UPGRADE, [SMUGGLED]), [len(message(LINE[1], UPGRADE, []))])
@example(message(LINE[0], [LINES[6]], [ENDS[5], SMUGGLED]), [])
async def test_the_replica_receives_only_requests_that_the_client_sent(
    behind: Behind, data: bytes, at: list[int]
) -> None:
    number = b"%06d" % next(numbers)
    data = data.replace(NUMBER, number)
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    await sent(behind.gateway, [data[start:end] for start, end in itertools.pairwise(places)], quiet=0.15)
    sent_requests = [(target.removeprefix(b"http://evil"), body) for target, body in parsed_by_h11(data)]
    for_replica = [request for request in sent_requests if request[0].startswith(b"/api/")]
    seen = [request for request in behind.replica.seen if number in request[0]]
    assert seen == for_replica[: len(seen)], data
    assert not behind.replica.wrong
