"""The trace and the journey of an order, from a request at the gateway to a WebSocket frame, with real replicas."""

import re
from datetime import datetime
from typing import Any
from uuid import UUID

from orders.messages import order_created
from tests.collector import collecting
from tests.contracts.conftest import MakeChain
from tests.servers import Broker

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
VALID = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01")
MALFORMED = [
    "",
    "nonsense",
    GIVEN[:-1],
    GIVEN.upper(),
    GIVEN.replace("00-0af", "ff-0af"),
    f"00-{'0' * 32}-b7ad6b7169203331-01",
    f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
]
UNSET, OK, ERROR = 0, 1, 2
HOPS = ["accepted", "relayed", "received", "settled", "result_relayed", "updated"]
IMPORTED = re.compile(r"^import time:.* opentelemetry\.(sdk|exporter)$", re.MULTILINE)


def at(hop: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(hop["at"])


async def test_a_trace_and_a_journey_reach_the_frame_from_the_request(
    make_chain: MakeChain, broker: Broker
) -> None:
    chain = await make_chain(LOG_LEVEL="DEBUG", PYTHONPROFILEIMPORTTIME="1")
    caller = chain.caller()
    await caller.open_account(1_000)
    socket = await chain.socket(caller)
    order_id = await chain.place(caller, traceparent=GIVEN)
    frame = await socket.next_order()
    events = await chain.events(order_id)

    assert [event["type"] for event in events] == ["order.created", "payment.succeeded", "order.finished"]
    assert {event["traceparent"] for event in events} | {frame["traceparent"]} == {GIVEN}

    order = await caller.decided(order_id)
    orders, payments = chain.orders.name, chain.payments.name
    journey = order["journey"]
    assert [hop["hop"] for hop in journey] == HOPS
    assert [hop["replica"] for hop in journey] == [orders, orders, payments, payments, payments, orders]
    assert sorted(journey, key=at) == journey
    assert frame["journey"] == journey == events[-1]["journey"]
    assert datetime.fromisoformat(order["created_at"]) <= at(journey[1])

    await publish_again_without_trace(broker, caller.user_id, order_id)
    again = (await chain.events(order_id, 5))[-1]
    assert [hop["hop"] for hop in again["journey"]] == ["received", "settled", "result_relayed"]
    assert (again["type"], again.get("traceparent")) == ("payment.succeeded", None)

    fresh = await new_traces_of(chain)
    assert len(fresh) == len(MALFORMED) + 1
    assert all(VALID.fullmatch(traceparent) for traceparent in fresh)
    assert GIVEN[3:35] not in {traceparent[3:35] for traceparent in fresh}

    assert (await caller.decided(order_id))["journey"] == journey
    await chain.stop()
    steps = [line for line in chain.lines(order_id=order_id, trace_id=GIVEN[3:35]) if line["level"] == "debug"]
    assert sorted((line["event"], line["event_id"]) for line in steps) == sorted(
        (step, event["id"])
        for event, of_event in zip(
            events,
            [
                ["accepted", "relayed", "received", "settled"],
                ["result_relayed"],
                ["updated", "relayed", "notified"],
            ],
            strict=True,
        )
        for step in of_event
    )
    imported = {replica.service: IMPORTED.findall(replica.log()) for replica in chain.replicas}
    # The library of Redis looks for the SDK by itself.
    assert imported == {"gateway": [], "orders": [], "payments": [], "notifier": ["sdk"]}


async def publish_again_without_trace(broker: Broker, user_id: str, order_id: str) -> None:
    """Publishes an order.created of a decided order, as a release without journeys and traces wrote it."""
    await broker.publish(order_created(UUID(order_id), user_id, 100))


async def new_traces_of(chain: Any) -> set[str]:
    """Places orders without a traceparent and with malformed ones. Returns the traceparents of their events."""
    caller = chain.caller()
    placed = [await chain.place(caller)]
    placed += [await chain.place(caller, traceparent=given) for given in MALFORMED]
    traceparents = [{event["traceparent"] for event in await chain.events(order_id)} for order_id in placed]
    assert all(len(of_order) == 1 for of_order in traceparents)
    return set[str]().union(*traceparents)


async def test_the_spans_of_an_order_form_one_tree_with_links_to_batches(make_chain: MakeChain) -> None:
    async with collecting() as collector:
        # With this delay no span is sent before the replicas stop, so the test sees that a stop sends all spans.
        chain = await make_chain(
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="600000", PYTHONPROFILEIMPORTTIME="1"
        )
        caller = chain.caller()
        socket = await chain.socket(caller)
        order_id = await chain.place(caller, traceparent=GIVEN)
        frame = await socket.next_order()
        created, decided, finished = await chain.events(order_id)
        assert (await caller.call("GET", f"/api/orders/{order_id}x")).status == 400
        await chain.stop()
    assert all({*IMPORTED.findall(replica.log())} == {"sdk", "exporter"} for replica in chain.replicas)

    spans = collector.of(GIVEN[3:35])
    way = [
        ("gateway", "POST /api/orders"),
        ("orders", "POST /api/orders"),
        ("payments", "settle"),
        ("orders", "update"),
        ("notifier", "notify"),
    ]
    assert spans.keys() == set(way)
    gateway, orders, settle, update, notify = (spans[step] for step in way)
    parents = [span.parent for span in (gateway, orders, settle, update, notify)]
    assert parents == [GIVEN[36:52], gateway.id, orders.id, settle.id, update.id]
    assert [span.replica for span in (gateway, orders, settle)] == [r.name for r in chain.replicas[:3]]
    assert (gateway.answered, orders.answered, gateway.status) == (201, 201, UNSET)
    assert created["traceparent"] == orders.traceparent
    assert decided["traceparent"] == settle.traceparent
    assert finished["traceparent"] == update.traceparent
    assert frame["traceparent"] == notify.traceparent

    def linked(service: str, name: str) -> list[str]:
        (batch,) = [span for span in collector.named(name) if span.service == service and span.links]
        assert (batch.parent, batch.status != ERROR, batch.trace != GIVEN[3:35]) == ("", True, True)
        return batch.links

    assert linked("orders", "place orders") == [orders.id]
    assert linked("payments", "handle payments.order-created") == [orders.id]
    assert linked("payments", "process the inbox") == [orders.id]
    assert linked("payments", "relay") == [settle.id]
    assert linked("orders", "handle orders.payment-results") == [settle.id]
    assert linked("notifier", "handle notifier.order-status") == [update.id]
    relays = [span for span in collector.named("relay") if span.service == "orders"]
    assert sorted(span.links for span in relays) == sorted([[orders.id], [update.id]])  # none of an empty outbox

    for child, batch in (
        (settle, "process the inbox"),
        (update, "handle orders.payment-results"),
        (notify, "handle notifier.order-status"),
    ):
        assert child.links == [span.id for span in collector.named(batch)]
        assert child.status == OK
    refused = [span for span in collector.spans if span.answered == 400]
    assert {(span.service, span.status) for span in refused} == {("gateway", UNSET), ("orders", UNSET)}
