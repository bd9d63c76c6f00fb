"""A socket whose missed messages cannot be read is given up, and no other socket suffers for it."""

from typing import cast

from redis.asyncio import Redis

from notifier.closes import Close
from notifier.hub import Hub, Socket
from notifier.streams import channel, connect
from notifier.wire import Wire

NOWHERE = "redis://127.0.0.1:1/0"


class Willing:
    """A wire that takes everything, and remembers how it was closed."""

    def __init__(self) -> None:
        self.closed: list[int] = []

    def offer(self, _frame: bytes) -> bool:
        return True

    def part(self, code: int, _reason: str) -> None:
        self.closed.append(code)


def joined(hub: Hub, wire: Willing) -> Socket:
    socket = Socket("a-user", cast("Wire", wire))
    socket.joined, socket.held, socket.position = True, None, 5
    sockets = hub._sockets  # pyright: ignore[reportPrivateUsage]
    sockets[channel("a-user")] = (*sockets.get(channel("a-user"), ()), socket)
    return socket


async def test_only_the_socket_that_could_not_be_caught_up_is_given_up() -> None:
    redis: Redis = connect(NOWHERE)
    hub = Hub(redis, redis, "a-replica", sockets_per_user=10)
    wires = Willing(), Willing()
    slow, fast = (joined(hub, wire) for wire in wires)

    await hub._catch_up(slow)  # pyright: ignore[reportPrivateUsage]

    assert [wire.closed for wire in wires] == [[Close.TRY_AGAIN], []]
    assert fast.held is None, "it would hold back every message from now on"
    await redis.aclose()
