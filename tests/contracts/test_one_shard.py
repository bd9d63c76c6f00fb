"""Sharding by user is possible: no unique key and no statement on the way of an order spans users of two shards.

A shard is an orders and a payments database. Two shards together must end with the same rows as one shard with all
users. On the one shard, every statement is recorded: its arguments must belong to users of one shard, or must be
divisible by user.
"""

import re
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain
from typing import Any, NamedTuple
from zlib import crc32

import pytest

import orders.models
import payments.models
from orders import apply_payment_results, place_order, queries
from orders.apply_payment_results import ApplyResults
from orders.messages import decode_payment_event
from orders.place_order import NewOrder, PlaceOrders
from payments import accounts, charge_orders, ledger
from payments.accounts import NewTopUp, TopUps
from payments.charge_orders import ChargeOrders
from payments.messages import decode_order_created, receive
from shopkit.db.database import Connection, Database, Row
from shopkit.messaging import crash_guard, inbox_store, outbox
from shopkit.messaging.events import Outgoing
from shopkit.messaging.inbox import Inbox
from shopkit.messaging.low_water_mark import LowWaterMark
from tests.servers import CopyOf, rows

USERS = [f"user-{number}" for number in range(12)]
WITHOUT_ACCOUNT = USERS[0]
KEY = "the-same-for-everybody"
BALANCE = 100

# Tables that a shard can have for itself: their statements take any row that is waiting.
QUEUES = {"outbox", "inbox", "inbox_in_hand", "dead_letters", "retention", "alembic_version"}
TABLES = {*orders.models.metadata.tables, *payments.models.metadata.tables}

# Every statement of these modules runs for an order, a top-up or a list.
MODULES = place_order, apply_payment_results, queries, accounts, charge_orders, ledger, outbox
COVERED = {inbox_store.STORE, inbox_store.CLAIM_OLDEST, inbox_store.MARK_PROCESSED, crash_guard.WRITE_NOTE}.union(
    value
    for module in MODULES
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str) and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", value)
)

# The columns of each table that belong to one user. The id of a ledger entry counts as well: it is random, so it is
# unique across shards, and no statement searches for it.
USER_COLUMNS = {
    "orders": {"id", "user_id"},
    "accounts": {"user_id"},
    "payments": {"order_id"},
    "ledger_entries": {"user_id", "order_id", "id"},
}

UNIQUE = """
    SELECT indexrelid::regclass::text AS name, indrelid::regclass::text AS of,
        array(SELECT attname::text FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey)) AS columns
    FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
    WHERE indisunique AND relnamespace = 'public'::regnamespace
"""

REMAINING = {
    "orders": ("SELECT user_id, amount, idempotency_key, status, reason, version FROM orders",),
    "payments": (
        "SELECT user_id, balance, version FROM accounts",
        "SELECT user_id, amount, outcome, reason, account_version, balance_before FROM payments",
        "SELECT user_id, kind, amount, account_version, balance_after, idempotency_key FROM ledger_entries",
        "SELECT processed_at IS NULL, attempts FROM inbox",
    ),
}


def shard_of(user_id: str) -> int:
    return crc32(user_id.encode()) % 2


SHARDS = [[user_id for user_id in USERS if shard_of(user_id) == number] for number in range(2)]


class Execution(NamedTuple):
    statement: str
    arguments: Sequence[Any]
    found: Sequence[Row] = ()


class RecordingDatabase(Database):
    """A database that records every statement with its arguments and rows."""

    def __init__(self, url: str, package: str) -> None:
        super().__init__(url, package)
        self.executions: list[Execution] = []

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Connection]:
        async with super().begin() as connection:
            yield RecordingConnection(connection, self.executions)

    @asynccontextmanager
    async def autocommit(self) -> AsyncGenerator[Connection]:
        async with super().autocommit() as connection:
            yield RecordingConnection(connection, self.executions)


