"""The protocols of the rival servers for clients and publishers. Text frames are UTF-8 bytes."""

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

import msgspec


class Rival(NamedTuple):
    """The protocol of one server.

    A client sends the frames of `hello` after the upgrade, without waiting for the server. After the first frame
    that starts with `welcomed`, the socket receives every message that is published. `pong` returns the reply to a
    ping, and None for any other frame. `publication` returns the channel and the message of the PUBLISH that sends
    the JSON `payload` to all sockets of a user.
    """

    name: str
    path: Callable[[str], str]
    hello: tuple[bytes, ...]
    welcomed: bytes
    pong: Callable[[bytes], bytes | None]
    publication: Callable[[str, bytes], tuple[bytes, bytes]]


def channel(user_id: str) -> str:
    """Returns the name in Litestar and in Redis. Litestar's pub/sub backend adds no prefix, unlike its streams."""
    return f"push:{user_id}"


def _channels_path(user_id: str) -> str:
    return f"/ws?user={quote(user_id, safe='')}"


def _no_pong(_frame: bytes) -> None:
    """Returns None, because uvicorn pings with control frames only."""
    return


def _channels_publication(user_id: str, payload: bytes) -> tuple[bytes, bytes]:
    return channel(user_id).encode(), payload


def _socketio_path(user_id: str) -> str:
    return f"/socket.io/?EIO=4&transport=websocket&user={quote(user_id, safe='')}"


def _engineio_pong(frame: bytes) -> bytes | None:
    return b"3" if frame == b"2" else None


def _socketio_publication(user_id: str, payload: bytes) -> tuple[bytes, bytes]:
    """Returns the message that `@socket.io/redis-emitter` publishes.

    It is that of `emitter.to(user_id).emit("order", JSON.parse(payload))`. The sockets receive
    `42["order",<payload>]`, encoded again by JSON.stringify.
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
