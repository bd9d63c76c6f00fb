"""Each service decodes the events of the others, although no service imports the code of another."""

from uuid import uuid4

import msgspec
import pytest

import notifier.messages
import orders.messages
import payments.messages
from gozon.topology import TOPOLOGY
from shopkit.messaging.events import Outgoing

ORDER, USER = uuid4(), "a-user"


def created() -> Outgoing:
    return orders.messages.order_created(ORDER, USER, 500)


def decided(reason: str | None) -> Outgoing:
    return payments.messages.payment_decided(ORDER, USER, 500, reason)


def changed(status: str, reason: str | None) -> Outgoing:
    order = orders.messages.OrderStatus(ORDER, USER, 500, "a lamp", status, 2, reason)
    return orders.messages.status_changed(order)


def test_payments_reads_what_orders_writes() -> None:
    event = payments.messages.decode_order_created(created().event)
    assert (event.data.order_id, event.data.user_id, event.data.amount) == (ORDER, USER, 500)
    assert event.subject == str(ORDER)


@pytest.mark.parametrize(("reason", "status"), [(None, "FINISHED"), ("no_account", "CANCELLED")])
def test_orders_reads_what_payments_writes(reason: str | None, status: str) -> None:
    event = orders.messages.decode_payment_event(decided(reason).event)
    assert (event.data.order_id, event.status, event.data.reason) == (ORDER, status, reason)


@pytest.mark.parametrize(("status", "reason"), [("FINISHED", None), ("CANCELLED", "insufficient_funds")])
def test_the_notifier_reads_what_orders_writes(status: str, reason: str | None) -> None:
    event = notifier.messages.decode_order_status(changed(status, reason).event)
    assert (event.data.order_id, event.data.status, event.data.reason) == (ORDER, status, reason)
    assert (event.data.description, event.data.version) == ("a lamp", 2)


@pytest.mark.parametrize(
    "event", [created(), decided(None), decided("no_account"), changed("FINISHED", None), changed("CANCELLED", "x")]
)
def test_every_event_is_a_cloud_event_and_has_a_queue(event: Outgoing) -> None:
    decoded = msgspec.json.decode(event.event)
    assert decoded["specversion"] == "1.0"
    assert decoded["type"] == event.routing_key
    assert {"id", "source", "subject", "time", "data"} <= set(decoded)
    assert [queue for queue in TOPOLOGY if event.routing_key in queue.routing_keys]