class RecordingConnection:
    def __init__(self, connection: Connection, executions: list[Execution]) -> None:
        self._connection = connection
        self._executions = executions

    async def fetch(self, query: str, *args: Any) -> list[Row]:
        found = await self._connection.fetch(query, *args)
        self._executions.append(Execution(query, args, found))
        return found

    async def fetchrow(self, query: str, *args: Any) -> Row | None:
        return next(iter(await self.fetch(query, *args)), None)

    async def fetchval(self, query: str, *args: Any) -> Any:
        return next(iter(await self.fetchrow(query, *args) or ()), None)

    async def execute(self, query: str, *args: Any) -> str:
        self._executions.append(Execution(query, args))
        return await self._connection.execute(query, *args)


class Shard(NamedTuple):
    orders: RecordingDatabase
    payments: RecordingDatabase

    def take_executions(self) -> list[Execution]:
        """Returns the executions since the last call."""
        executions = self.orders.executions + self.payments.executions
        self.orders.executions.clear()
        self.payments.executions.clear()
        return executions

    async def remaining(self) -> Counter[tuple[Any, ...]]:
        """Returns all rows, without ids and times."""
        databases = {"orders": self.orders, "payments": self.payments}
        found = [await rows(databases[name], query) for name, queries in REMAINING.items() for query in queries]
        return Counter(tuple(row) for row in chain.from_iterable(found))


MakeShard = Callable[[], Awaitable[Shard]]


@pytest.fixture
async def make_shard(servers: dict[str, Any], template_databases: dict[str, str]) -> AsyncGenerator[MakeShard]:
    async with AsyncExitStack() as stack:

        async def make() -> Shard:
            opened: list[RecordingDatabase] = []
            for service in ("orders", "payments"):
                url = await stack.enter_async_context(CopyOf(servers, template_databases[service]))
                opened.append(RecordingDatabase(url, service))
                await opened[-1].open()
                stack.push_async_callback(opened[-1].close)
            return Shard(*opened)

        yield make


async def whole_way(shard: Shard, users: Sequence[str]) -> dict[Any, str]:
    """All users but one open an account. Each user places two orders with money for one. Returns `owners`."""
    replica = "a-replica"
    with_account = [user_id for user_id in users if user_id != WITHOUT_ACCOUNT]
    for user_id in with_account:
        await accounts.open_account(shard.payments, user_id)
    top_ups = [NewTopUp(user_id, BALANCE, KEY) for user_id in users]
    await TopUps(shard.payments).top_up(top_ups)
    await TopUps(shard.payments).top_up(top_ups)

    place = PlaceOrders(shard.orders, replica, _nothing)
    for key in (KEY, KEY, None):
        await place.place([NewOrder(user_id, BALANCE, "a lamp", key) for user_id in users])
    created = await _outbox_events(shard.orders)
    assert len(created) == 2 * len(users)

    inbox = Inbox(shard.payments, replica, ChargeOrders(replica, _nothing).charge)
    for _ in ("once", "and again"):
        await inbox.store([receive(event.event) for event in created])
        await inbox.process_batch()
    results = [decode_payment_event(event.event) for event in await _outbox_events(shard.payments)]

    apply = ApplyResults(shard.orders, replica, _nothing)
    await apply.apply(results)
    await apply.apply(results)
    status_events = await _outbox_events(shard.orders)
    assert len(status_events) == len(created)

    for order in (decode_order_created(event.event).data for event in created):
        found = await queries.one(shard.orders, order.user_id, order.order_id)
        assert found
        assert found.version == 2
    for user_id in with_account:
        assert len(await queries.newest(shard.orders, user_id, None, None, 20)) == 2
        assert len(await accounts.newest_entries(shard.payments, user_id, 2**62, 20)) == 2
        await accounts.show_account(shard.payments, user_id)
    return owners(users, created)


