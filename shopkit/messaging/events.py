"""The encoding of events: CloudEvents 1.0 in JSON, several events per message.

A message is a JSON array (`application/cloudevents-batch+json`) of 1 to 100 events that share a routing
key. Consumers recognise a duplicate by the id of the event, never by its message.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Generic, Literal, TypeVar
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from shopkit.messaging.journey import Hop

BATCH_CONTENT_TYPE = "application/cloudevents-batch+json"
BATCH_LIMIT = 100
# The errors that a decoder raises for bytes that it cannot decode. Deeply nested JSON raises RecursionError, at a
# depth that depends on the version of Python: 1,000 levels in 3.11, 10,000 in 3.13, the size of the stack in 3.14.
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_batch = msgspec.json.Decoder(list[msgspec.Raw])


class Event(msgspec.Struct, Generic[T], frozen=True, kw_only=True, omit_defaults=True):
    """An event.

    `type` is also its routing key, and `subject` is the id of the order. Readers ignore unknown fields.
    """

    specversion: Literal["1.0"]
    id: UUID
    source: str
    type: str
    subject: str
    time: datetime
    datacontenttype: Literal["application/json"]
    data: T
    traceparent: str | None = None
    journey: tuple[Hop, ...] = ()


class Outgoing(msgspec.Struct, frozen=True):
    """An encoded event for the outbox. The relay publishes the same bytes, so it never decodes them."""

    event_id: UUID
    routing_key: str
    event: bytes


def outgoing(
    source: str,
    kind: str,
    subject: UUID,
    data: msgspec.Struct,
    traceparent: str | None = None,
    journey: Sequence[Hop] = (),
) -> Outgoing:
    """Encodes a new event. `kind` is its type and routing key, and `subject` is the id of its order."""
    event_id = uuid7()
    event = Event(
        specversion="1.0",
        id=event_id,
        source=source,
        type=kind,
        subject=str(subject),
        time=datetime.now(UTC),
        datacontenttype="application/json",
        data=data,
        traceparent=traceparent,
        journey=tuple(journey),
    )
    return Outgoing(event_id, kind, _encoder.encode(event))


def encode_batch(events: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(events) + b"]"


def decode_batch(body: bytes) -> list[bytes]:
    """Returns the encoded events of one message. Raises one of UNDECODABLE if `body` is not a JSON array."""
    return [bytes(raw) for raw in _batch.decode(body)]


def batches(events: Sequence[Outgoing]) -> Iterator[tuple[str, list[bytes]]]:
    """Yields routing key and encoded events of each message to publish: one key and at most BATCH_LIMIT events."""
    by_key: dict[str, list[bytes]] = {}
    for event in events:
        by_key.setdefault(event.routing_key, []).append(event.event)
    for routing_key, encoded in by_key.items():
        for start in range(0, len(encoded), BATCH_LIMIT):
            yield routing_key, encoded[start : start + BATCH_LIMIT]
