"""The one HTTP entry point of backstage."""

from litestar import get
from litestar.datastructures import CacheControlHeader

from backstage.latest import Latest
from backstage.snapshot import Snapshot


@get(
    "/api/backstage",
    cache_control=CacheControlHeader(no_store=True),
    summary="See what the replicas and queues are doing",
    tags=["Backstage"],
)
async def show(latest: Latest) -> Snapshot:
    return await latest.snapshot()
