import asyncio
import errno
import socket
from contextlib import suppress

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shopkit.db.database import Connection, Database
from shopkit.db.migrations import migrate
from shopkit.runtime.retry import (
    Backoff,
    BatchSize,
    Cause,
    Progress,
    Stalled,
    cause_of,
    is_transient,
    pause,
    timed_out,
)
from tests.servers import rows
from tests.shopkit.defects import DEFECTS
from tests.support import eventually, free_port

ACCOUNT = "INSERT INTO accounts (user_id) VALUES ('ann')"
TOP_UP = "UPDATE accounts SET balance = balance + 1 WHERE user_id = 'ann'"


async def failure(connection: Connection, statement: str) -> Exception:
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)) as failure:
        await connection.execute(statement)
    return failure.value


async def test_a_unique_violation_is_not_transient(payments_database: Database) -> None:
    await rows(payments_database, ACCOUNT)
    async with payments_database.begin() as connection:
        assert not is_transient(await failure(connection, ACCOUNT))


async def test_a_check_violation_is_not_transient(payments_database: Database) -> None:
    async with payments_database.begin() as connection:
        assert not is_transient(
            await failure(connection, "INSERT INTO accounts (user_id, balance) VALUES ('ann', -1)")
        )


async def test_a_terminated_backend_is_transient(payments_database: Database) -> None:
    async with payments_database.autocommit() as connection:
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        await rows(payments_database, "SELECT pg_terminate_backend(:backend)", backend=backend)
        assert is_transient(await failure(connection, "SELECT 1"))


async def test_a_refused_connection_is_transient() -> None:
    with pytest.raises(OSError) as failure:  # noqa: PT011 (the assertion follows)
        await migrate(f"postgresql://gozon@127.0.0.1:{free_port()}/gozon", "payments")
    assert is_transient(failure.value)


async def test_a_serialization_failure_is_transient(payments_database: Database) -> None:
    await rows(payments_database, ACCOUNT)
    async with payments_database.begin() as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await connection.execute("SELECT * FROM accounts")
        await rows(payments_database, TOP_UP)
        assert is_transient(await failure(connection, TOP_UP))


async def test_a_deadlock_is_transient(payments_database: Database) -> None:
    await rows(payments_database, "INSERT INTO accounts (user_id) VALUES ('ann'), ('bob')")

    async def lock_both(first: str, second: str, both_have_one: asyncio.Barrier) -> None:
        lock = "SELECT * FROM accounts WHERE user_id = $1 FOR UPDATE"
        async with payments_database.begin() as connection:
            await connection.execute("SET LOCAL deadlock_timeout = '10ms'")
            await connection.execute(lock, first)
            await both_have_one.wait()
            await connection.execute(lock, second)

    barrier = asyncio.Barrier(2)
    outcomes = await asyncio.gather(
        lock_both("ann", "bob", barrier), lock_both("bob", "ann", barrier), return_exceptions=True
    )
    (victim,) = [outcome for outcome in outcomes if outcome is not None]
    assert is_transient(victim)


async def test_a_lock_timeout_is_transient(payments_database: Database) -> None:
    await rows(payments_database, ACCOUNT)
    async with payments_database.begin() as holder, payments_database.begin() as connection:
        await holder.execute(TOP_UP)
        await connection.execute("SET lock_timeout = '10ms'")
        assert is_transient(await failure(connection, TOP_UP))


async def test_a_statement_timeout_is_transient(payments_database: Database) -> None:
    async with payments_database.begin() as connection:
        await connection.execute("SET statement_timeout = '10ms'")
        assert is_transient(await failure(connection, "SELECT pg_sleep(60)"))


async def test_an_idle_in_transaction_timeout_is_transient(payments_database: Database) -> None:
    async with payments_database.autocommit() as connection:
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        await connection.execute("BEGIN")
        await connection.execute("SET idle_in_transaction_session_timeout = '10ms'")

        async def is_ended() -> bool:
            sessions = "SELECT 1 FROM pg_stat_activity WHERE pid = :backend"
            return not await rows(payments_database, sessions, backend=backend)

        await eventually(is_ended)
        assert is_transient(await failure(connection, "SELECT 1"))


async def test_a_refused_redis_connection_is_transient() -> None:
    async with Redis(port=free_port(), protocol=2, retry=Retry(NoBackoff(), 0)) as redis:
        with pytest.raises(RedisError) as failure:
            await redis.ping()
    assert is_transient(failure.value)


async def test_every_redis_error_is_transient(redis: Redis) -> None:
    with pytest.raises(RedisError) as failure:
        await redis.execute_command("GET")
    assert is_transient(failure.value)


