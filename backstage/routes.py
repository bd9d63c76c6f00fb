"""The HTTP interface of backstage."""

from litestar import get
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency

from backstage.latest import Latest
from backstage.snapshot import EXAMPLE, Snapshot
from shopkit.web.problems import internal
from shopkit.web.responses import NO_STORE, DocumentedResponse, error_response


@get(
    "/api/backstage",
    cache_control=CacheControlHeader(no_store=True),
    summary="See what the replicas and queues are doing",
    tags=["Backstage"],
    responses={
        200: DocumentedResponse(
            "Counters of each replica. The difference of two snapshots gives rates.",
            {"idle": EXAMPLE},
            headers=NO_STORE,
        ),
        500: error_response(internal()),
    },
)
async def show_backstage(latest: NamedDependency[Latest]) -> Snapshot:
    return await latest.snapshot()
