import json

import pytest
from sqlalchemy import make_url

from auditor.command import run
from tests.auditor.conftest import Books
from tests.servers import rows
from tests.support import audited, free_port

MANY_ACCOUNTS = "INSERT INTO accounts (user_id, balance) SELECT 'user-' || n, n FROM generate_series(1, 50) AS n"
MANY_ORDERS = """
    INSERT INTO orders (id, user_id, amount, description, status, version)
    SELECT gen_random_uuid(), 'zoe', 1, 'a lamp', 'FINISHED', 2 FROM generate_series(1, 50)
"""


async def test_a_healthy_shop_gives_status_0_and_one_line_per_invariant(books: Books) -> None:
    await books.trade()
    orders, payments = books.urls
    status, output, errors = await audited(ORDERS_DATABASE_URL=orders, PAYMENTS_DATABASE_URL=payments)
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    assert len(lines) == 22
    assert all(line.split()[-1] == "ok" for line in lines)
    assert "payments  running-balance                     9  ok" in lines


async def test_a_defect_gives_status_1_and_its_row_below_the_invariant(books: Books) -> None:
    await books.trade()
    await rows(books.payments, "UPDATE accounts SET balance = 301 WHERE user_id = 'ann'")
    orders, payments = books.urls
    status, output, _ = await audited("--orders", orders, "--payments", payments)
    assert status == 1
    assert (
        "payments  balance-is-the-sum                  6  1 OFFENDERS\n"
        "    The balance of an account is the sum of its entries, and 0 without entries.\n"
        '    user_id="ann"  balance=301  sum_of_entries=300\n'
        "payments  versions-without-gaps               6  ok\n"
    ) in output


async def test_the_json_report_has_the_same_findings(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    await books.trade()
    orders, payments = books.urls
    options = ["--orders", orders, "--payments", payments, "--json"]
    assert await run(options) == 0
    healthy = json.loads(capsys.readouterr().out)
    assert (healthy["holds"], len(healthy["invariants"])) == (True, 22)

    await rows(books.payments, "UPDATE accounts SET balance = 301 WHERE user_id = 'ann'")
    assert await run(options) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["holds"] is False
    assert [invariant for invariant in report["invariants"] if invariant["offenders"]] == [
        {
            "name": "balance-is-the-sum",
            "database": "payments",
            "statement": "The balance of an account is the sum of its entries, and 0 without entries.",
            "looked_at": 6,
            "offenders": 1,
            "rows": [{"user_id": "ann", "balance": 301, "sum_of_entries": 300}],
        }
    ]


@pytest.mark.parametrize(("options", "shown"), [([], 20), (["--rows", "3"], 3), (["--rows", "0"], 0)])
async def test_all_offenders_are_counted_and_the_first_are_shown(
    books: Books, capsys: pytest.CaptureFixture[str], options: list[str], shown: int
) -> None:
    await rows(books.payments, MANY_ACCOUNTS)
    await rows(books.orders, MANY_ORDERS)
    orders, payments = books.urls
    words = ["--orders", orders, "--payments", payments, *options]
    assert await run([*words, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    found = {invariant["name"]: invariant for invariant in report["invariants"] if invariant["offenders"]}
    assert found.keys() == {"balance-is-the-sum", "status-is-outcome"}
    for invariant in found.values():
        assert (invariant["offenders"], len(invariant["rows"])) == (50, shown)

    assert await run(words) == 1
    output = capsys.readouterr().out
    assert output.count("50 OFFENDERS") == output.count(f"    and {50 - shown} more") == 2
    assert output.count("sum_of_entries=0") == shown


async def test_work_in_flight_is_reported_only_after_the_grace_period(
    books: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    await books.trade()
    await rows(books.orders, "UPDATE orders SET status = 'NEW', version = 1, reason = NULL WHERE user_id = 'bob'")
    await rows(books.orders, "UPDATE orders SET created_at = now() - interval '10 seconds'")
    await rows(books.payments, "UPDATE payments SET decided_at = now() - interval '10 seconds'")
    orders, payments = books.urls

    async def violated(grace: str) -> set[str]:
        await run(["--orders", orders, "--payments", payments, "--json", "--grace", grace])
        report = json.loads(capsys.readouterr().out)
        return {invariant["name"] for invariant in report["invariants"] if invariant["offenders"]}

    assert await violated("30") == set()
    assert await violated("9.5") == await violated("0") == {"no-order-left-new", "result-applied"}


def unusable_urls(url: str) -> list[str]:
    usable = make_url(url)
    return [
        f"postgresql://payments@127.0.0.1:{free_port()}/payments",
        "postgresql://payments@no-such-host.invalid/payments",
        usable.set(database="no_such_database").render_as_string(hide_password=False),
        usable.set(username="nobody").render_as_string(hide_password=False),
        "postgresql://payments:pass/word@127.0.0.1/payments",
        "nonsense",
        "",
    ]


async def test_an_unreadable_database_gives_status_2_and_one_line(
    books: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    orders, payments = books.urls
    cases = [("payments", orders, url) for url in [*unusable_urls(payments), orders]] + [
        ("orders", "nonsense", payments)
    ]
    for database, orders_url, payments_url in cases:
        assert await run(["--orders", orders_url, "--payments", payments_url]) == 2
        output, errors = capsys.readouterr()
        assert output == ""
        assert errors.startswith(f"cannot read the {database} database: ")
        assert errors.count("\n") == 1
        assert "pass" not in errors.removeprefix("cannot read").replace("password authentication", "")


@pytest.mark.parametrize(
    "options",
    [
        [],
        *(
            ["--payments", "x", *wrong]
            for wrong in (["--grace", "-1"], ["--grace", "soon"], ["--grace", "nan"], ["--rows", "-1"])
        ),
    ],
)
async def test_invalid_options_give_status_2(options: list[str]) -> None:
    status, output, errors = await audited("--orders", "postgresql://x/x", *options)
    assert (status, output) == (2, "")
    assert "usage:" in errors
