"""An inbox to try the crash guard on: `python -m tests.shopkit.frail_inbox`. One kind of event kills the process.

Each event takes effect as an account; what is given to the handler is printed, a line a batch.
"""

import asyncio
import os
import signal
from collections.abc import Sequence

from shopkit.db.database import Connection, Database
from shopkit.messaging.inbox import OnCommitted, Inbox
from shopkit.messaging.inbox_store import WaitingEvent
from shopkit.runtime.settings import Settings, load
from tests.shopkit.inbox_events import EFFECT

DEADLY, ENDLESS = "parcel.bomb", "parcel.maze"


class InboxSettings(Settings, frozen=True, kw_only=True):
    """`maps`: with one, an endless event has an end."""

    database_url: str
    maps: bool = True


async def main(settings: InboxSettings) -> None:
    async def handle(connection: Connection, received: Sequence[WaitingEvent]) -> OnCommitted:
        print("given", *(event.event_id for event in received), flush=True)
        for event in received:
            await connection.execute(EFFECT, str(event.event_id))
        kinds = {event.type for event in received}
        if DEADLY in kinds:
            os.kill(os.getpid(), signal.SIGKILL)
        if ENDLESS in kinds and not settings.maps:
            await asyncio.Event().wait()
        return lambda: None

    database = Database(settings.database_url, "payments")
    inbox = Inbox(database, settings.replica, handle)
    await asyncio.gather(database.run(), inbox.run())


if __name__ == "__main__":
    asyncio.run(main(load(InboxSettings)))
