"""The one HTTP entry point of backstage."""

from litestar import get
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency

from backstage.latest import Latest
from backstage.snapshot import EXAMPLE, Snapshot
from shopkit.web.problems import internal
from shopkit.web.responses import NO_STORE, DocumentedResponse, refusal


@get(
    "/api/backstage",
    cache_control=CacheControlHeader(no_store=True),
    summary="See what the replicas and queues are doing",
    tags=["Backstage"],
    responses={
        200: DocumentedResponse(
            "Counters of each replica; rates come from two of them.", {"idle": EXAMPLE}, headers=NO_STORE
        ),
        500: refusal(internal()),
    },
)
async def show_backstage(latest: NamedDependency[Latest]) -> Snapshot:
    return await latest.snapshot()
