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


Frame: TypeAlias = OrderFrame | Welcome | Ping | Renew

_decoder: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(OrderFrame | Welcome | Ping | Renew)
decode = _decoder.decode
