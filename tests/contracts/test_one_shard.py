"""Users can be divided among databases: no key and no statement in the way of an order needs a row of another's.

Two shards, each with an orders and a payments database, do together what one pair does with all users. On the
one pair every statement is watched: whatever it is given belongs to users of one shard, or can be divided.
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
from payments.charge_orders import ChargeOrders, Ingest
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

# What waits in them is the shard's own, and any of it will do.
QUEUES = {"outbox", "inbox", "inbox_in_hand", "dead_letters", "retention", "alembic_version"}
TABLES = {*orders.models.metadata.tables, *payments.models.metadata.tables}

# Every statement in them is in the way of an order, or of a top-up or a list.
MODULES = place_order, apply_payment_results, queries, accounts, charge_orders, ledger, outbox
HOT = {inbox_store.STORE, inbox_store.CLAIM_OLDEST, inbox_store.MARK_PROCESSED, crash_guard.WRITE_NOTE}.union(
    value
    for module in MODULES
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str) and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", value)
)

# Nothing looks for an entry by its id, and two random ids differ wherever they are made.
OF_A_USER = {
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

KEPT = {
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


class Asked(NamedTuple):
    statement: str
    given: Sequence[Any]
    found: Sequence[Row] = ()


class Watched(Database):
    """Remembers what it was asked."""

    def __init__(self, url: str, package: str) -> None:
        super().__init__(url, package)
        self.asked: list[Asked] = []

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Connection]:
        async with super().begin() as connection:
            yield WatchedConnection(connection, self.asked)

    @asynccontextmanager
    async def autocommit(self) -> AsyncGenerator[Connection]:
        async with super().autocommit() as connection:
            yield WatchedConnection(connection, self.asked)


class WatchedConnection:
    def __init__(self, connection: Connection, asked: list[Asked]) -> None:
        self._connection = connection
        self._asked = asked

    async def fetch(self, query: str, *args: Any) -> list[Row]:
        found = await self._connection.fetch(query, *args)
        self._asked.append(Asked(query, args, found))
        return found

    async def fetchrow(self, query: str, *args: Any) -> Row | None:
        return next(iter(await self.fetch(query, *args)), None)

    async def fetchval(self, query: str, *args: Any) -> Any:
        return next(iter(await self.fetchrow(query, *args) or ()), None)

    async def execute(self, query: str, *args: Any) -> str:
        self._asked.append(Asked(query, args))
        return await self._connection.execute(query, *args)


class Shard(NamedTuple):
    orders: Watched
    payments: Watched

    def asked(self) -> list[Asked]:
        """Since the last time."""
        asked = self.orders.asked + self.payments.asked
        self.orders.asked.clear()
        self.payments.asked.clear()
        return asked

    async def kept(self) -> Counter[tuple[Any, ...]]:
        """All that is left in the end, but ids and times."""
        databases = {"orders": self.orders, "payments": self.payments}
        found = [await rows(databases[name], query) for name, queries in KEPT.items() for query in queries]
        return Counter(tuple(row) for row in chain.from_iterable(found))


MakeShard = Callable[[], Awaitable[Shard]]


@pytest.fixture
async def make_shard(servers: dict[str, Any], template_databases: dict[str, str]) -> AsyncGenerator[MakeShard]:
    async with AsyncExitStack() as stack:

        async def make() -> Shard:
            opened: list[Watched] = []
            for service in ("orders", "payments"):
                url = await stack.enter_async_context(CopyOf(servers, template_databases[service]))
                opened.append(Watched(url, service))
                await opened[-1].open()
                stack.push_async_callback(opened[-1].close)
            return Shard(*opened)

        yield make


async def whole_way(shard: Shard, users: Sequence[str]) -> dict[Any, str]:
    """All but one open an account, and order twice what there is money for once. Returns whose what is."""
    replica = "a-replica"
    having = [user_id for user_id in users if user_id != WITHOUT_ACCOUNT]
    for user_id in having:
        await accounts.open_account(shard.payments, user_id)
    top_ups = [NewTopUp(user_id, BALANCE, KEY) for user_id in users]
    await TopUps(shard.payments)(top_ups)
    await TopUps(shard.payments)(top_ups)

    place = PlaceOrders(shard.orders, replica, _nothing)
    for key in (KEY, KEY, None):
        await place([NewOrder(user_id, BALANCE, "a lamp", key) for user_id in users])
    created = await _leaving(shard.orders)
    assert len(created) == 2 * len(users)

    ingest = Ingest(shard.payments, replica, _nothing)
    inbox = Inbox(shard.payments, replica, ChargeOrders(replica, _nothing))
    for _ in ("once", "and again"):
        await ingest([receive(event.event) for event in created])
        await inbox.process_batch()
    results = [decode_payment_event(event.event) for event in await _leaving(shard.payments)]

    apply = ApplyResults(shard.orders, replica, _nothing)
    await apply(results)
    await apply(results)
    told = await _leaving(shard.orders)
    assert len(told) == len(created)

    for order in (decode_order_created(event.event).data for event in created):
        found = await queries.one(shard.orders, order.user_id, order.order_id)
        assert found
        assert found.version == 2
    for user_id in having:
        assert len(await queries.newest(shard.orders, user_id, None, None, 20)) == 2
        assert len(await accounts.newest_entries(shard.payments, user_id, 2**62, 20)) == 2
        await accounts.show_account(shard.payments, user_id)
    return owners(users, created)


async def _leaving(database: Database) -> list[Outgoing]:
    """What a relay would take."""
    async with database.begin() as connection:
        return await outbox.take(connection, 500, LowWaterMark())


def _nothing() -> None:
    pass


def owners(users: Iterable[str], created: Sequence[Outgoing]) -> dict[Any, str]:
    """Whose a user id, an order id and the id of an order's event are."""
    found: dict[Any, str] = {user_id: user_id for user_id in users}
    for event in (decode_order_created(event.event) for event in created):
        found |= {event.id: event.data.user_id, event.data.order_id: event.data.user_id}
    return found


