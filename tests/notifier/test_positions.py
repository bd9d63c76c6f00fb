"""The scripts for acknowledgements and presence, run directly on Redis for cases that no client can see."""

import pytest
from redis.asyncio import Redis

from notifier import scripts
from notifier.presence import LEASE_SECONDS
from notifier.scripts import ACK, PRESENCE, Command
from notifier.streams import channel, meta_key, read_many, sockets_key
from tests.support import new_user


async def test_an_acknowledgement_with_another_epoch_or_a_lower_offset_is_ignored(redis: Redis) -> None:
    user_id = new_user()
    [read] = await read_many(redis, [(user_id, 0)])

    async def ack_and_read(epoch: str, offset: int) -> int:
        await scripts.run(redis, [ACK([meta_key(user_id)], epoch, offset)])
        return int(await redis.hget(meta_key(user_id), "acked") or -1)

    assert await ack_and_read(read.now.epoch, 7) == 7
    assert await ack_and_read("another", 9) == 7
    assert await ack_and_read(read.now.epoch, 5) == 7
    assert await ack_and_read(read.now.epoch, 8) == 8


async def test_scripts_are_loaded_if_redis_does_not_know_them(redis: Redis) -> None:
    await redis.script_flush()
    user_id = new_user()
    [read] = await read_many(redis, [(user_id, 0)])
    assert (read.now.offset, read.kept) == (0, [])


@pytest.mark.parametrize("what", ["opened", "heard"])
async def test_the_acknowledged_offset_is_kept_while_a_socket_is_open(redis: Redis, what: str) -> None:
    """Otherwise a page that is open for a day without messages would count as a first visit the next time."""
    user_id = new_user()
    await read_many(redis, [(user_id, 0)])
    await redis.expire(meta_key(user_id), 60)
    await scripts.run(redis, [presence_command(user_id, what, "a-socket")])
    assert await redis.ttl(meta_key(user_id)) > 80_000


async def test_a_new_socket_evicts_another_even_if_the_clock_of_its_replica_is_slow(redis: Redis) -> None:
    user_id = new_user()
    for socket in ("8-older", "9-newer", "1-newest-by-a-slow-clock"):
        assert await scripts.run(redis, [presence_command(user_id, "opened", socket)]) == [1]
    assert set(await redis.zrange(sockets_key(user_id), 0, -1)) == {b"9-newer", b"1-newest-by-a-slow-clock"}


async def test_a_socket_whose_registration_is_repeated_counts_once(redis: Redis) -> None:
    user_id = new_user()
    for socket in ("one", "two", "two"):
        assert await scripts.run(redis, [presence_command(user_id, "opened", socket)]) == [1]
    assert set(await redis.zrange(sockets_key(user_id), 0, -1)) == {b"one", b"two"}


def presence_command(user_id: str, what: str, socket: str) -> Command:
    return PRESENCE([sockets_key(user_id), meta_key(user_id)], what, socket, 2, channel(user_id), LEASE_SECONDS)
