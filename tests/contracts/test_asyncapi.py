"""docs/asyncapi.yaml agrees with the code: types, fields, examples, queues, close codes."""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import aiohttp
import msgspec
import pytest
from jsonschema import ValidationError

import notifier.messages
import orders.messages
import payments.messages
from gozon import hops
from gozon.topology import TOPOLOGY
from notifier.close_codes import Close
from notifier.messages import FRAME_START, Ack, OrderFrame, OrderView, Ping, Pong, Renew, RenewTicket, Welcome
from payments.decisions import INSUFFICIENT_FUNDS, NO_ACCOUNT
from shopkit.messaging.events import BATCH_CONTENT_TYPE, BATCH_LIMIT, Event, Outgoing
from shopkit.messaging.journey import Hop
from tests.contracts import asyncapi

DOCUMENT = asyncapi.document()
CHANNELS, OPERATIONS = DOCUMENT["channels"], DOCUMENT["operations"]
MESSAGES, SCHEMAS = DOCUMENT["components"]["messages"], DOCUMENT["components"]["schemas"]

READERS = {
    "paymentsReceives": payments.messages.OrderCreatedEvent,
    "ordersReceives": orders.messages.PaymentEvent,
    "notifierReceives": notifier.messages.OrderStatusEvent,
}
DECODERS = {
    "order.created": payments.messages.decode_order_created,
    "payment.succeeded": orders.messages.decode_payment_event,
    "payment.failed": orders.messages.decode_payment_event,
    "order.finished": notifier.messages.decode_order_status,
    "order.cancelled": notifier.messages.decode_order_status,
}


def types(operation: str) -> set[str]:
    return {message["name"] for message in asyncapi.messages_of(OPERATIONS[operation])}


def examples(*messages: str) -> list[Any]:
    return [
        pytest.param(message, example["payload"], id=f"{message}, {example['name']}")
        for message in messages
        for example in MESSAGES[message]["examples"]
    ]


EVENTS = ["orderCreated", "paymentSucceeded", "paymentFailed", "orderFinished", "orderCancelled"]
FRAMES = ["welcome", "order", "ping", "renew", "pong", "ack", "renewTicket"]


def test_every_event_type_with_a_queue_is_documented() -> None:
    routed = {routing_key for queue in TOPOLOGY for routing_key in queue.routing_keys}
    assert {MESSAGES[message]["name"] for message in EVENTS} == routed


@pytest.mark.parametrize("queue", TOPOLOGY, ids=lambda queue: queue.name)
def test_each_event_type_of_a_queue_is_sent_by_one_operation(queue: Any) -> None:
    (channel,) = [channel for channel in CHANNELS.values() if channel["address"] == queue.name]
    assert {message["name"] for message in channel["messages"].values()} == set(queue.routing_keys)
    assert queue.name in DOCUMENT["components"]["parameters"]["queue"]["enum"]
    sent = [types(name) for name, it in OPERATIONS.items() if it["action"] == "send" and it["channel"] == channel]
    assert sorted(kind for operation in sent for kind in operation) == sorted(queue.routing_keys)


@pytest.mark.parametrize("operation", READERS)
def test_a_consumer_documents_the_event_types_of_its_struct(operation: str) -> None:
    (kind,) = [field.type for field in msgspec.structs.fields(READERS[operation]) if field.name == "type"]
    assert types(operation) == set(get_args(kind))


@pytest.mark.parametrize(
    ("struct", "schemas"),
    [
        (Event, ["Event"]),
        (Hop, ["Hop"]),
        (orders.messages.OrderCreated, ["OrderCreated"]),
        (payments.messages.CreatedOrder, ["OrderCreated"]),
        (payments.messages.PaymentResult, ["PaymentSucceeded", "PaymentFailed"]),
        (orders.messages.DecidedPayment, ["PaymentSucceeded", "PaymentFailed"]),
        (orders.messages.OrderStatus, ["OrderFinished", "OrderCancelled"]),
        (notifier.messages.DecidedOrder, ["OrderFinished", "OrderCancelled"]),
        (OrderView, ["OrderView"]),
        *((struct, [struct.__name__]) for struct in (Welcome, Ping, Renew, Pong, Ack, RenewTicket)),
    ],
)
def test_schemas_have_the_fields_of_the_structs(struct: type[msgspec.Struct], schemas: list[str]) -> None:
    fields = msgspec.structs.fields(struct)
    tag = {struct.__struct_config__.tag_field} - {None}
    described = [SCHEMAS[schema] for schema in schemas]
    assert set[str]().union(*(schema["properties"] for schema in described)) == {f.name for f in fields} | tag
    assert set.intersection(*(set(schema["required"]) for schema in described)) == (
        {field.name for field in fields if field.required} | tag
    )


def test_an_order_frame_has_its_prefix_and_the_fields_of_its_struct() -> None:
    assert list(SCHEMAS["OrderFrame"]["properties"]) == ["type", "o", *OrderFrame.__struct_fields__]


def test_batch_limits_hops_and_reasons_match_the_code() -> None:
    for message in EVENTS:
        assert MESSAGES[message]["contentType"] == BATCH_CONTENT_TYPE
        assert MESSAGES[message]["payload"]["maxItems"] == BATCH_LIMIT
    assert SCHEMAS["Reason"]["enum"] == [NO_ACCOUNT, INSUFFICIENT_FUNDS]
    names = {value for name, value in vars(hops).items() if name.isupper() and isinstance(value, str)}
    assert set(SCHEMAS["Hop"]["properties"]["hop"]["enum"]) == names


@pytest.mark.parametrize(("message", "payload"), examples(*EVENTS, *FRAMES))
def test_every_example_is_valid_by_its_schema(message: str, payload: Any) -> None:
    assert asyncapi.allows(MESSAGES[message]["payload"], payload)
    asyncapi.must_be(MESSAGES[message]["payload"], payload)