@pytest.mark.parametrize("error", [ValueError("bad"), KeyError("no"), asyncio.CancelledError()])
def test_an_error_of_our_own_is_not_transient(error: BaseException) -> None:
    assert not is_transient(error)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ConnectionResetError("lost"), Cause.TRANSIENT),
        (OSError(errno.EHOSTUNREACH, "no route"), Cause.TRANSIENT),
        (
            OSError("Multiple exceptions: ..."),
            Cause.TRANSIENT,
        ),  # raised by asyncio when no address of a name responds
        (socket.gaierror("no such name"), Cause.TRANSIENT),
        (TimeoutError(), Cause.TRANSIENT),
        (FileNotFoundError("no template"), Cause.DEFECT),
        (PermissionError("not yours"), Cause.DEFECT),
        (MemoryError(), Cause.DEFECT),
    ],
    ids=repr,
)
def test_a_system_error_is_transient_if_it_can_be_of_a_connection(error: Exception, cause: Cause) -> None:
    assert cause_of(error) is cause


def test_a_timeout_is_found_in_the_chain_of_causes() -> None:
    lost, not_published = ConnectionError("lost"), ConnectionError("not published")
    lost.__cause__, not_published.__cause__ = TimeoutError(), lost
    assert timed_out(not_published)
    assert not timed_out(ConnectionError("lost"))


def limit_after(size: BatchSize, count: int, error: Exception | None = None) -> int:
    """Returns the limit after a batch of `count` items, which raises `error` if it is given."""
    with suppress(Exception), size.observing(range(count)):
        if error is not None:
            raise error
    return size.limit


def test_a_timeout_halves_the_limit_and_full_batches_raise_it_again() -> None:
    size = BatchSize(1000)
    assert [limit_after(size, size.limit, TimeoutError()) for _ in range(4)] == [500, 250, 125, 62]
    assert limit_after(size, 20, TimeoutError()) == 10  # half of the failed batch
    assert limit_after(size, 9) == 10  # a batch that was not full does not raise the limit
    raised = [limit_after(size, size.limit) for _ in range(45)]
    assert raised == sorted(raised)
    assert raised[0] == 12
    assert raised[-1] == 1000


def test_the_limit_never_falls_below_one_item() -> None:
    size = BatchSize(2)
    assert [limit_after(size, size.limit, TimeoutError()) for _ in range(3)] == [1, 1, 1]
    assert limit_after(size, 0, TimeoutError()) == 1  # failed before it took its items


def test_an_error_other_than_a_timeout_keeps_the_limit() -> None:
    assert limit_after(BatchSize(1000), 1000, ConnectionResetError("lost")) == 1000


def test_work_is_stalled_after_too_long_regardless_of_its_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((1000.0, 1030.0, 1060.0, 1061.0))
    now = next(clock)
    monkeypatch.setattr("time.monotonic", lambda: now)
    progress = Progress()
    for _ in range(3):
        progress.begin()
        progress.check()
        now = next(clock)
    with pytest.raises(Stalled, match="61 s"):
        progress.check()
    progress.done()
    progress.check()


def test_the_longest_wait_doubles_up_to_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    backoff = Backoff(first=0.2, most=5)
    assert [backoff.next() for _ in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    backoff.reset()
    assert backoff.next() == 0.2


def test_waits_are_random_and_never_exceed_the_limit() -> None:
    backoff = Backoff(first=0.2, most=5)
    waits = [backoff.next() for _ in range(2_000)]
    assert all(0 <= wait <= 5 for wait in waits)
    assert len(set(waits)) > 1_000


async def test_a_pause_ends_when_its_event_is_set() -> None:
    stopping = asyncio.Event()
    pausing = asyncio.create_task(pause(stopping, 3600))
    await asyncio.sleep(0)
    stopping.set()
    await asyncio.wait_for(pausing, 5)


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("INSERT INTO accounts (user_id, balance) VALUES ('a', -1)", Cause.CONTENT),
        ("SELECT CAST('x' AS bigint)", Cause.CONTENT),
        *((defect, Cause.DEFECT) for defect in DEFECTS.values()),
    ],
)
async def test_only_data_errors_and_constraint_violations_have_the_cause_content(
    payments_database: Database, statement: str, cause: Cause
) -> None:
    async with payments_database.begin() as connection:
        assert cause_of(await failure(connection, statement)) is cause


async def test_a_value_rejected_by_the_driver_has_the_cause_content(payments_database: Database) -> None:
    with pytest.raises(asyncpg.DataError) as failure:
        await rows(payments_database, "SELECT CAST(:number AS bigint)", number=2**70)
    assert cause_of(failure.value) is Cause.CONTENT
