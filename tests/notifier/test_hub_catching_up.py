"""A socket whose missed messages cannot be read is given up, and no other socket suffers for it."""

from litestar.types import Message
from redis.asyncio import Redis

from notifier.closes import Close
from notifier.hub import Hub, Socket
from notifier.streams import connect

NOWHERE = "redis://127.0.0.1:1/0"


async def no_send(_: Message) -> None:
    """A socket that takes everything."""


def joined(hub: Hub, user_id: str) -> Socket:
    socket = Socket(no_send)
    socket.joined, socket.held, socket.position = True, None, 5
    hub._users.setdefault(user_id, set()).add(socket)  # pyright: ignore[reportPrivateUsage]
    return socket


async def test_only_the_socket_that_could_not_be_caught_up_is_given_up() -> None:
    redis: Redis = connect(NOWHERE)
    hub = Hub(redis, redis, "a-replica")
    slow, fast = joined(hub, "a-user"), joined(hub, "a-user")
    slow._owner = None  # pyright: ignore[reportPrivateUsage]

    await hub._catch_up("a-user", slow)  # pyright: ignore[reportPrivateUsage]

    assert slow.given_up is Close.TRY_AGAIN
    assert fast.given_up is None
    assert fast.held is None, "it would hold back every message from now on"
    await redis.aclose()
