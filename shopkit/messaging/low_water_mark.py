"""The low-water mark: reading a queue table costs the same however many dead rows lie before its live ones.

PostgreSQL keeps a deleted row as long as any transaction has an older snapshot: a `pg_dump`, an audit, a
forgotten psql. A read in the order of ids that begins at the lowest one walks over all of them, each time.
"""

import time

from shopkit.db.database import Connection, Row

MARK_SECONDS = 1.0
SWEEP_SECONDS = 1.0
# A sweep that takes long is repeated less often: the sweeps of one reader get at most one hundredth of the time.
SWEEP_PAUSE_FACTOR = 100


class LowWaterMark:
    """Where one reader of a queue table begins.

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
        """Runs `query`, which takes the limit as `$1` and the id to begin after as `$2`, and returns ids first."""
        begun = time.monotonic()
        sweeping = begun >= self._sweep_due
        rows = await connection.fetch(query, limit, 0 if sweeping else self._mark)
        self._sweep_seconds = time.monotonic() - begun if sweeping else None
        self._fetched = max((row[0] for row in rows), default=0)
        return rows

    def committed(self) -> None:
        """The rows of the last fetch are dealt with for good."""
        now = time.monotonic()
        self._highest = max(self._highest, self._fetched)
        if now >= self._move_due:
            self._mark, self._next_mark = self._next_mark, self._highest
            self._move_due = now + MARK_SECONDS
        if self._sweep_seconds is not None:
            self._sweep_due = now + max(SWEEP_SECONDS, SWEEP_PAUSE_FACTOR * self._sweep_seconds)
