"""Scraping: reads /metrics of all replicas concurrently, and leaves slow ones out."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest

import aiohttp
import structlog

from backstage.scrape import ScrapedMetrics, parse_metrics
from shopkit.web.upstreams import Upstream

RESPONSE_SECONDS = 1
REPLICAS_LIMIT = 64
METRICS_LIMIT = 256 * 1024

log = structlog.get_logger()


class Replicas:
    """The replicas of `upstreams` and the pool of connections to them, which is open while `run` runs."""

    _session: aiohttp.ClientSession

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self._upstreams = upstreams
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=REPLICAS_LIMIT),
            timeout=aiohttp.ClientTimeout(total=RESPONSE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        async with self._session:
            await self._stopping.wait()

    def stop(self) -> None:
        self._stopping.set()

    async def read(self) -> list[ScrapedMetrics]:
        """Returns the metrics of each replica that responded in time."""
        results = await asyncio.gather(*map(self._scrape, self._bases()))
        return [metrics for metrics in results if metrics is not None]

    def _bases(self) -> Iterator[str]:
        """Returns the base URLs of at most REPLICAS_LIMIT replicas, in turn one of each service.

        So a service with many replicas cannot displace the others.
        """
        rounds = zip_longest(*(upstream.bases for upstream in self._upstreams))
        return islice((base for base in chain.from_iterable(rounds) if base), REPLICAS_LIMIT)

    async def _scrape(self, base: str) -> ScrapedMetrics | None:
        try:
            async with self._session.get(base + "/metrics", allow_redirects=False) as response:
                return parse_metrics(await _text(response))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.debug("scraping a replica failed", url=base, error=repr(error))
            return None


async def _text(response: aiohttp.ClientResponse) -> str:
    response.raise_for_status()
    if response.content_length is None or response.content_length > METRICS_LIMIT:
        raise ValueError("the response is too long or has no content-length")
    return (await response.read()).decode()
