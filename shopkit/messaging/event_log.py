"""Log fields that identify an event: its id, its order and its trace."""

import logging
from collections.abc import Iterable

import msgspec
import structlog

from shopkit.messaging.events import UNDECODABLE
from shopkit.observability import tracing

log = structlog.get_logger()


class _Identity(msgspec.Struct, frozen=True):
    id: str = ""
    subject: str = ""
    traceparent: str | None = None


_decoder = msgspec.json.Decoder(_Identity)


def log_fields(encoded: bytes) -> dict[str, str]:
    """Returns event_id, order_id and trace_id of an encoded event, or no fields if it cannot be decoded."""
    try:
        event = _decoder.decode(encoded)
    except UNDECODABLE:
        return {}
    trace_id = tracing.trace_id(event.traceparent or "")
    return {"event_id": event.id, "order_id": event.subject, "trace_id": trace_id}


def each(step: str, events: Iterable[bytes]) -> None:
    """Logs one line per event at level DEBUG, to follow each order. Decodes no event at other levels."""
    if logging.getLogger(__name__).isEnabledFor(logging.DEBUG):
        for encoded in events:
            log.debug(step, **log_fields(encoded))
