"""What is acknowledged, where it cannot be seen from outside: the scripts themselves, on Redis."""

from redis.asyncio import Redis

from notifier import scripts
from notifier.scripts import ACK
from notifier.streams import meta_key, read_many
from tests.support import new_user


async def test_an_acknowledgement_of_another_epoch_or_of_less_than_before_counts_for_nothing(redis: Redis) -> None:
    user_id = new_user()
    [read] = await read_many(redis, [(user_id, 0)])

    async def acked_after(epoch: str, offset: int) -> int:
        await scripts.run(redis, [ACK([meta_key(user_id)], epoch, offset)])
        return int(await redis.hget(meta_key(user_id), "acked") or -1)

    assert await acked_after(read.now.epoch, 7) == 7
    assert await acked_after("another", 9) == 7
    assert await acked_after(read.now.epoch, 5) == 7
    assert await acked_after(read.now.epoch, 8) == 8


async def test_a_redis_that_has_just_started_is_given_the_scripts(redis: Redis) -> None:
    await redis.script_flush()
    user_id = new_user()
    [read] = await read_many(redis, [(user_id, 0)])
    assert (read.now.offset, read.kept) == (0, [])
