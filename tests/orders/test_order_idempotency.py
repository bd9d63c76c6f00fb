import asyncio

import aiohttp
import pytest

from orders import place_order
from orders.place_order import NewOrder, Placed, PlaceOrders
from shopkit.db.database import Database
from shopkit.web.problems import Problem
from tests.conftest import Spawn
from tests.servers import rows
from tests.support import Answer, Caller, free_port

PATH = "/api/orders"
LAMP = {"amount": 500, "description": "a lamp"}


async def written(shared_database: Database, buyer: Caller) -> tuple[int, int]:
    """Returns the number of orders of the user, and of their events in the outbox."""
    orders = await rows(shared_database, "SELECT id FROM orders WHERE user_id = :user_id", user_id=buyer.user_id)
    events = await rows(
        shared_database,
        "SELECT 1 FROM outbox WHERE convert_from(event, 'UTF8') LIKE '%' || CAST(:user_id AS text) || '%'",
        user_id=buyer.user_id,
    )
    return len(orders), len(events)


async def test_a_repeated_request_replays_the_first_response_and_places_no_order(
    shared_database: Database, buyer: Caller
) -> None:
    first = await buyer.call("POST", PATH, LAMP, Idempotency_Key="one")
    again = await buyer.call("POST", PATH, LAMP, Idempotency_Key='"one"')
    assert (first.status, again.status) == (201, 201)
    assert again.body == first.body
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await written(shared_database, buyer) == (1, 1)


async def test_the_first_response_is_replayed_after_the_order_was_decided(
    shared_database: Database, buyer: Caller
) -> None:
    first = await buyer.call("POST", PATH, LAMP, Idempotency_Key="one")
    await rows(
        shared_database, "UPDATE orders SET status = 'FINISHED', version = 2 WHERE user_id = :u", u=buyer.user_id
    )
    again = await buyer.call("POST", PATH, LAMP, Idempotency_Key="one")
    assert again.body == first.body


@pytest.mark.parametrize(
    "other", [{"amount": 501, "description": "a lamp"}, {"amount": 500, "description": "a cat"}]
)
async def test_a_key_used_with_another_body_is_refused(
    shared_database: Database, buyer: Caller, other: dict[str, object]
) -> None:
    await buyer.call("POST", PATH, LAMP, Idempotency_Key="one")
    answer = await buyer.call("POST", PATH, other, Idempotency_Key="one")
    assert (answer.status, answer.fields()) == (422, {"Idempotency-Key"})
    assert await written(shared_database, buyer) == (1, 1)


async def test_a_malformed_key_is_refused_and_nothing_is_written(shared_database: Database, buyer: Caller) -> None:
    answer = await buyer.call("POST", PATH, LAMP, Idempotency_Key="k" * 256)
    assert (answer.status, answer.fields()) == (400, {"Idempotency-Key"})
    assert await written(shared_database, buyer) == (0, 0)


async def test_two_users_can_use_the_same_key(shared_database: Database, buyer: Caller) -> None:
    other = Caller(buyer.session, buyer.url)
    mine = await buyer.call("POST", PATH, LAMP, Idempotency_Key="one")
    theirs = await other.call("POST", PATH, LAMP, Idempotency_Key="one")
    assert mine.body["id"] != theirs.body["id"]
    assert "Idempotency-Replayed" not in theirs.headers


async def test_without_a_key_every_request_places_an_order(shared_database: Database, buyer: Caller) -> None:
    for _ in range(3):
        await buyer.call("POST", PATH, LAMP)
    assert await written(shared_database, buyer) == (3, 3)


async def test_requests_that_race_with_one_key_on_two_replicas_place_one_order(
    spawn: Spawn, session: aiohttp.ClientSession, orders_database: Database, orders_url: str
) -> None:
    settings = {"DATABASE_URL": orders_url, "BROKER_URL": f"amqp://nobody@127.0.0.1:{free_port()}/"}
    replicas = [await spawn("orders", wait=False, **settings) for _ in range(2)]
    for replica in replicas:
        await replica.has_its_database(session)
    callers = [Caller(session, replica.url, "ann") for replica in replicas]

    async def race(key: str) -> list[Answer]:
        return list(
            await asyncio.gather(*(callers[n % 2].call("POST", PATH, LAMP, Idempotency_Key=key) for n in range(10)))
        )

    answers = await asyncio.gather(*map(race, [f"key-{n}" for n in range(10)]))

    for same_key in answers:
        assert {answer.status for answer in same_key} == {201}
        assert len({answer.body["id"] for answer in same_key}) == 1
        assert sum("Idempotency-Replayed" not in answer.headers for answer in same_key) == 1
    assert len(await rows(orders_database, "SELECT 1 FROM orders")) == 10
    assert len(await rows(orders_database, "SELECT 1 FROM outbox")) == 10


async def test_new_orders_succeed_if_a_repeated_key_in_their_batch_cannot_be_looked_up(
    orders_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = PlaceOrders(orders_database, "orders-1", lambda: None)
    await place.place([NewOrder("ann", 500, "a lamp", "key")])
    monkeypatch.setattr(place_order, "ORDERS_BY_KEY", "SELECT 1 / 0")
    new, repeated = NewOrder("ann", 700, "a cat"), NewOrder("ann", 500, "a lamp", "key")
    placed, refused = await place.place([new, repeated])
    assert isinstance(placed, Placed)
    assert placed.id == new.id
    assert isinstance(refused, Problem)
    assert refused.status == 503
    assert len(await rows(orders_database, "SELECT 1 FROM orders")) == 2
