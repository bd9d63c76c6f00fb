"""An inbox for tests of the crash guard: `python -m tests.shopkit.frail_inbox`.

The effect of each event is an account. The handler prints one line per batch, with the ids of its events. An event
of the type DEADLY kills the process. An event of the type ENDLESS blocks the handler.
"""

import asyncio
import os
import signal
from collections.abc import Sequence

from shopkit.db.database import Connection, Database
from shopkit.messaging.inbox import Inbox, OnCommitted
from shopkit.messaging.inbox_store import WaitingEvent
from shopkit.runtime.settings import Settings, load
from tests.shopkit.inbox_events import EFFECT

DEADLY, ENDLESS = "parcel.deadly", "parcel.endless"


class InboxSettings(Settings, frozen=True, kw_only=True):
    """With `ignore_endless`, an ENDLESS event is handled like any other."""

    database_url: str
    ignore_endless: bool = True


async def main(settings: InboxSettings) -> None:
    async def handle(connection: Connection, received: Sequence[WaitingEvent]) -> OnCommitted:
        print("batch", *(event.event_id for event in received), flush=True)
        for event in received:
            await connection.execute(EFFECT, str(event.event_id))
        kinds = {event.type for event in received}
        if DEADLY in kinds:
            os.kill(os.getpid(), signal.SIGKILL)
        if ENDLESS in kinds and not settings.ignore_endless:
            await asyncio.Event().wait()
        return lambda: None

    database = Database(settings.database_url, "payments")
    inbox = Inbox(database, settings.replica, handle)
    await asyncio.gather(database.run(), inbox.run())


if __name__ == "__main__":
    asyncio.run(main(load(InboxSettings)))
