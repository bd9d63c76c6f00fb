from shopkit.db.database import Database
from shopkit.db.periodic import Periodic
from tests.servers import running
from tests.support import eventually

LONG = 3600.0


async def test_the_next_batch_follows_without_the_interval_while_there_is_more(orders_database: Database) -> None:
    returned = [True, True, False]
    done: list[bool] = []

    async def task() -> bool:
        done.append(returned[len(done)])
        return done[-1]

    async def all_done() -> bool:
        return done == returned

    async with running(Periodic("test", orders_database, LONG, task)):
        await eventually(all_done)


async def test_a_task_continues_after_a_transient_error(orders_database: Database) -> None:
    calls = 0

    async def task() -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionResetError("lost")
        return False

    async def called_again() -> bool:
        return calls > 1

    async with running(Periodic("test", orders_database, 0.01, task)):
        await eventually(called_again)
