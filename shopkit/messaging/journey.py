"""The journey of an order: the hops it has made, carried along by its events."""

from datetime import UTC, datetime

import msgspec

from shopkit.runtime.types import Moment

_encoder = msgspec.json.Encoder()


class Hop(msgspec.Struct, frozen=True):
    """`at` is by the clock of the replica that made the hop, so hops of two replicas may differ by their clocks."""

    hop: str
    at: Moment
    replica: str


_decoder = msgspec.json.Decoder(tuple[Hop, ...])


def now(hop: str, replica: str) -> Hop:
    return Hop(hop, datetime.now(UTC), replica)


def extend(encoded: bytes, hop: bytes) -> bytes:
    """An encoded event with one more encoded hop.

    `outgoing` writes the journey last, so the hop is put before the end without parsing. An event without
    a journey, as an older release wrote it, stays as it is.
    """
    return b"".join((encoded[:-2], b",", hop, b"]}")) if encoded.endswith(b"}]}") else encoded


def encode(*hops: Hop) -> bytes:
    """A journey for the database."""
    return _encoder.encode(hops)


def decode(encoded: str) -> tuple[Hop, ...]:
    """A journey as the database gives it."""
    return _decoder.decode(encoded)


def encode_hop(hop: Hop) -> bytes:
    return _encoder.encode(hop)
