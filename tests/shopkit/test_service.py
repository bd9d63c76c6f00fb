import asyncio
import resource
import signal
import tomllib
from collections.abc import Callable, Iterator

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Spawn
from tests.servers import Broker, Forwarder
from tests.support import PATIENCE, ROOT, Caller, Replica, eventually, said

FRAIL = "tests.shopkit.frail_service"
ENDED = (0, -signal.SIGTERM)  # uvicorn gives itself the signal again once it has finished


async def get(session: aiohttp.ClientSession, replica: Replica, path: str) -> int:
    async with session.get(replica.url + path) as response:
        return response.status


async def post(session: aiohttp.ClientSession, replica: Replica, path: str) -> None:
    async with session.post(replica.url + path) as response:
        assert response.status == 201


@pytest.mark.parametrize("how", ["raising", "cancelled"])
async def test_the_process_ends_when_a_worker_ends_or_raises(
    spawn: Spawn, session: aiohttp.ClientSession, how: str
) -> None:
    replica = await spawn(FRAIL)
    await post(session, replica, f"/break/{how}")
    assert replica.process is not None
    assert await asyncio.wait_for(replica.process.wait(), 10) == 1
    assert '"worker died"' in replica.log()


async def test_readiness_reports_each_part_and_liveness_none(spawn: Spawn, session: aiohttp.ClientSession) -> None:
    replica = await spawn(FRAIL)
    assert await replica.readiness(session) == (
        200,
        {"ready": True, "parts": {"first": "ok", "second": "ok"}, "replica": replica.name},
    )
    await post(session, replica, "/spoil")
    status, readiness = await replica.readiness(session)
    assert (status, readiness["ready"], readiness["parts"]["first"]) == (503, False, "ok")
    assert "unhealthy" in readiness["parts"]["second"]
    assert await get(session, replica, "/health/live") == 200


async def test_sigterm_stops_the_workers_and_the_process(spawn: Spawn) -> None:
    replica = await spawn(FRAIL)
    assert await replica.stop() in ENDED
    assert "worker" not in replica.log()  # no worker died or was too slow


async def test_an_unknown_path_gets_a_problem_document(spawn: Spawn, session: aiohttp.ClientSession) -> None:
    replica = await spawn(FRAIL)
    answer = await Caller(session, replica.url).call("GET", "/nowhere")
    assert (answer.status, answer.fields()) == (404, set())
    assert answer.body["instance"] == "/nowhere"


async def test_orders_starts_before_its_database_and_its_broker(
    spawn: Spawn,
    session: aiohttp.ClientSession,
    orders_url: str,
    broker: Broker,
    broker_url: str,
    way_to: Callable[[str], Forwarder],
) -> None:
    to_database, to_broker = way_to(orders_url), way_to(broker_url)
    replica = await spawn("orders", wait=False, DATABASE_URL=to_database.url, BROKER_URL=to_broker.url)
    caller = Caller(session, replica.url)

    async def ready_parts() -> set[str] | None:
        status, readiness = await replica.readiness(session)
        if not readiness:
            return None
        assert (status == 200) == readiness["ready"]
        return {part for part, state in readiness["parts"].items() if state == "ok"}

    async def listens() -> bool:
        return await ready_parts() is not None

    await eventually(listens)
    assert await ready_parts() == {"outbox"}  # the relay waits, but not long enough to be stalled
    assert await get(session, replica, "/health/live") == 200
    answer = await caller.call("POST", "/api/orders", {"amount": 1, "description": "early"})
    assert (answer.status, answer.fields(), answer.headers["Retry-After"]) == (503, set(), "1")

    await to_database.open()

    async def has_its_database() -> bool:
        return await ready_parts() == {"database", "outbox"}

    await eventually(has_its_database)
    order = await caller.order(1)  # orders are accepted while the broker is unavailable

    await to_broker.open()
    await replica.ready(session)
    (event,) = await broker.take_events("payments.order-created")
    assert event["subject"] == order

    assert await replica.metric(session, "gozon_orders_accepted_total") == 1
    assert await replica.stop() in ENDED
    assert "did not stop in time" not in replica.log()


