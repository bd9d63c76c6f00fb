import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from asyncpg import CheckViolationError

from payments.accounts import NewTopUp, TopUpResult, TopUps, open_account
from payments.decisions import BALANCE_LIMIT
from shopkit.db.database import Database
from shopkit.web.problems import Problem
from tests.payments.audit import audit
from tests.servers import rows
from tests.support import Caller

ACCOUNT = "/api/payments/account"
TOP_UPS = f"{ACCOUNT}/top-ups"
HIGHEST_AMOUNT = 10**12


async def written(database: Database) -> tuple[int, int]:
    """Returns the number of ledger entries and the sum of all balances."""
    (row,) = await rows(
        database, "SELECT (SELECT count(*) FROM ledger_entries), (SELECT sum(balance) FROM accounts)"
    )
    return row[0], row[1]


async def test_a_new_account_is_empty(payer: Caller) -> None:
    answer = await payer.call("POST", ACCOUNT)
    assert (answer.status, answer.headers["Location"]) == (201, ACCOUNT)
    assert (answer.body["user_id"], answer.body["balance"]) == (payer.user_id, 0)
    shown = await payer.call("GET", ACCOUNT)
    assert (shown.status, shown.body) == (200, answer.body)


async def test_opening_a_second_account_is_a_conflict_and_changes_nothing(payer: Caller) -> None:
    await payer.open_account(70)
    answer = await payer.call("POST", ACCOUNT)
    assert (answer.status, answer.fields()) == (409, set())
    assert await payer.balance() == 70


async def test_one_of_ten_concurrent_requests_opens_the_account(payer: Caller) -> None:
    answers = await asyncio.gather(*(payer.call("POST", ACCOUNT) for _ in range(10)))
    assert Counter(answer.status for answer in answers) == {201: 1, 409: 9}


async def test_without_an_account_there_is_no_balance_and_no_top_up(
    payer: Caller, shared_database: Database
) -> None:
    before = await written(shared_database)
    for answer in (await payer.call("GET", ACCOUNT), await payer.call("POST", TOP_UPS, {"amount": 1})):
        assert (answer.status, answer.fields()) == (404, set())
        assert answer.body["type"] == "urn:gozon:problem:no-account"
    assert await written(shared_database) == before


async def test_a_top_up_is_an_entry_in_the_ledger(payer: Caller, shared_database: Database) -> None:
    await payer.open_account(300)
    answer = await payer.call("POST", TOP_UPS, {"amount": HIGHEST_AMOUNT})
    assert answer.status == 201
    assert (answer.body["amount"], answer.body["balance_after"]) == (HIGHEST_AMOUNT, HIGHEST_AMOUNT + 300)
    assert await payer.balance() == HIGHEST_AMOUNT + 300
    (entry,) = await rows(
        shared_database,
        """
        SELECT user_id, kind, amount, order_id, account_version, balance_after FROM ledger_entries
        WHERE id::text = :id
        """,
        id=answer.body["id"],
    )
    assert entry == (payer.user_id, "top_up", HIGHEST_AMOUNT, None, 2, HIGHEST_AMOUNT + 300)


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        pytest.param(b"{", "body", id="not-json"),
        pytest.param(b"", "body", id="nothing"),
        pytest.param(b"null", "body", id="null"),
        pytest.param(b"[100]", "body", id="array"),
        pytest.param(body(), "amount", id="no-amount"),
        pytest.param(body(amount=100, currency="RUB"), "currency", id="unknown-field"),
        pytest.param(body(amount=None), "amount", id="null-amount"),
        pytest.param(body(amount=0), "amount", id="zero"),
        pytest.param(body(amount=-100), "amount", id="negative"),
        pytest.param(body(amount=0.5), "amount", id="fraction"),
        pytest.param(body(amount="100"), "amount", id="string"),
        pytest.param(body(amount=True), "amount", id="bool"),
        pytest.param(body(amount=HIGHEST_AMOUNT + 1), "amount", id="over"),
        pytest.param(body(amount=10**30), "amount", id="huge"),
        pytest.param(b'{"amount": NaN}', "body", id="nan"),
    ],
)
async def test_a_bad_top_up_is_refused_naming_the_field_and_nothing_is_written(
    payer: Caller, shared_database: Database, sent: bytes, field: str
) -> None:
    await payer.open_account(50)
    before = await written(shared_database)
    answer = await payer.call("POST", TOP_UPS, sent)
    assert (answer.status, answer.fields()) == (400, {field})
    assert await written(shared_database) == before


