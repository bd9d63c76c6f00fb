"""What is acknowledged and who is here, where it cannot be seen from outside: the scripts themselves, on Redis."""

import pytest
from redis.asyncio import Redis

from notifier import scripts
from notifier.presence import LEASE_SECONDS
from notifier.scripts import ACK, PRESENCE, Command
from notifier.streams import channel, meta_key, read_many, sockets_key
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


@pytest.mark.parametrize("what", ["opened", "heard"])
async def test_what_was_acknowledged_is_known_for_as_long_as_a_page_is_open(redis: Redis, what: str) -> None:
    """Without it, a page that is open for a day without news would make the next visit the first one."""
    user_id = new_user()
    await read_many(redis, [(user_id, 0)])
    await redis.expire(meta_key(user_id), 60)
    await scripts.run(redis, [attend(user_id, what, "a-socket")])
    assert await redis.ttl(meta_key(user_id)) > 80_000


async def test_a_new_socket_takes_the_place_of_another_whatever_its_replicas_clock_says(redis: Redis) -> None:
    user_id = new_user()
    for socket in ("8-older", "9-newer", "1-newest-by-a-slow-clock"):
        assert await scripts.run(redis, [attend(user_id, "opened", socket)]) == [1]
    assert set(await redis.zrange(sockets_key(user_id), 0, -1)) == {b"9-newer", b"1-newest-by-a-slow-clock"}


async def test_an_opening_that_is_told_twice_takes_no_second_place(redis: Redis) -> None:
    user_id = new_user()
    for socket in ("one", "two", "two"):
        assert await scripts.run(redis, [attend(user_id, "opened", socket)]) == [1]
    assert set(await redis.zrange(sockets_key(user_id), 0, -1)) == {b"one", b"two"}


def attend(user_id: str, what: str, socket: str) -> Command:
    return PRESENCE([sockets_key(user_id), meta_key(user_id)], what, socket, 2, channel(user_id), LEASE_SECONDS)
