from uuid import uuid4

import pytest

from shopkit.db.database import Database
from tests.servers import rows
from tests.support import Caller


async def test_an_order_is_shown_to_its_owner(buyer: Caller) -> None:
    order_id = await buyer.order(700, "a lamp")
    answer = await buyer.call("GET", f"/api/orders/{order_id}")
    assert answer.status == 200
    assert answer.body.keys() == {
        "id", "user_id", "amount", "description", "status", "version", "created_at", "updated_at", "journey",
    }  # fmt: skip
    assert (answer.body["id"], answer.body["user_id"]) == (order_id, buyer.user_id)


async def test_a_cancelled_order_says_why(buyer: Caller, shelf: Database) -> None:
    order_id = await buyer.order(700)
    await rows(
        shelf, "UPDATE orders SET status = 'CANCELLED', reason = 'no_account' WHERE id::text = :id", id=order_id
    )
    order = (await buyer.call("GET", f"/api/orders/{order_id}")).body
    assert (order["status"], order["reason"]) == ("CANCELLED", "no_account")


async def test_an_order_of_another_user_is_as_unknown_as_one_that_never_was(buyer: Caller) -> None:
    order_id = await buyer.order(700)
    stranger = Caller(buyer.session, buyer.url)
    theirs = await stranger.call("GET", f"/api/orders/{order_id}")
    never = await stranger.call("GET", f"/api/orders/{uuid4()}")
    assert theirs.status == never.status == 404
    assert theirs.fields() == never.fields() == set()
    assert theirs.body | {"instance": ""} == never.body | {"instance": ""}


@pytest.mark.parametrize("order_id", ["7", "lamp", "0190a6b2-7c1e-7000-8000-00000000000g", "%00", "a%20b"])
async def test_a_malformed_id_is_refused(buyer: Caller, order_id: str) -> None:
    answer = await buyer.call("GET", f"/api/orders/{order_id}")
    assert (answer.status, answer.fields()) == (400, {"order_id"})
