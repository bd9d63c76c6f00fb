import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from orders.place_order import NewOrder, PlaceOrders
from shopkit.db.database import Database
from tests.servers import rows
from tests.support import Caller

ORDER: dict[str, Any] = {"amount": 199_90, "description": "a lamp"}
HIGHEST_AMOUNT = 10**12


def order(**changes: Any) -> bytes:
    return json.dumps(ORDER | changes).encode()


def without(field: str) -> bytes:
    return json.dumps({name: value for name, value in ORDER.items() if name != field}).encode()


async def written(database: Database) -> tuple[int, int]:
    """Returns the number of orders and of outbox rows."""
    (row,) = await rows(database, "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM outbox)")
    return row[0], row[1]


async def test_an_order_is_accepted_as_new(buyer: Caller) -> None:
    answer = await buyer.call("POST", "/api/orders", ORDER)
    assert answer.status == 201
    assert answer.headers["Location"] == f"/api/orders/{answer.body['id']}"
    created = {name: answer.body[name] for name in ("user_id", "amount", "description", "status", "version")}
    assert created == ORDER | {"user_id": buyer.user_id, "status": "NEW", "version": 1}
    shown = (await buyer.call("GET", answer.headers["Location"])).body
    (accepted,) = shown.pop("journey")
    assert accepted["hop"] == "accepted"
    assert shown == answer.body


async def test_responses_to_a_user_forbid_caching(buyer: Caller) -> None:
    placed = await buyer.call("POST", "/api/orders", ORDER)
    listed = await buyer.call("GET", "/api/orders")
    shown = await buyer.call("GET", placed.headers["Location"])
    unknown = await buyer.call("GET", f"/api/orders/{UUID(int=1)}")
    refused = await buyer.call("POST", "/api/orders", {})
    assert [answer.status for answer in (placed, listed, shown, unknown, refused)] == [201, 200, 200, 404, 400]
    for answer in (placed, listed, shown, unknown, refused):
        assert answer.headers["Cache-Control"] == "no-store"


async def test_the_order_and_its_one_event_are_written_in_one_transaction(
    buyer: Caller, shared_database: Database
) -> None:
    order_id = await buyer.order(500)
    (row,) = await rows(
        shared_database,
        """
        SELECT orders.status, orders.xmin = outbox.xmin AS together, routing_key, event FROM orders
        JOIN outbox ON convert_from(event, 'UTF8')::jsonb ->> 'subject' = orders.id::text
        WHERE orders.id = :id
        """,
        id=UUID(order_id),
    )
    assert (row.status, row.together, row.routing_key) == ("NEW", True, "order.created")
    event = json.loads(row.event)
    assert event["data"] == {"order_id": order_id, "user_id": buyer.user_id, "amount": 500}
    assert (event["specversion"], event["source"], event["type"]) == ("1.0", "orders", "order.created")


async def test_no_order_is_written_without_its_event(orders_database: Database) -> None:
    await rows(orders_database, "ALTER TABLE outbox ADD CHECK (false)")
    with pytest.raises(Exception, match="violates check constraint"):
        await PlaceOrders(orders_database, "orders-1", lambda: None).place([NewOrder("ann", 1, "a lamp")])
    assert await written(orders_database) == (0, 0)


