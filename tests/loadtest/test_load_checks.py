"""The checks of a load get histories with one mistake each, and must name it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from loadtest.load.checks import CheckResult, judge
from loadtest.load.history import History, OrderHistory, declined, paid
from loadtest.load.parameters import LoadError
from loadtest.load.run import nothing_restarted
from loadtest.load.scale import scale

PAID = paid("order-1", 300)
TOO_EXPENSIVE = declined("order-2", 10**12, "insufficient_funds")
ORDERS = PAID, TOO_EXPENSIVE

ALICE = History(
    user_id="alice", placed=ORDERS, pages=[ORDERS, ORDERS[::-1]], listed=ORDERS, topped_up=1_000, balance=700
)
BOB_HAS_NO_ACCOUNT = History(
    user_id="bob",
    placed=[declined("order-3", 200, "no_account")],
    pages=[[declined("order-3", 200, "no_account")]],
    listed=[declined("order-3", 200, "no_account")],
)


def judged(**changed: object) -> dict[str, CheckResult]:
    """Returns the verdicts by name, with some fields of Alice's history changed."""
    alice = msgspec.structs.replace(ALICE, **changed)
    return {verdict.name: verdict for verdict in judge([alice, BOB_HAS_NO_ACCOUNT])}


def offenders(verdicts: dict[str, CheckResult]) -> dict[str, list[object]]:
    """Returns the orders, or users, that each failed verdict names."""
    return {
        name: [row.get("order", row["user"]) for row in verdict.rows]
        for name, verdict in verdicts.items()
        if not verdict.holds
    }


def test_correct_histories_pass_every_check() -> None:
    verdicts = judged()
    assert offenders(verdicts) == {}
    looked_at = {name: verdict.looked_at for name, verdict in verdicts.items()}
    assert looked_at == {"final status": 3, "one toast per socket": 5, "only own toasts": 5, "balances": 2}


def test_a_check_that_examined_nothing_fails() -> None:
    verdicts = judge([])
    assert verdicts
    assert not any(verdict.holds or verdict.rows for verdict in verdicts)


def test_a_missing_toast_is_named() -> None:
    verdicts = judged(pages=[ORDERS, [PAID]])
    assert offenders(verdicts) == {"one toast per socket": ["order-2"]}
    assert verdicts["one toast per socket"].rows == [
        {"user": "alice", "order": "order-2", "socket": 1, "toasts": 0},
    ]


def test_a_duplicate_toast_is_named() -> None:
    verdicts = judged(pages=[[*ORDERS, PAID], ORDERS])
    assert offenders(verdicts) == {"one toast per socket": ["order-1"]}
    assert verdicts["one toast per socket"].rows[0]["toasts"] == 2


def test_a_socket_without_toasts_is_named_once_for_each_order() -> None:
    assert offenders(judged(pages=[(), ORDERS])) == {"one toast per socket": ["order-1", "order-2"]}


@pytest.mark.parametrize(
    "wrong",
    [
        declined("order-1", 300, "insufficient_funds"),
        OrderHistory("order-1", 300, "NEW", 1),
        paid("order-1", 301),
        OrderHistory("order-1", 300, "FINISHED", 3),
    ],
)
def test_a_wrong_final_status_is_named(wrong: OrderHistory) -> None:
    verdicts = judged(listed=[wrong, TOO_EXPENSIVE])
    assert offenders(verdicts) == {"final status": ["order-1"]}
    assert verdicts["final status"].rows[0]["found"] == wrong


def test_a_declined_order_with_the_wrong_reason_is_named() -> None:
    listed = [PAID, declined("order-2", 10**12, "no_account")]
    assert offenders(judged(listed=listed)) == {"final status": ["order-2"]}


def test_a_missing_order_is_named() -> None:
    assert offenders(judged(listed=[PAID])) == {"final status": ["order-2"]}


def test_an_order_that_the_user_did_not_place_is_named() -> None:
    assert offenders(judged(listed=[*ORDERS, paid("order-9", 1)])) == {"final status": ["order-9"]}


def test_a_toast_that_differs_from_its_order_is_named() -> None:
    toasts = [paid("order-1", 300), paid("order-2", 10**12)]
    assert offenders(judged(pages=[toasts, ORDERS])) == {"one toast per socket": ["order-2"]}


@pytest.mark.parametrize(("balance", "topped_up"), [(699, 1_000), (1_000, 1_000), (None, 1_000), (700, 1_001)])
def test_a_wrong_balance_is_named(balance: int | None, topped_up: int) -> None:
    assert offenders(judged(balance=balance, topped_up=topped_up)) == {"balances": ["alice"]}


def test_an_account_that_the_user_did_not_open_is_named() -> None:
    [verdict] = [one for one in judge([msgspec.structs.replace(BOB_HAS_NO_ACCOUNT, balance=0)]) if not one.holds]
    assert (verdict.name, verdict.rows[0]["user"]) == ("balances", "bob")


@pytest.mark.parametrize(("order_id", "whose"), [("order-3", "bob"), ("order-8", "unknown")])
def test_another_users_toast_is_named_with_its_user(order_id: str, whose: str) -> None:
    foreign = declined(order_id, 200, "no_account")
    verdicts = judged(pages=[[*ORDERS, foreign], ORDERS])
    assert offenders(verdicts) == {"only own toasts": [order_id]}
    assert verdicts["only own toasts"].rows == [{"user": "alice", "order": order_id, "socket": 0, "whose": whose}]


def test_all_offenders_are_counted_and_only_the_first_are_listed() -> None:
    orders = [paid(f"order-{n}", 1) for n in range(50)]
    found = judge([History(user_id="alice", placed=orders, listed=orders, pages=[[]], topped_up=50, balance=0)])
    [broken] = [verdict for verdict in found if verdict.offenders]
    assert (broken.offenders, len(broken.rows)) == (50, 20)


def test_verdicts_of_several_processes_add_up() -> None:
    fine, broken = judged(), judged(balance=0)
    together: Sequence[CheckResult] = [fine["balances"], broken["balances"]]
    together[0].add(together[1])
    assert (together[0].looked_at, together[0].offenders, together[0].holds) == (4, 1, False)


def test_a_program_with_another_process_id_counts_as_restarted() -> None:
    kept = nothing_restarted({"orders-1": 1, "payments-1": 2}, {"orders-1": 1, "payments-1": 2})
    assert (kept.holds, kept.looked_at) == (True, 2)
    changed = nothing_restarted({"orders-1": 1, "payments-1": 2}, {"orders-1": 3, "payments-2": 4})
    assert [row["program"] for row in changed.rows] == ["orders-1", "payments-1", "payments-2"]


@pytest.mark.parametrize("word", ["URL=http://127.0.0.1:1", "COMPARE=before"])
def test_scale_rejects_parameters_that_it_would_ignore(word: str, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="neither URL nor COMPARE"):
        scale([word, f"REPORTS={tmp_path}"])
    assert not list(tmp_path.iterdir())