async def test_readiness_follows_the_availability_of_each_server(
    spawn: Spawn,
    session: aiohttp.ClientSession,
    payments_url: str,
    broker_url: str,
    way_to: Callable[[str], Forwarder],
) -> None:
    ways = {"database": way_to(payments_url), "broker": way_to(broker_url)}
    for way in ways.values():
        await way.open()
    replica = await spawn("payments", DATABASE_URL=ways["database"].url, BROKER_URL=ways["broker"].url)
    for part, way in ways.items():
        await way.cut()

        async def its_part_is_not_ready(part: str = part) -> bool:
            status, readiness = await replica.readiness(session)
            return status == 503 and readiness["parts"][part] != "ok"

        await eventually(its_part_is_not_ready)
        assert await get(session, replica, "/health/live") == 200
        await way.open()
        await replica.ready(session)


async def test_the_metrics_say_what_is_running(spawn: Spawn, session: aiohttp.ClientSession) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    replica = await spawn(FRAIL, REVISION="abc1234")
    labels = f'replica="{replica.name}",revision="abc1234",service="frail",version="{project["version"]}"'
    assert await replica.metric(session, f"gozon_build_info{{{labels}}}") == 1


async def test_every_metric_has_the_label_service(spawn: Spawn, session: aiohttp.ClientSession) -> None:
    replica = await spawn(FRAIL)
    async with session.get(replica.url + "/metrics") as response:
        families = [*text_string_to_metric_families(await response.text())]
    assert {"gozon_relay_failures", "gozon_tasks", "process_open_fds"} <= {family.name for family in families}
    samples = [sample for family in families for sample in family.samples]
    assert {sample.labels.get("service") for sample in samples} == {"frail"}


@pytest.mark.parametrize(
    "line", [b"X-User-Id: \x01", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity"]
)
async def test_malformed_http_gets_a_problem_document_and_closes_the_connection(spawn: Spawn, line: bytes) -> None:
    replica = await spawn(FRAIL)
    answer = await said("127.0.0.1", replica.port, b"GET / HTTP/1.1\r\nHost: shop\r\n%b\r\n\r\n0\r\n\r\n" % line)
    assert (answer.status, answer.fields()) == (400, set())
    assert answer.body["type"] == "urn:gozon:problem:malformed-request"


async def test_a_response_is_sent_in_one_write(spawn: Spawn) -> None:
    replica = await spawn(FRAIL)
    reader, writer = await asyncio.open_connection("127.0.0.1", replica.port)
    for _ in range(50):
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await reader.read(65536)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b'{"status":"live"}')
    writer.write(b"HEAD /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 405 ")
    writer.write(b"POST /repeat HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"word")
    assert (await reader.read(65536)).endswith(b"\r\n\r\nword")
    writer.close()


async def test_a_slow_body_gets_408_and_closes_the_connection(spawn: Spawn) -> None:
    replica = await spawn(FRAIL)
    head = b"POST /repeat HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n"
    answer = await said("127.0.0.1", replica.port, head + b"half")
    assert (answer.status, answer.fields(), answer.headers["connection"]) == (408, set(), "close")
    assert (answer.body["type"], answer.body["instance"]) == ("urn:gozon:problem:request-timeout", "/repeat")
    assert "request failed" not in replica.log()


async def test_a_body_that_is_missing_after_the_response_closes_the_connection(spawn: Spawn) -> None:
    replica = await spawn(FRAIL)
    reader, writer = await asyncio.open_connection("127.0.0.1", replica.port)
    writer.write(b"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        answers = await reader.read()
    assert answers.startswith(b"HTTP/1.1 404 ")
    assert answers.count(b"HTTP/1.1 ") == 1  # a client would take a second one for the response to its next request
    writer.close()


async def test_a_body_in_several_parts_is_read_and_the_connection_stays_open(spawn: Spawn) -> None:
    replica = await spawn(FRAIL)
    reader, writer = await asyncio.open_connection("127.0.0.1", replica.port)
    request = b"POST /repeat HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nword"
    writer.write(request[:-2])
    await asyncio.sleep(0.1)
    for part in (request[-2:], request):
        writer.write(part)
        assert (await reader.readuntil(b"word")).startswith(b"HTTP/1.1 201 ")
        await asyncio.sleep(1.2)  # longer than a body may take
    writer.close()


@pytest.fixture
def few_files() -> Iterator[int]:
    """Lowers the soft limit of open files for programs that start now. Returns the hard limit."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
    yield most
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


async def test_a_replica_raises_its_limit_of_open_files_to_the_hard_limit(spawn: Spawn, few_files: int) -> None:
    replica = await spawn(FRAIL)
    assert replica.process is not None
    assert resource.prlimit(replica.process.pid, resource.RLIMIT_NOFILE) == (few_files, few_files)