@pytest.mark.parametrize("message", ["deadLetter", "resolvedLetter"])
def test_the_headers_of_every_example_are_valid(message: str) -> None:
    for example in MESSAGES[message]["examples"]:
        asyncapi.must_be(MESSAGES[message]["headers"], example["headers"])


@pytest.mark.parametrize(("message", "payload"), examples(*EVENTS))
def test_an_example_event_is_readable_and_is_what_its_writer_writes(message: str, payload: Any) -> None:
    for example in payload:
        event = DECODERS[MESSAGES[message]["name"]](json.dumps(example).encode())
        again = written_again(event)
        assert again.routing_key == MESSAGES[message]["name"]
        assert json.loads(again.event) | {"id": str(event.id), "time": example["time"]} == example


def written_again(event: Event[Any]) -> Outgoing:
    data, rest = event.data, (event.traceparent, event.journey)
    match event.type:
        case "order.created":
            return orders.messages.order_created(data.order_id, data.user_id, data.amount, *rest)
        case "payment.succeeded" | "payment.failed":
            return payments.messages.payment_decided(data.order_id, data.user_id, data.amount, data.reason, *rest)
        case _:
            return orders.messages.status_changed(
                orders.messages.OrderStatus(*msgspec.structs.astuple(data)), *rest
            )


@pytest.mark.parametrize(("message", "payload"), examples("welcome", "ping", "renew"))
def test_an_example_of_a_frame_is_what_notifier_writes(message: str, payload: Any) -> None:
    struct = {"welcome": Welcome, "ping": Ping, "renew": Renew}[message]
    frame = msgspec.json.decode(json.dumps(payload), type=struct)
    assert json.loads(msgspec.json.encode(frame)) == payload


@pytest.mark.parametrize(("message", "frame"), examples("order"))
def test_an_example_of_an_order_frame_is_made_from_an_example_of_an_event(message: str, frame: Any) -> None:
    examples_of_events = MESSAGES["orderFinished"]["examples"] + MESSAGES["orderCancelled"]["examples"]
    (event,) = [
        event for example in examples_of_events for event in example["payload"] if event["id"] == frame["id"]
    ]
    rest = notifier.messages.frame_rest(notifier.messages.decode_order_status(json.dumps(event).encode()))
    assert json.loads(FRAME_START + b"%d," % frame["o"] + rest) == frame


@pytest.mark.parametrize(("message", "payload"), examples("pong", "ack", "renewTicket"))
def test_an_example_of_a_client_frame_is_decoded(message: str, payload: Any) -> None:
    said = notifier.messages.decode_client_frame(json.dumps(payload))
    assert json.loads(msgspec.json.encode(said)) == payload
    assert type(said) is {"pong": Pong, "ack": Ack, "renewTicket": RenewTicket}[message]


def with_unknown_field(payload: Any) -> Iterator[Any]:
    """Yields a copy of `payload` for each of its objects, with an unknown field in that object."""
    encoded = json.dumps(payload)
    for start in re.finditer("{", encoded):
        yield json.loads(encoded[: start.end()] + '"unknown": 1, ' + encoded[start.end() :])


@pytest.mark.parametrize(("message", "payload"), examples(*EVENTS, *FRAMES))
def test_readers_accept_an_undocumented_field_and_our_tests_refuse_it(message: str, payload: Any) -> None:
    schema = MESSAGES[message]["payload"]
    for changed in with_unknown_field(payload):
        assert asyncapi.allows(schema, changed)
        with pytest.raises(ValidationError, match="unknown"):
            asyncapi.must_be(schema, changed)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("id", "17"), ("time", "yesterday"), ("traceparent", "00-1-1-01"), ("source", "notifier"), ("data", {})],
)
def test_a_wrong_value_is_refused(field: str, wrong: Any) -> None:
    [event] = MESSAGES["orderCreated"]["examples"][0]["payload"]
    assert not asyncapi.allows(MESSAGES["orderCreated"]["payload"], [event | {field: wrong}])


def test_documented_close_codes_match_the_code_and_the_protocol() -> None:
    described = {close["code"]: close["name"] for close in CHANNELS["socket"]["x-close-codes"]}
    protocol = {1002: "bad frame", 1007: "not UTF-8", 1009: "over 4 KiB"}
    assert described == protocol | {close.value: close.reason for close in Close}


async def test_the_broker_has_the_documented_exchanges_queues_and_bindings(
    servers: dict[str, Any], session: aiohttp.ClientSession
) -> None:
    async with session.get(f"{servers['broker_management']}/api/definitions/%2F") as response:
        broker = await response.json()
    described = list(asyncapi.amqp_bindings(DOCUMENT))
    exchanges = [binding["exchange"] for binding in described if binding["is"] == "routingKey"]
    queues = [binding["queue"] for binding in described if binding["is"] == "queue"]
    bound = [(binding["queue"]["name"], binding["x-bound-to"]) for binding in described if "x-bound-to" in binding]

    assert {e["name"]: (e["type"], e["durable"], e["auto_delete"]) for e in broker["exchanges"]} == {
        e["name"]: (e["type"], e["durable"], e["autoDelete"]) for e in exchanges
    }
    assert {q["name"]: (q["durable"], q["auto_delete"], q["arguments"]) for q in broker["queues"]} == {
        q["name"]: (q["durable"], q["autoDelete"], q["x-arguments"]) for q in queues
    }
    assert {(b["source"], b["routing_key"], b["destination"]) for b in broker["bindings"]} == {
        (to["exchange"], routing_key, queue) for queue, to in bound for routing_key in to["routingKeys"]
    }
