"""Reading /metrics of every replica at once, and waiting for none that is slow."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest

import aiohttp
import structlog

from backstage.scrape import ScrapedMetrics, figures
from shopkit.web.upstreams import Upstream

ANSWER_SECONDS = 1
REPLICAS_LIMIT = 64
LONGEST = 256 * 1024

log = structlog.get_logger()


class Replicas:
    """The replicas of `upstreams`, and the pool of connections to them, open while it runs."""

    _session: aiohttp.ClientSession

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self._upstreams = upstreams
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=REPLICAS_LIMIT),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        async with self._session:
            await self._stopping.wait()

    def stop(self) -> None:
        self._stopping.set()

    async def read(self) -> list[ScrapedMetrics]:
        """Of those that answered in time."""
        answers = await asyncio.gather(*map(self._ask, self._some_of_each()))
        return [answer for answer in answers if answer is not None]

    def _some_of_each(self) -> Iterator[str]:
        """Should there be too many, then no service is crowded out by another."""
        ranks = zip_longest(*(upstream.bases for upstream in self._upstreams))
        return islice((base for base in chain.from_iterable(ranks) if base), REPLICAS_LIMIT)

    async def _ask(self, base: str) -> ScrapedMetrics | None:
        try:
            async with self._session.get(base + "/metrics", allow_redirects=False) as response:
                return figures(await _text(response))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.debug("replica left out", url=base, error=repr(error))
            return None


async def _text(response: aiohttp.ClientResponse) -> str:
    response.raise_for_status()
    if response.content_length is None or response.content_length > LONGEST:
        raise ValueError("too long an answer, or one that does not say how long it is")
    return (await response.read()).decode()
