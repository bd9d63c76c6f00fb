import asyncio

from payments.accounts import NewTopUp, TopUpResult, TopUps, open_account
from shopkit.db.database import Database
from shopkit.web.problems import Problem
from tests.servers import rows
from tests.support import Caller

PATH = "/api/payments/account/top-ups"


async def test_a_repeated_top_up_replays_the_first_response_and_adds_nothing(payer: Caller) -> None:
    await payer.open_account()
    first = await payer.call("POST", PATH, {"amount": 500}, Idempotency_Key="one")
    await payer.top_up(1)
    again = await payer.call("POST", PATH, {"amount": 500}, Idempotency_Key="one")
    assert (first.status, again.status) == (201, 201)
    assert again.body == first.body
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert await payer.balance() == 501


async def test_a_key_used_with_another_amount_is_refused(payer: Caller) -> None:
    await payer.open_account()
    await payer.call("POST", PATH, {"amount": 500}, Idempotency_Key="one")
    answer = await payer.call("POST", PATH, {"amount": 501}, Idempotency_Key="one")
    assert (answer.status, answer.fields()) == (422, {"Idempotency-Key"})
    assert await payer.balance() == 500


async def test_a_malformed_key_is_refused_and_nothing_is_added(payer: Caller) -> None:
    await payer.open_account()
    answer = await payer.call("POST", PATH, {"amount": 500}, Idempotency_Key="two words")
    assert (answer.status, answer.fields()) == (400, {"Idempotency-Key"})
    assert await payer.balance() == 0


async def test_a_key_can_be_used_again_after_a_missing_account(payer: Caller) -> None:
    refused = await payer.call("POST", PATH, {"amount": 500}, Idempotency_Key="one")
    await payer.open_account()
    answer = await payer.call("POST", PATH, {"amount": 500}, Idempotency_Key="one")
    assert (refused.status, answer.status) == (404, 201)
    assert await payer.balance() == 500


async def test_a_key_repeated_in_one_batch_takes_effect_once(payments_database: Database) -> None:
    await open_account(payments_database, "ann")
    outcomes = await TopUps(payments_database).top_up(
        [NewTopUp("ann", 5, "k"), NewTopUp("ann", 5, "k"), NewTopUp("ann", 6, "k"), NewTopUp("ann", 7)]
    )
    first, again, other, unkeyed = outcomes
    assert isinstance(first, TopUpResult)
    assert not first.replayed
    assert again == TopUpResult(first.topped_up, True)
    assert isinstance(other, Problem)
    assert other.status == 422
    assert isinstance(unkeyed, TopUpResult)
    assert unkeyed.topped_up.balance_after == 12


async def test_concurrent_top_ups_with_one_key_take_effect_once(payments_database: Database) -> None:
    await open_account(payments_database, "ann")
    flushes = [TopUps(payments_database) for _ in range(8)]  # each stands for a replica

    outcomes = await asyncio.gather(*(flush.top_up([NewTopUp("ann", 5, "k")]) for flush in flushes))

    results = [outcome for [outcome] in outcomes if isinstance(outcome, TopUpResult)]
    assert len(results) == 8
    assert len({result.topped_up.id for result in results}) == 1
    assert sum(not result.replayed for result in results) == 1
    assert [row.balance for row in await rows(payments_database, "SELECT balance FROM accounts")] == [5]
