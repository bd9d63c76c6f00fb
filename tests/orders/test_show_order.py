from uuid import uuid4

import pytest

from shopkit.db.database import Database
from tests.servers import rows
from tests.support import Caller


async def test_a_user_can_read_their_own_order(buyer: Caller) -> None:
    order_id = await buyer.order(700, "a lamp")
    answer = await buyer.call("GET", f"/api/orders/{order_id}")
    assert answer.status == 200
    assert answer.body.keys() == {
        "id", "user_id", "amount", "description", "status", "version", "created_at", "updated_at", "journey",
    }  # fmt: skip
    assert (answer.body["id"], answer.body["user_id"]) == (order_id, buyer.user_id)


async def test_a_cancelled_order_has_a_reason(buyer: Caller, shared_database: Database) -> None:
    order_id = await buyer.order(700)
    await rows(
        shared_database,
        "UPDATE orders SET status = 'CANCELLED', reason = 'no_account' WHERE id::text = :id",
        id=order_id,
    )
    order = (await buyer.call("GET", f"/api/orders/{order_id}")).body
    assert (order["status"], order["reason"]) == ("CANCELLED", "no_account")


async def test_an_order_of_another_user_looks_like_a_missing_order(buyer: Caller) -> None:
    order_id = await buyer.order(700)
    stranger = Caller(buyer.session, buyer.url)
    theirs = await stranger.call("GET", f"/api/orders/{order_id}")
    missing = await stranger.call("GET", f"/api/orders/{uuid4()}")
    assert theirs.status == missing.status == 404
    assert theirs.fields() == missing.fields() == set()
    assert theirs.body | {"instance": ""} == missing.body | {"instance": ""}


@pytest.mark.parametrize("order_id", ["7", "lamp", "0190a6b2-7c1e-7000-8000-00000000000g", "%00", "a%20b"])
async def test_a_malformed_id_is_refused(buyer: Caller, order_id: str) -> None:
    answer = await buyer.call("GET", f"/api/orders/{order_id}")
    assert (answer.status, answer.fields()) == (400, {"order_id"})
