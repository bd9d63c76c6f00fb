"""The journey of an order: the list of its hops so far. Each event of the order carries it."""

from datetime import UTC, datetime

import msgspec

from shopkit.runtime.types import Moment

_encoder = msgspec.json.Encoder()


class Hop(msgspec.Struct, frozen=True):
    """One step of an order at one replica. `at` is the clock of that replica, and clocks of replicas can differ."""

    hop: str
    at: Moment
    replica: str


_decoder = msgspec.json.Decoder(tuple[Hop, ...])


def now(hop: str, replica: str) -> Hop:
    return Hop(hop, datetime.now(UTC), replica)


def extend(encoded: bytes, hop: bytes) -> bytes:
    """Returns the encoded event with one more encoded hop.

    `events.outgoing` writes the journey as the last field. So the hop is inserted before the closing brackets,
    without decoding the event. An event without a journey is returned unchanged.
    """
    return b"".join((encoded[:-2], b",", hop, b"]}")) if encoded.endswith(b"}]}") else encoded


def encode(*hops: Hop) -> bytes:
    """Encodes a journey as JSON for the database."""
    return _encoder.encode(hops)


def decode(encoded: str) -> tuple[Hop, ...]:
    """Decodes the JSON of a journey from the database."""
    return _decoder.decode(encoded)


def encode_hop(hop: Hop) -> bytes:
    return _encoder.encode(hop)
