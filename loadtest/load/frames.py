"""The frames of `/ws` that a page reads, as docs/push.md describes them."""

from datetime import datetime
from typing import TypeAlias

import msgspec

from loadtest.load.history import Order


class Hop(msgspec.Struct, frozen=True):
    hop: str
    at: datetime


class OrderFrame(msgspec.Struct, frozen=True, tag="order"):
    o: int
    order: Order
    journey: tuple[Hop, ...] = ()


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    missed: tuple[OrderFrame, ...]
    replica: str


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    pass


class Renew(msgspec.Struct, frozen=True, tag="renew"):
    within: float


class Typed(msgspec.Struct, frozen=True):
    type: str


Frame: TypeAlias = OrderFrame | Welcome | Ping | Renew

KNOWN = frozenset(frame.__struct_config__.tag for frame in (OrderFrame, Welcome, Ping, Renew))

_frames: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(OrderFrame | Welcome | Ping | Renew)
_types = msgspec.json.Decoder(Typed)


def decode(text: bytes) -> Frame | None:
    """Returns None for a frame of an unknown type, which a client ignores.

    A broken frame raises msgspec.DecodeError, a ValueError.
    """
    try:
        return _frames.decode(text)
    except msgspec.ValidationError:
        if _types.decode(text).type in KNOWN:
            raise
        return None
