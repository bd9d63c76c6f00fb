"""The frames of `/ws` that a page reads, see docs/push.md."""

from datetime import datetime
from typing import TypeAlias

import msgspec

from loadtest.load.history import OrderHistory


class FrameHop(msgspec.Struct, frozen=True):
    hop: str
    at: datetime


class ReceivedOrder(msgspec.Struct, frozen=True, tag="order"):
    o: int
    order: OrderHistory
    journey: tuple[FrameHop, ...] = ()


class ReceivedWelcome(msgspec.Struct, frozen=True, tag="welcome"):
    missed: tuple[ReceivedOrder, ...]
    replica: str


class ReceivedPing(msgspec.Struct, frozen=True, tag="ping"):
    pass


class ReceivedRenew(msgspec.Struct, frozen=True, tag="renew"):
    within: float


class Typed(msgspec.Struct, frozen=True):
    type: str


Frame: TypeAlias = ReceivedOrder | ReceivedWelcome | ReceivedPing | ReceivedRenew

KNOWN = frozenset(
    frame.__struct_config__.tag for frame in (ReceivedOrder, ReceivedWelcome, ReceivedPing, ReceivedRenew)
)

_frames: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(
    ReceivedOrder | ReceivedWelcome | ReceivedPing | ReceivedRenew
)
_types = msgspec.json.Decoder(Typed)


def decode(text: bytes) -> Frame | None:
    """Returns None for a frame of an unknown type, which every client must ignore.

    Raises msgspec.DecodeError, a ValueError, for a malformed frame.
    """
    try:
        return _frames.decode(text)
    except msgspec.ValidationError:
        if _types.decode(text).type in KNOWN:
            raise
        return None
