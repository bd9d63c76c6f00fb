"""Events for tests of an inbox. The effect of an event is one row, and writing it twice fails."""

from collections.abc import Sequence
from uuid import UUID

from uuid_utils.compat import uuid7

from shopkit.db.database import Database
from shopkit.messaging import inbox_store
from shopkit.messaging.inbox_store import ReceivedEvent
from tests.servers import rows

HARMLESS = "parcel.sent"
EFFECT = "INSERT INTO accounts (user_id) VALUES ($1)"


def events(count: int, kind: str = HARMLESS) -> list[ReceivedEvent]:
    return [ReceivedEvent(uuid7(), kind, b"{}") for _ in range(count)]


def ids(received: Sequence[ReceivedEvent]) -> set[UUID]:
    return {event.event_id for event in received}


async def store(database: Database, received: Sequence[ReceivedEvent]) -> int:
    """Stores the events and returns how many are new."""
    async with database.begin() as connection:
        return await inbox_store.store(connection, received, "payments-1")


async def effects(database: Database) -> set[UUID]:
    """Returns the ids of the events that took effect."""
    return {UUID(row.user_id) for row in await rows(database, "SELECT user_id FROM accounts")}