def undivided(asked: Asked, owner: dict[Any, str]) -> Iterator[str]:
    """Why a router by user could not send it to one shard, or each row of it to its own."""
    if set(re.findall(r"\w+", asked.statement)) & TABLES <= QUEUES:
        return
    columns: list[Sequence[Any]] = [values for values in asked.given if isinstance(values, list)]
    for row in zip(*columns, strict=True) if columns else [asked.given]:
        shards = {shard_of(owner[value]) for value in row if value in owner}
        if len(shards) != 1:
            yield f"{len(shards)} shards for {row} of {asked.statement}"


async def spanning(database: Database) -> list[str]:
    """The unique keys that two users of different shards could both use."""
    return [
        key.name
        for key in await rows(database, UNIQUE)
        if key.of not in QUEUES and OF_A_USER[key.of].isdisjoint(key.columns)
    ]


async def test_two_shards_do_together_what_one_does_with_all_users(make_shard: MakeShard) -> None:
    whole, *shards = [await make_shard() for _ in range(3)]
    await whole_way(whole, USERS)
    for shard, users in zip(shards, SHARDS, strict=True):
        await whole_way(shard, users)
    one, other = [await shard.kept() for shard in shards]
    assert one + other == await whole.kept()


async def test_no_statement_finds_or_changes_a_row_of_another_shard(make_shard: MakeShard) -> None:
    both = await make_shard()
    theirs = await whole_way(both, SHARDS[0])
    kept = await both.kept()
    both.asked()
    await whole_way(both, SHARDS[1])
    found = [(asked.statement, row) for asked in both.asked() for row in asked.found if theirs.keys() & {*row}]
    assert not found
    assert kept <= await both.kept()


async def test_what_a_statement_is_given_can_be_divided_by_user(make_shard: MakeShard) -> None:
    shard = await make_shard()
    owner = await whole_way(shard, USERS)
    asked = shard.asked()
    assert not HOT - {one.statement for one in asked}
    assert not [reason for one in asked for reason in undivided(one, owner)]


@pytest.mark.parametrize(
    "asked",
    [
        Asked("SELECT id FROM orders WHERE status = 'NEW' ORDER BY id LIMIT $1", [100]),
        Asked("SELECT id FROM orders WHERE idempotency_key = ANY ($1)", [[KEY]]),
        Asked("SELECT balance FROM accounts WHERE user_id IN ($1, $2)", ["one", "other"]),
        Asked("SELECT * FROM payments JOIN unnest($1, $2) AS given USING (x)", [["one"], ["other"]]),
    ],
    ids=["any order", "a key of anybody", "two users", "a row of two users"],
)
def test_a_statement_that_needs_two_shards_is_named(asked: Asked) -> None:
    assert list(undivided(asked, {"one": SHARDS[0][0], "other": SHARDS[1][0]}))


async def test_every_unique_key_holds_the_user_or_the_order(make_shard: MakeShard) -> None:
    shard = await make_shard()
    assert [await spanning(database) for database in shard] == [[], []]


async def test_a_unique_key_of_all_users_is_named(orders_database: Database) -> None:
    await rows(orders_database, "CREATE UNIQUE INDEX of_anybody ON orders (idempotency_key)")
    assert await spanning(orders_database) == ["of_anybody"]
