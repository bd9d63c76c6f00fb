"""Gauges of the backlog in a database. They are read for each request for the metrics."""

import asyncio
import math

from prometheus_client import Gauge

from shopkit.db.database import Database
from shopkit.runtime.retry import is_transient

TIMEOUT_SECONDS = 3


class Backlog:
    """Sets `gauges` to the columns of the one row of `query`, or to NaN while the database is unavailable."""

    def __init__(self, database: Database, query: str, *gauges: Gauge) -> None:
        self._database = database
        self._query = query
        self._gauges = gauges

    async def measure(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS), self._database.autocommit() as connection:
                (row,) = await connection.fetch(self._query)
                values = [float(value) for value in row]
        except Exception as error:
            if not is_transient(error):
                raise
            values = [math.nan] * len(self._gauges)
        for gauge, value in zip(self._gauges, values, strict=True):
            gauge.set(value)