async def _outbox_events(database: Database) -> list[Outgoing]:
    """Takes all events from the outbox, as a relay does."""
    async with database.begin() as connection:
        return await outbox.take(connection, 500, LowWaterMark())


def _nothing() -> None:
    pass


def owners(users: Iterable[str], created: Sequence[Outgoing]) -> dict[Any, str]:
    """Returns the user to whom each user id, order id and event id belongs."""
    found: dict[Any, str] = {user_id: user_id for user_id in users}
    for event in (decode_order_created(event.event) for event in created):
        found |= {event.id: event.data.user_id, event.data.order_id: event.data.user_id}
    return found


def indivisible(execution: Execution, owner: dict[Any, str]) -> Iterator[str]:
    """Yields the reasons why neither the statement nor each row of its arguments can be sent to one shard."""
    if set(re.findall(r"\w+", execution.statement)) & TABLES <= QUEUES:
        return
    columns: list[Sequence[Any]] = [values for values in execution.arguments if isinstance(values, list)]
    for row in zip(*columns, strict=True) if columns else [execution.arguments]:
        shards = {shard_of(owner[value]) for value in row if value in owner}
        if len(shards) != 1:
            yield f"{len(shards)} shards for {row} of {execution.statement}"


async def keys_across_shards(database: Database) -> list[str]:
    """Returns the unique keys in which users of different shards could have the same value."""
    return [
        key.name
        for key in await rows(database, UNIQUE)
        if key.of not in QUEUES and USER_COLUMNS[key.of].isdisjoint(key.columns)
    ]


async def test_two_shards_together_have_the_same_rows_as_one(make_shard: MakeShard) -> None:
    whole, *shards = [await make_shard() for _ in range(3)]
    await whole_way(whole, USERS)
    for shard, users in zip(shards, SHARDS, strict=True):
        await whole_way(shard, users)
    one, other = [await shard.remaining() for shard in shards]
    assert one + other == await whole.remaining()


async def test_no_statement_reads_or_changes_a_row_of_another_shard(make_shard: MakeShard) -> None:
    both = await make_shard()
    theirs = await whole_way(both, SHARDS[0])
    before = await both.remaining()
    both.take_executions()
    await whole_way(both, SHARDS[1])
    found = [(one.statement, row) for one in both.take_executions() for row in one.found if theirs.keys() & {*row}]
    assert not found
    assert before <= await both.remaining()


async def test_the_arguments_of_every_statement_can_be_divided_by_user(make_shard: MakeShard) -> None:
    shard = await make_shard()
    owner = await whole_way(shard, USERS)
    executions = shard.take_executions()
    assert not COVERED - {one.statement for one in executions}
    assert not [reason for one in executions for reason in indivisible(one, owner)]


@pytest.mark.parametrize(
    "execution",
    [
        Execution("SELECT id FROM orders WHERE status = 'NEW' ORDER BY id LIMIT $1", [100]),
        Execution("SELECT id FROM orders WHERE idempotency_key = ANY ($1)", [[KEY]]),
        Execution("SELECT balance FROM accounts WHERE user_id IN ($1, $2)", ["one", "other"]),
        Execution("SELECT * FROM payments JOIN unnest($1, $2) AS given USING (x)", [["one"], ["other"]]),
    ],
    ids=["any order", "a key of anybody", "two users", "a row of two users"],
)
def test_a_statement_that_needs_two_shards_is_reported(execution: Execution) -> None:
    assert list(indivisible(execution, {"one": SHARDS[0][0], "other": SHARDS[1][0]}))


async def test_every_unique_key_contains_the_user_or_the_order(make_shard: MakeShard) -> None:
    shard = await make_shard()
    assert [await keys_across_shards(database) for database in shard] == [[], []]


async def test_a_unique_key_across_users_is_reported(orders_database: Database) -> None:
    await rows(orders_database, "CREATE UNIQUE INDEX of_anybody ON orders (idempotency_key)")
    assert await keys_across_shards(orders_database) == ["of_anybody"]