@pytest.mark.parametrize("amount", [1, HIGHEST_AMOUNT])
@pytest.mark.parametrize("description", ["x", "ы" * 500, '🪔\n\t"quoted" <b>\'; DROP TABLE orders'])
async def test_values_within_the_limits_are_stored_unchanged(buyer: Caller, amount: int, description: str) -> None:
    order_id = await buyer.order(amount, description)
    shown = (await buyer.call("GET", f"/api/orders/{order_id}")).body
    assert (shown["amount"], shown["description"]) == (amount, description)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param(b"{", "body", id="not-json"),
        pytest.param(b'{"amount": 1, "description": "\xff"}', "body", id="not-utf-8"),
        pytest.param(b"", "body", id="nothing"),
        pytest.param(b"null", "body", id="null"),
        pytest.param(b"[]", "body", id="array"),
        pytest.param(b"[" * 60_000, "body", id="deep"),
        pytest.param(b"{}", "amount", id="empty-object"),
        pytest.param(without("amount"), "amount", id="no-amount"),
        pytest.param(without("description"), "description", id="no-description"),
        pytest.param(order(colour="red"), "colour", id="unknown-field"),
        pytest.param(order(user_id="bob"), "user_id", id="user-id"),
        pytest.param(order(status="FINISHED"), "status", id="status"),
        pytest.param(order(amount=None), "amount", id="amount-null"),
        pytest.param(order(amount=0), "amount", id="amount-0"),
        pytest.param(order(amount=-1), "amount", id="amount-negative"),
        pytest.param(order(amount=1.5), "amount", id="amount-fraction"),
        pytest.param(order(amount="100"), "amount", id="amount-string"),
        pytest.param(order(amount=True), "amount", id="amount-bool"),
        pytest.param(order(amount=HIGHEST_AMOUNT + 1), "amount", id="amount-over"),
        pytest.param(order(amount=2**64), "amount", id="amount-over-64-bits"),
        pytest.param(b'{"amount": %s, "description": "x"}' % (b"9" * 5000), "amount", id="amount-huge"),
        pytest.param(order(amount=[1]), "amount", id="amount-array"),
        pytest.param(order(description=None), "description", id="description-null"),
        pytest.param(order(description=""), "description", id="description-empty"),
        pytest.param(order(description="x" * 501), "description", id="description-501"),
        pytest.param(order(description="a\x00b"), "description", id="description-nul"),
        pytest.param(order(description=7), "description", id="description-number"),
        pytest.param(b'{"amount": 1, "description": "\\ud800"}', "body", id="lone-surrogate"),
    ],
)
async def test_a_bad_order_is_refused_naming_the_field_and_nothing_is_written(
    buyer: Caller, shared_database: Database, body: bytes, field: str
) -> None:
    before = await written(shared_database)
    answer = await buyer.call("POST", "/api/orders", body)
    assert (answer.status, answer.fields()) == (400, {field})
    assert answer.body["instance"] == "/api/orders"
    assert await written(shared_database) == before


async def test_a_whole_number_with_a_point_is_an_integer(buyer: Caller) -> None:
    answer = await buyer.call("POST", "/api/orders", b'{"amount": 1.9990e4, "description": "a lamp"}')
    assert (answer.status, answer.body["amount"]) == (201, 19990)


@pytest.mark.parametrize("user_id", ["", "a b", "x" * 65, "a/b", "ann;", "ann,bob"])
async def test_a_malformed_user_id_is_refused(buyer: Caller, shared_database: Database, user_id: str) -> None:
    before = await written(shared_database)
    answer = await buyer.call("POST", "/api/orders", ORDER, X_User_Id=user_id)
    assert (answer.status, answer.fields()) == (400, {"X-User-Id"})
    assert await written(shared_database) == before


async def test_a_request_without_a_user_id_is_unauthorized(buyer: Caller, shared_database: Database) -> None:
    before = await written(shared_database)
    async with buyer.session.post(buyer.url + "/api/orders", json=ORDER) as response:
        problem = json.loads(await response.read())
    assert (response.status, response.content_type) == (401, "application/problem+json")
    assert problem["type"] == "urn:gozon:problem:missing-user"
    assert await written(shared_database) == before


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/jsonx"])
async def test_a_content_type_other_than_json_gets_415(
    buyer: Caller, shared_database: Database, content_type: str
) -> None:
    before = await written(shared_database)
    answer = await buyer.call("POST", "/api/orders", order(), Content_Type=content_type)
    assert (answer.status, answer.fields()) == (415, set())
    assert await written(shared_database) == before


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_64_kib_gets_413(buyer: Caller, shared_database: Database, chunked: bool) -> None:
    before = await written(shared_database)
    body = order(description="x" * 65 * 1024)

    async def chunks() -> Any:
        for start in range(0, len(body), 8192):
            yield body[start : start + 8192]

    async with buyer.session.post(
        buyer.url + "/api/orders",
        data=chunks() if chunked else body,
        headers={"X-User-Id": buyer.user_id, "Content-Type": "application/json"},
    ) as response:
        assert (response.status, response.content_type) == (413, "application/problem+json")
    assert await written(shared_database) == before


async def test_concurrent_orders_keep_their_own_users_and_contents(
    buyer: Caller, shared_database: Database
) -> None:
    before = await written(shared_database)
    buyers = [Caller(buyer.session, buyer.url) for _ in range(5)]
    placed = await asyncio.gather(*(buyers[n % 5].order(n + 1, f"lamp {n}") for n in range(200)))
    assert len(set(placed)) == 200
    assert await written(shared_database) == (before[0] + 200, before[1] + 200)
    stored = await rows(
        shared_database,
        "SELECT id, user_id, amount, description FROM orders WHERE id = ANY (CAST(:ids AS uuid[]))",
        ids=[UUID(order_id) for order_id in placed],
    )
    assert {(str(row.id), row.user_id, row.amount, row.description) for row in stored} == {
        (order_id, buyers[n % 5].user_id, n + 1, f"lamp {n}") for n, order_id in enumerate(placed)
    }
