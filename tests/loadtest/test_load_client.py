"""The client that makes the load, before servers that answer as one wishes."""

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
    """Answers one request after the other; nothing at all, and it closes the connection."""

    def __init__(self, answers: Iterable[bytes]) -> None:
        self._answers = iter(answers)
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n") and (answer := next(self._answers)):
                writer.write(answer)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def pool(server: Server, most: int = 4) -> AsyncGenerator[Pool]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1")
    opened = Pool(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", most)
    yield opened
    opened.close()
    listening.close()


async def test_a_connection_carries_one_request_after_the_other() -> None:
    server = Server([OK] * 20)
    async with pool(server) as to:
        answers = [await to.ask(REQUEST) for _ in range(20)]
    assert set(answers) == {(201, b"ok")}
    assert server.connections == 1


async def test_requests_that_find_no_connection_wait_for_one() -> None:
    server = Server([OK] * 50)
    async with pool(server, most=3) as to:
        answers = await asyncio.gather(*(to.ask(REQUEST) for _ in range(50)))
    assert set(answers) == {(201, b"ok")}
    assert server.connections == 3


async def test_an_answer_in_chunks_is_put_together() -> None:
    async with pool(Server([CHUNKED, OK])) as to:
        assert await to.ask(REQUEST) == (200, b"in parts")
        assert await to.ask(REQUEST) == (201, b"ok")


async def test_after_a_connection_that_the_server_closes_another_one_is_opened() -> None:
    server = Server([THE_LAST, OK, THE_LAST, OK])
    async with pool(server, most=1) as to:
        answers = await asyncio.gather(*(to.ask(REQUEST) for _ in range(4)))
    assert [answer.status for answer in answers] == [200, 201, 200, 201]
    assert server.connections == 3


@pytest.mark.parametrize(("sent", "why"), [(b"", b"connection lost"), (b"SSH-2.0\r\n", b"not HTTP")])
async def test_a_request_without_an_answer_is_told_so_and_not_sent_again(sent: bytes, why: bytes) -> None:
    server = Server([sent, OK])
    async with pool(server, most=1) as to:
        assert await to.ask(REQUEST) == (0, why)
        assert await to.ask(REQUEST) == (201, b"ok")
    assert server.connections == 2


async def test_nobody_listens() -> None:
    async with pool(Server([])) as to:
        pass
    assert (await to.ask(REQUEST)).status == 0


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        """Nothing is connected."""


class Heard(WebSocket):
    def __init__(self) -> None:
        super().__init__(b"")
        self.wire = Wire()
        self.texts: list[bytes] = []
        self.why: list[str] = []
        self.connection_made(self.wire)

    def told(self, text: bytes, at: float) -> None:  # noqa: ARG002
        self.texts.append(text)

    def lost(self, why: str) -> None:
        self.why.append(why)


HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
TEXTS = [b"", b"short", b"x" * 125, b"y" * 126, b"z" * 65_536]


@given(st.lists(st.sampled_from(TEXTS), max_size=5), st.data())
def test_frames_are_read_however_the_network_cuts_them(texts: list[bytes], data: st.DataObject) -> None:
    heard, stream = Heard(), HEAD + b"".join(map(text_frame, texts))
    cuts = sorted(data.draw(st.lists(st.integers(0, min(len(stream), 300)), max_size=8)))
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if start < end:
            heard.data_received(stream[start:end])
    assert heard.texts == texts
    assert not heard.why


def test_a_ping_is_answered_with_what_it_holds() -> None:
    heard = Heard()
    heard.data_received(HEAD + b"\x89\x02hi")
    assert heard.wire.written[-1] == masked(b"hi", 0x8A)


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (HEAD + b"\x88\x02\x03\xf4", "closed with 1012"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "refused: 403"),
        (HEAD + b"\x82\x01x", "a frame of the kind 0x82"),
    ],
)
def test_a_socket_is_lost_once_and_for_a_reason(stream: bytes, why: str) -> None:
    heard = Heard()
    heard.data_received(stream + text_frame(b"too late"))
    heard.connection_lost(None)
    heard.say(b"nobody hears this")
    assert (heard.why, heard.texts) == ([why], [])
    assert len(heard.wire.written) == 1
