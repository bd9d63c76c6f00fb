"""WebSocket close codes, and what the client should do after each. docs/push.md has the complete table."""

import json
import random
from enum import IntEnum

RETRY_AFTER_MS = 100, 2_000


class Close(IntEnum):
    """The close codes of this application.

    WebSocket itself adds 1002 (invalid frame), 1007 (text that is not UTF-8) and 1009 (message over 4 KiB).
    """

    INTERNAL_ERROR = 1011
    """The replica has failed and has logged the error. The client reconnects."""
    RESTARTING = 1012
    """This replica is stopping. The client reconnects after the delay in the reason, `{"retry_after_ms": ...}`."""
    TRY_AGAIN = 1013
    """Redis is unavailable, or has lost messages of this user. The client reconnects."""
    BAD_MESSAGE = 4400
    """The client sent a message that the protocol does not define. It must not reconnect and repeat that."""
    BAD_TICKET = 4401
    """The ticket was never issued, is used, expired, or belongs to another user. The client gets a new one."""
    NO_PONG = 4402
    """The client did not answer a ping in time. It reconnects."""
    EXPIRED = 4403
    """The client did not renew its identity when asked. It reconnects if it can get a new ticket."""
    TOO_SLOW = 4408
    """The client read nothing for ten seconds. It reconnects."""
    REPLACED = 4409
    """Evicted: the user opened too many sockets, and this was the oldest. The client must not reconnect."""
    TOO_MUCH = 4429
    """The client sent too many messages or bytes. It reconnects later."""

    @property
    def reason(self) -> str:
        return self.name.lower().replace("_", " ")


def restart_reason() -> str:
    """Returns the reason for RESTARTING. Its delay is random, so that clients do not reconnect simultaneously."""
    delay = random.randint(*RETRY_AFTER_MS)  # noqa: S311 (spreads load, guards nothing)
    return json.dumps({"retry_after_ms": delay})
