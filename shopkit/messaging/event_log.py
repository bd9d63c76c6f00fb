"""What log lines say of an event: its id, its order, its trace."""

import logging
from collections.abc import Iterable

import msgspec
import structlog

from shopkit.messaging.events import UNDECODABLE
from shopkit.observability import tracing

log = structlog.get_logger()


class _Named(msgspec.Struct, frozen=True):
    id: str = ""
    subject: str = ""
    traceparent: str | None = None


_named = msgspec.json.Decoder(_Named)


def named(encoded: bytes) -> dict[str, str]:
    """Nothing for what is no event."""
    try:
        event = _named.decode(encoded)
    except UNDECODABLE:
        return {}
    trace_id = tracing.trace_id(event.traceparent or "")
    return {"event_id": event.id, "order_id": event.subject, "trace_id": trace_id}


def each(step: str, events: Iterable[bytes]) -> None:
    """One line an event, at level DEBUG: the way of each order can be followed, and costs nothing otherwise."""
    if logging.getLogger(__name__).isEnabledFor(logging.DEBUG):
        for encoded in events:
            log.debug(step, **named(encoded))
