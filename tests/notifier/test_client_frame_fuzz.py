"""Fuzz tests of client frames: each is accepted or closes with a documented code, and the replica logs no error."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode

from notifier.close_codes import Close
from notifier.messages import OFFSET_LIMIT, Ack, decode_client_frame
from tests.conftest import Spawn
from tests.fuzzing import fuzz
from tests.notifier.push_events import ORIGIN, on
from tests.support import Replica

WEBSOCKET_CODES = {1002, 1007, 1009}
DOCUMENTED_CODES = WEBSOCKET_CODES | {Close.BAD_MESSAGE, Close.BAD_TICKET, Close.TOO_MUCH}
SEVERE = ('"level": "error"', '"level": "critical"', "Traceback")

numbers = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.integers(1, 4_000).map("9".__mul__),
    st.integers(1, 4_000).map(lambda digits: "1e" + "9" * digits),
)


def nested(opening: str, count: int, closed: bool) -> str:
    closing = "]" if opening == "[" else "}"
    return opening * count + ("1" + closing * count) * closed


deep = st.builds(nested, st.sampled_from(["[", '{"a":']), st.integers(1, 2_000), st.booleans())
strings = st.text(max_size=120).map(json.dumps) | st.sampled_from([r'"\ud800"', r'"\u0000"', '"', '"\x00"'])
values = st.one_of(numbers, deep, strings, st.sampled_from(["null", "true", "[]", "{}", ""]))
types = st.sampled_from(['"pong"', '"ack"', '"renew"', '"order"']) | values
members = st.tuples(st.sampled_from(["o", "ticket", "x", "type"]), values).map('"{0[0]}":{0[1]}'.format)


def message_text(kind: str, others: list[str], last: bool) -> str:
    members = [*others, f'"type":{kind}'] if last else [f'"type":{kind}', *others]
    return f"{{{','.join(members)}}}"


texts = (
    st.builds(message_text, types, st.lists(members, max_size=4), st.booleans()) | values | st.text(max_size=300)
)


@fuzz(200)
@given(texts)
@example('{"type":"pong","x":' + "[" * 1_000)
@example('{"type":"ack","o":' + "9" * 4_000 + "}")
def test_a_text_is_decoded_or_rejected_with_a_decode_error(text: str) -> None:
    with suppress(msgspec.DecodeError):
        match decode_client_frame(text):
            case Ack(offset):
                assert 0 <= offset < OFFSET_LIMIT
            case frame:
                assert decode_client_frame(msgspec.json.encode(frame).decode()) == frame


def framed(opcode: Opcode, data: bytes, fin: bool, reserved: bool) -> bytes:
    """Returns a frame masked with zeros, possibly one that WebSocket forbids."""
    long = len(data) > 125
    head = bytes([fin << 7 | reserved << 6 | opcode, 0x80 | (126 if long else len(data))])
    return head + (len(data).to_bytes(2) if long else b"") + bytes(4) + data


def encoded(text: str) -> bytes:
    return text.encode()[:60_000]


opcodes = st.sampled_from([Opcode.TEXT, Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.PING, Opcode.PONG])
payloads = texts.map(encoded) | st.binary(max_size=300)
rarely = st.integers(0, 9).map(lambda number: number == 0)
frames = st.builds(framed, opcodes, payloads, rarely.map(lambda so: not so), rarely) | st.binary(max_size=40)


async def closed_with(connection: ClientConnection, sent: bytes) -> int | None:
    """Returns the code of the server's close, or None when the socket is open or waits for the rest of a frame."""
    connection.transport.write(sent)
    with suppress(ConnectionClosed, TimeoutError):
        async with asyncio.timeout(0.3):
            await (await connection.ping())
            return None
    return connection.protocol.close_rcvd.code if connection.protocol.close_rcvd else None


@pytest.fixture
async def replica(spawn: Spawn, servers: dict[str, Any], broker_url: str) -> Replica:
    where = {"BROKER_URL": broker_url, "REDIS_URL": servers["redis"], "ALLOWED_ORIGINS": ORIGIN}
    return await spawn("notifier", SOCKETS_PER_USER="1000", **where)


@fuzz(25)
@given(st.lists(frames, min_size=1, max_size=6))
@example([framed(Opcode.BINARY, b'{"type":"pong","x":"\xff"}', fin=True, reserved=False)])
@example([framed(Opcode.TEXT, b'{"type":"pong","x":' + b"[" * 1_000, fin=True, reserved=False)])
@example([framed(Opcode.TEXT, b"\xff", fin=True, reserved=False)])
async def test_arbitrary_frames_close_with_a_documented_code_and_log_no_error(
    replica: Replica, session: aiohttp.ClientSession, sent: Sequence[bytes]
) -> None:
    connection = (await on(replica, session).socket(origin=ORIGIN)).connection
    assert await closed_with(connection, b"".join(sent)) in DOCUMENTED_CODES | {None}
    connection.transport.abort()
    assert not [line for line in replica.log().splitlines() if any(word in line for word in SEVERE)]
