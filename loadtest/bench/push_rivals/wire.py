"""How a client and a publisher speak to each rival. Text frames are given as their UTF-8 bytes."""

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

import msgspec


class Rival(NamedTuple):
    """`hello` are the frames that a client sends after the upgrade; it need not wait for the server before.

    The first frame that starts with `welcomed` says that whatever is published from now on will come.
    `pong` answers a ping; None says that the frame is none. `publication` makes channel and message of the
    PUBLISH that brings the JSON `payload` to all sockets of a user.
    """

    name: str
    path: Callable[[str], str]
    hello: tuple[bytes, ...]
    welcomed: bytes
    pong: Callable[[bytes], bytes | None]
    publication: Callable[[str, bytes], tuple[bytes, bytes]]


def channel(user_id: str) -> str:
    """The name in Litestar and in Redis: only its backend for streams puts a prefix before it."""
    return f"push:{user_id}"


def _channels_path(user_id: str) -> str:
    return f"/ws?user={quote(user_id, safe='')}"


def _no_pong(_frame: bytes) -> None:
    """uvicorn pings with control frames only."""
    return


def _channels_publication(user_id: str, payload: bytes) -> tuple[bytes, bytes]:
    return channel(user_id).encode(), payload


def _socketio_path(user_id: str) -> str:
    return f"/socket.io/?EIO=4&transport=websocket&user={quote(user_id, safe='')}"


def _engineio_pong(frame: bytes) -> bytes | None:
    return b"3" if frame == b"2" else None


def _socketio_publication(user_id: str, payload: bytes) -> tuple[bytes, bytes]:
    """What `@socket.io/redis-emitter` publishes for `emitter.to(user_id).emit("order", JSON.parse(payload))`.

    The sockets get `42["order",<payload>]`, written anew by JSON.stringify.
    """
    packet = {"type": 2, "data": ["order", msgspec.json.decode(payload)], "nsp": "/"}
    options: dict[str, object] = {"rooms": [user_id], "flags": {}, "except": []}
    return f"socket.io#/#{user_id}#".encode(), msgspec.msgpack.encode(["emitter", packet, options])


CHANNELS = Rival(
    name="Litestar Channels",
    path=_channels_path,
    hello=(),
    welcomed=b'{"type":"welcome"',
    pong=_no_pong,
    publication=_channels_publication,
)
SOCKETIO = Rival(
    name="Socket.IO",
    path=_socketio_path,
    hello=(b"40",),
    welcomed=b'42["welcome"',
    pong=_engineio_pong,
    publication=_socketio_publication,
)
