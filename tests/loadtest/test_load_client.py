"""The HTTP and WebSocket clients of the load generator, against servers with scripted responses."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.client import Pool, get
from loadtest.websocket import WebSocket, masked
from notifier.wire import text_frame

REQUEST = get("/", "alice")
OK = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nin \r\n5\r\nparts\r\n0\r\n\r\n"
THE_LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbye"


class Server:
    """Answers requests with `responses` in order. For an empty response, it closes the connection."""

    def __init__(self, responses: Iterable[bytes]) -> None:
        self._responses = iter(responses)
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n") and (response := next(self._responses)):
                writer.write(response)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def pool(server: Server, connection_limit: int = 4) -> AsyncGenerator[Pool]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1")
    opened = Pool(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", connection_limit)
    yield opened
    opened.close()
    listening.close()


async def test_sequential_requests_reuse_one_connection() -> None:
    server = Server([OK] * 20)
    async with pool(server) as connections:
        responses = [await connections.ask(REQUEST) for _ in range(20)]
    assert set(responses) == {(201, b"ok")}
    assert server.connections == 1


async def test_requests_above_the_connection_limit_wait() -> None:
    server = Server([OK] * 50)
    async with pool(server, connection_limit=3) as connections:
        responses = await asyncio.gather(*(connections.ask(REQUEST) for _ in range(50)))
    assert set(responses) == {(201, b"ok")}
    assert server.connections == 3


async def test_the_parts_of_a_chunked_response_are_joined() -> None:
    async with pool(Server([CHUNKED, OK])) as connections:
        assert await connections.ask(REQUEST) == (200, b"in parts")
        assert await connections.ask(REQUEST) == (201, b"ok")


async def test_a_new_connection_is_opened_after_the_server_closes_one() -> None:
    server = Server([THE_LAST, OK, THE_LAST, OK])
    async with pool(server, connection_limit=1) as connections:
        responses = await asyncio.gather(*(connections.ask(REQUEST) for _ in range(4)))
    assert [response.status for response in responses] == [200, 201, 200, 201]
    assert server.connections == 3


@pytest.mark.parametrize(("sent", "why"), [(b"", b"connection lost"), (b"SSH-2.0\r\n", b"not HTTP")])
async def test_a_request_without_a_response_gets_status_0_and_is_not_repeated(sent: bytes, why: bytes) -> None:
    server = Server([sent, OK])
    async with pool(server, connection_limit=1) as connections:
        assert await connections.ask(REQUEST) == (0, why)
        assert await connections.ask(REQUEST) == (201, b"ok")
    assert server.connections == 2


async def test_a_request_gets_status_0_if_no_server_listens() -> None:
    async with pool(Server([])) as connections:
        pass
    assert (await connections.ask(REQUEST)).status == 0


class RecordingTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        """Nothing is connected."""


class RecordingSocket(WebSocket):
    def __init__(self) -> None:
        super().__init__(b"")
        self.recorded = RecordingTransport()
        self.texts: list[bytes] = []
        self.why_lost: list[str] = []
        self.connection_made(self.recorded)

    def on_text(self, text: bytes, at: float) -> None:  # noqa: ARG002
        self.texts.append(text)

    def on_lost(self, why: str) -> None:
        self.why_lost.append(why)


HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
TEXTS = [b"", b"short", b"x" * 125, b"y" * 126, b"z" * 65_536]


@given(st.lists(st.sampled_from(TEXTS), max_size=5), st.data())
def test_frames_are_read_whatever_the_sizes_of_the_reads(texts: list[bytes], data: st.DataObject) -> None:
    socket, stream = RecordingSocket(), HEAD + b"".join(map(text_frame, texts))
    cuts = sorted(data.draw(st.lists(st.integers(0, min(len(stream), 300)), max_size=8)))
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if start < end:
            socket.data_received(stream[start:end])
    assert socket.texts == texts
    assert not socket.why_lost


def test_a_pong_has_the_payload_of_its_ping() -> None:
    socket = RecordingSocket()
    socket.data_received(HEAD + b"\x89\x02hi")
    assert socket.recorded.written[-1] == masked(b"hi", 0x8A)


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (HEAD + b"\x88\x02\x03\xf4", "closed with 1012"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "refused: 403"),
        (HEAD + b"\x82\x01x", "a frame of the kind 0x82"),
    ],
)
def test_a_lost_socket_reports_one_reason_and_ignores_later_frames(stream: bytes, why: str) -> None:
    socket = RecordingSocket()
    socket.data_received(stream + text_frame(b"too late"))
    socket.connection_lost(None)
    socket.send_text(b"not sent")
    assert (socket.why_lost, socket.texts) == ([why], [])
    assert len(socket.recorded.written) == 1