@pytest.mark.parametrize(("method", "path"), [("POST", ACCOUNT), ("GET", ACCOUNT), ("POST", TOP_UPS)])
async def test_a_malformed_user_id_is_refused(payer: Caller, method: str, path: str) -> None:
    answer = await payer.call(method, path, {"amount": 1}, X_User_Id="a b")
    assert (answer.status, answer.fields()) == (400, {"X-User-Id"})


async def test_concurrent_top_ups_are_all_added(payer: Caller, shared_database: Database) -> None:
    await payer.open_account()
    amounts = range(1, 101)
    answers = await asyncio.gather(*(payer.call("POST", TOP_UPS, {"amount": amount}) for amount in amounts))
    assert [answer.body["amount"] for answer in answers] == list(amounts)
    assert max(answer.body["balance_after"] for answer in answers) == sum(amounts)
    assert len({answer.body["balance_after"] for answer in answers}) == 100
    assert (await audit(shared_database))[payer.user_id] == sum(amounts)


async def test_each_top_up_of_a_batch_is_a_ledger_entry(payments_database: Database) -> None:
    await open_account(payments_database, "ann")
    await open_account(payments_database, "bob")
    results = await TopUps(payments_database).top_up(
        [NewTopUp("ann", 10), NewTopUp("bob", 5), NewTopUp("ann", 20), NewTopUp("ann", 30)]
    )
    assert [result.topped_up.balance_after for result in results if isinstance(result, TopUpResult)] == [
        10,
        5,
        30,
        60,
    ]
    assert await audit(payments_database) == {"ann": 60, "bob": 5}
    assert len(await rows(payments_database, "SELECT DISTINCT xmin FROM ledger_entries")) == 1


async def test_in_a_batch_only_the_top_up_without_an_account_fails(
    payments_database: Database,
) -> None:
    await open_account(payments_database, "ann")
    first, refused, last = await TopUps(payments_database).top_up(
        [NewTopUp("ann", 10), NewTopUp("nobody", 5), NewTopUp("ann", 20)]
    )
    assert isinstance(first, TopUpResult)
    assert isinstance(refused, Problem)
    assert refused.status == 404
    assert isinstance(last, TopUpResult)
    assert await audit(payments_database) == {"ann": 30}


async def test_a_balance_never_changes_without_a_ledger_entry(payments_database: Database) -> None:
    await open_account(payments_database, "ann")
    await rows(payments_database, "ALTER TABLE ledger_entries ADD CHECK (amount < 100)")
    with pytest.raises(Exception, match="violates check constraint"):
        await TopUps(payments_database).top_up([NewTopUp("ann", 10), NewTopUp("ann", 100)])
    assert await audit(payments_database) == {"ann": 0}


async def test_in_a_batch_only_the_top_up_above_the_balance_limit_fails(payments_database: Database) -> None:
    await open_account(payments_database, "rich")
    await open_account(payments_database, "neighbour")
    top_ups = TopUps(payments_database)
    await top_ups.top_up([NewTopUp("rich", HIGHEST_AMOUNT) for _ in range(BALANCE_LIMIT // HIGHEST_AMOUNT)])
    await top_ups.top_up([NewTopUp("rich", BALANCE_LIMIT % HIGHEST_AMOUNT)])
    outcomes = await top_ups.top_up([NewTopUp("neighbour", 5), NewTopUp("rich", 1), NewTopUp("neighbour", 6)])
    first, refused, last = outcomes
    assert isinstance(first, TopUpResult)
    assert isinstance(last, TopUpResult)
    assert isinstance(refused, Problem)
    assert (refused.status, refused.slug) == (422, "balance-limit")
    accounts = await rows(payments_database, "SELECT user_id, balance FROM accounts ORDER BY user_id")
    assert [tuple(account) for account in accounts] == [("neighbour", 11), ("rich", BALANCE_LIMIT)]
    await audit(payments_database)


async def test_the_database_refuses_a_balance_above_the_limit(payments_database: Database) -> None:
    await open_account(payments_database, "rich")
    with pytest.raises(CheckViolationError, match="accounts_balance_limit"):
        await rows(payments_database, "UPDATE accounts SET balance = :balance", balance=BALANCE_LIMIT + 1)
