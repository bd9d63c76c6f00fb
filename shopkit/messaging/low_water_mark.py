"""The low-water mark: keeps reads of a queue table fast when many dead rows lie before the live ones.

PostgreSQL keeps a deleted row as long as any transaction has an older snapshot, such as a `pg_dump` or a forgotten
psql session. A read in the order of ids that begins at the lowest id walks over all dead rows, each time
(docs/adr/0017-a-low-water-mark.md).
"""

import time

from shopkit.db.database import Connection, Row

MARK_SECONDS = 1.0
SWEEP_SECONDS = 1.0
# A sweep that takes long is repeated less often: the sweeps of one reader get at most one hundredth of the time.
SWEEP_PAUSE_FACTOR = 100


class LowWaterMark:
    """The id after which one reader of a queue table begins to read.

    Most reads begin at the mark. Now and then, one read is a sweep and begins at the lowest id: after
    SWEEP_SECONDS, or later if the sweep before took long. The mark is the highest id that this reader had
    committed one to two times MARK_SECONDS ago.

    A row below the mark waits for the next sweep. Such a row is rare: either its transaction took longer than that
    lag between taking the id and committing, or another reader took the row and then rolled back. A read that is
    rolled back does not move the mark.
    """

    def __init__(self) -> None:
        self._mark = 0
        self._next_mark = 0
        self._highest = 0
        self._move_due = 0.0
        self._sweep_due = 0.0
        self._fetched = 0
        self._sweep_seconds: float | None = None

    async def fetch(self, connection: Connection, query: str, limit: int) -> list[Row]:
        """Runs `query` from the mark, or from the lowest id if a sweep is due. Returns its rows.

        `query` has the limit as `$1` and the id after which to begin as `$2`. Its first column must be the id.
        """
        started = time.monotonic()
        sweeping = started >= self._sweep_due
        rows = await connection.fetch(query, limit, 0 if sweeping else self._mark)
        self._sweep_seconds = time.monotonic() - started if sweeping else None
        self._fetched = max((row[0] for row in rows), default=0)
        return rows

    def on_committed(self) -> None:
        """Must be called after the transaction of the last `fetch` has committed. Moves the mark if due."""
        now = time.monotonic()
        self._highest = max(self._highest, self._fetched)
        if now >= self._move_due:
            self._mark, self._next_mark = self._next_mark, self._highest
            self._move_due = now + MARK_SECONDS
        if self._sweep_seconds is not None:
            self._sweep_due = now + max(SWEEP_SECONDS, SWEEP_PAUSE_FACTOR * self._sweep_seconds)
