"""Decoding an encoded event returns its contents, also in the code that searches an event without parsing it."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

import notifier.messages
import orders.messages
import payments.messages
from notifier.fan_out import EncodedEvent
from notifier.hub import PublishedFrame
from notifier.messages import FRAME_START, OrderFrame, frame_rest, times
from notifier.wire import text_frame
from orders.messages import OrderStatus
from shopkit.messaging import event_log, journey
from shopkit.messaging.events import Event, Outgoing, decode_batch, encode_batch
from shopkit.messaging.journey import Hop
from shopkit.observability import tracing
from tests.strategies import amounts, hops, journeys, texts, traceparents, user_ids

reasons = st.none() | texts
traces = st.none() | traceparents
statuses = st.builds(
    OrderStatus,
    st.uuids(),
    user_ids,
    amounts,
    texts,
    st.sampled_from(["FINISHED", "CANCELLED"]),
    st.integers(1, 2**31),
    reasons,
)
created = st.builds(orders.messages.order_created, st.uuids(), user_ids, amounts, traces, journeys)
decided = st.builds(payments.messages.payment_decided, st.uuids(), user_ids, amounts, reasons, traces, journeys)
changed = st.builds(orders.messages.status_changed, statuses, traces, journeys)
events = st.one_of(created, decided, changed)


def read(event: bytes) -> Event[msgspec.Raw]:
    return msgspec.json.decode(event, type=Event[msgspec.Raw])


def envelope(event: Event[Any]) -> tuple[UUID, str, str | None, Sequence[Hop]]:
    return event.id, event.type, event.traceparent, event.journey


@given(st.uuids(), user_ids, amounts, traces, journeys)
def test_payments_decodes_every_order_created_of_orders(
    order_id: UUID, user_id: str, amount: int, trace: str | None, hops: list[Hop]
) -> None:
    written = orders.messages.order_created(order_id, user_id, amount, trace, hops)
    event = payments.messages.decode_order_created(written.event)
    assert msgspec.structs.astuple(event.data) == (order_id, user_id, amount)
    assert envelope(event) == (written.event_id, written.routing_key, trace, tuple(hops))
    received = payments.messages.receive(written.event)
    assert msgspec.structs.astuple(received) == (written.event_id, "order.created", written.event)


@given(st.uuids(), user_ids, amounts, reasons, traces, journeys)
def test_orders_decodes_every_result_of_payments(
    order_id: UUID, user_id: str, amount: int, reason: str | None, trace: str | None, hops: list[Hop]
) -> None:
    written = payments.messages.payment_decided(order_id, user_id, amount, reason, trace, hops)
    event = orders.messages.decode_payment_event(written.event)
    assert msgspec.structs.astuple(event.data) == (order_id, user_id, amount, reason)
    assert event.status == ("FINISHED" if reason is None else "CANCELLED")
    assert envelope(event) == (written.event_id, written.routing_key, trace, tuple(hops))


@given(statuses, traces, journeys)
def test_the_notifier_decodes_every_status_event_of_orders(
    order: OrderStatus, trace: str | None, hops: list[Hop]
) -> None:
    written = orders.messages.status_changed(order, trace, hops)
    event = notifier.messages.decode_order_status(written.event)
    assert msgspec.structs.asdict(event.data) == msgspec.structs.asdict(order)
    assert envelope(event) == (written.event_id, written.routing_key, trace, tuple(hops))


@given(changed, st.integers(0, 2**53), st.integers(1, 2**53))
def test_a_frame_shows_the_order_of_its_event_and_its_offset(written: Outgoing, previous: int, offset: int) -> None:
    event = notifier.messages.decode_order_status(written.event)
    # fan_out.lua composes the frame in this way, and `publish` composes the same bytes.
    whole = b"%s%d,%s" % (FRAME_START, offset, frame_rest(event))
    payload = b"%d %d %b %b" % (previous, offset, times(event), whole)
    assert EncodedEvent(event).publish_command(b"%d %d" % (previous, offset))[-1] == payload
    published = PublishedFrame(payload)
    frame = msgspec.json.decode(whole, type=OrderFrame)
    assert (published.previous, published.offset, json.loads(whole)["o"]) == (previous, offset, offset)
    assert published.frame == text_frame(whole)
    assert published.changed == int(event.time.timestamp() * 1000)
    assert (frame.id, frame.traceparent, frame.journey) == (event.id, event.traceparent, event.journey)
    data = event.data
    view = (data.order_id, data.status, data.amount, data.description, data.version, data.reason)
    assert msgspec.structs.astuple(frame.order) == view


@given(events, st.lists(hops, min_size=1, max_size=3))
def test_extending_an_encoded_journey_equals_decoding_appending_and_encoding(
    written: Outgoing, more: list[Hop]
) -> None:
    event = read(written.event)
    extended = written.event
    for hop in more:
        extended = journey.extend(extended, journey.encode_hop(hop))
    longer = (*event.journey, *more) if event.journey else ()
    assert extended == msgspec.json.encode(msgspec.structs.replace(event, journey=longer))


@given(events)
def test_the_trace_of_an_event_is_found_without_parsing_it(written: Outgoing) -> None:
    assert tracing.of_event(written.event) == read(written.event).traceparent


@given(events)
def test_a_log_line_has_the_event_its_order_and_its_trace(written: Outgoing) -> None:
    event = read(written.event)
    trace_id = event.traceparent.split("-")[1] if event.traceparent else ""
    assert event_log.log_fields(written.event) == {
        "event_id": str(event.id),
        "order_id": event.subject,
        "trace_id": trace_id,
    }


@given(st.lists(events, min_size=1, max_size=5))
def test_the_events_of_a_message_are_decoded_byte_for_byte(written: list[Outgoing]) -> None:
    encoded = [event.event for event in written]
    body = encode_batch(encoded)
    assert decode_batch(body) == encoded
    assert json.loads(body) == [json.loads(event) for event in encoded]
