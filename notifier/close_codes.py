"""Why a socket is closed, and what its client should do then: the whole list is in docs/push.md."""

import json
import random
from enum import IntEnum

COME_BACK_MILLISECONDS = 100, 2_000


class Close(IntEnum):
    """Close codes of ours. The protocol itself adds 1002 (bad frame), 1007 (not UTF-8) and 1009 (over 4 KiB)."""

    INTERNAL_ERROR = 1011
    """The replica has failed; its log says why. Come back."""
    RESTARTING = 1012
    """This replica ends; the reason is JSON with `retry_after_ms`. Come back then, with a new ticket."""
    TRY_AGAIN = 1013
    """Redis is away, so that nothing could be promised. Come back."""
    BAD_MESSAGE = 4400
    """Said something that this protocol does not have. Do not come back: it would happen again."""
    BAD_TICKET = 4401
    """Never issued, used before, too old, or another user's. Come back with a new one."""
    NO_PONG = 4402
    """Not a word for a ping and the time to answer it. Come back."""
    EXPIRED = 4403
    """The identity was not renewed when it was asked for. Come back, if a new ticket is to be had."""
    TOO_SLOW = 4408
    """Took nothing for ten seconds. Come back."""
    REPLACED = 4409
    """The user has opened more sockets than are allowed, and this was the oldest. Do not come back by itself."""
    TOO_MUCH = 4429
    """Said too much, or too often. Come back later."""

    @property
    def reason(self) -> str:
        return self.name.lower().replace("_", " ")


def come_back_later() -> str:
    """The reason that tells a client how long to stay away: each client has a moment of its own."""
    delay = random.randint(*COME_BACK_MILLISECONDS)  # noqa: S311 (spreads load, guards nothing)
    return json.dumps({"retry_after_ms": delay})
