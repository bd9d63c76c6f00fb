"""Why a socket is closed."""

from enum import IntEnum


class Close(IntEnum):
    """Close codes. After each of them the client comes back with a new ticket, in its own random time."""

    TRY_AGAIN = 1013
    """Redis is away, so that nothing could be promised."""
    BAD_TICKET = 4401
    """Never issued, used before, or too old."""
    NO_PONG = 4402
    """Not a word for a ping and the time to answer it."""
    TOO_SLOW = 4408
    """Took nothing for ten seconds."""

    @property
    def reason(self) -> str:
        return self.name.lower().replace("_", " ")
