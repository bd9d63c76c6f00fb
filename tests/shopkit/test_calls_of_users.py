"""Every operation of a user at every service. Databases, RabbitMQ and Redis are unavailable here."""

import json
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from tests.conftest import Spawn
from tests.support import ROOT, Replica, eventually, free_port, said

SERVICES = ("orders", "payments", "notifier")
CALLS = [
    (service, method.upper(), path.replace("{order_id}", "01a206e8-6bc4-7359-a38a-8da7f8c962e1"))
    for service in SERVICES
    for path, calls in json.loads((ROOT / f"docs/openapi/{service}.json").read_text())["paths"].items()
    for method, call in calls.items()
    if call["security"]
]
VALID_HEADERS = "X-User-Id: ann\r\nContent-Type: application/json\r\n"

Listening = Callable[[str], Awaitable[Replica]]


@pytest.fixture
def listening(spawn: Spawn, session: aiohttp.ClientSession) -> Listening:
    """Starts a replica whose database, broker and Redis are unavailable: `await listening("orders")`."""
    unavailable = f"127.0.0.1:{free_port()}"

    async def start(service: str) -> Replica:
        replica = await spawn(
            service,
            wait=False,
            DATABASE_URL=f"postgresql://{unavailable}/x",
            BROKER_URL=f"amqp://{unavailable}/",
            REDIS_URL=f"redis://{unavailable}/0",
            ALLOWED_ORIGINS="http://shop",
        )

        async def listens() -> bool:
            return (await replica.readiness(session))[0] != 0

        await eventually(listens)
        return replica

    return start


def calls_of(service: str) -> list[tuple[str, str]]:
    return [(method, path) for name, method, path in CALLS if name == service]


def test_the_api_documents_contain_the_operations_of_users() -> None:
    assert {service: len(calls_of(service)) for service in SERVICES} == {"orders": 3, "payments": 4, "notifier": 1}


@pytest.mark.parametrize("service", SERVICES)
async def test_a_request_without_a_user_id_gets_401_before_its_body_is_read(
    listening: Listening, service: str
) -> None:
    replica = await listening(service)
    for method, path in calls_of(service):
        # The announced body is never sent. `said` waits until the connection is closed.
        head = (
            f"{method} {path}?limit=no HTTP/1.1\r\nHost: shop\r\nContent-Type: text/plain\r\nConnection: close\r\n"
        )
        response = await said("127.0.0.1", replica.port, f"{head}Content-Length: 1000\r\n\r\n".encode())
        assert (response.status, response.body["type"]) == (401, "urn:gozon:problem:missing-user")
        assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("service", SERVICES)
async def test_a_user_id_in_a_trailer_is_ignored(listening: Listening, service: str) -> None:
    replica = await listening(service)
    for method, path in calls_of(service):
        head = f"{method} {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
        rest = "Content-Type: application/json\r\n\r\n2\r\n{}\r\n0\r\nX-User-Id: ann\r\n\r\n"
        response = await said("127.0.0.1", replica.port, (head + rest).encode())
        assert (response.status, response.body["type"]) == (401, "urn:gozon:problem:missing-user")


@pytest.mark.parametrize("service", SERVICES)
async def test_a_repeated_single_value_header_is_rejected(listening: Listening, service: str) -> None:
    replica = await listening(service)
    for method, path in calls_of(service):
        for header in ("X-User-Id: bob", "X-User-Id: ann", "Content-Type: text/plain", "Idempotency-Key: a"):
            head = f"{method} {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nIdempotency-Key: b\r\n"
            request = f"{head}{VALID_HEADERS}{header}\r\n\r\n".encode()
            response = await said("127.0.0.1", replica.port, request)
            assert (response.status, response.fields()) == (400, {header.partition(":")[0]})


@pytest.mark.parametrize("service", SERVICES)
async def test_options_needs_no_user(listening: Listening, session: aiohttp.ClientSession, service: str) -> None:
    replica = await listening(service)
    for _, path in calls_of(service):
        async with session.options(replica.url + path) as response:
            assert response.status == 204


async def test_an_error_response_to_a_user_is_not_cacheable(
    listening: Listening, session: aiohttp.ClientSession
) -> None:
    replica = await listening("orders")
    async with session.get(replica.url + "/api/orders", headers={"X-User-Id": "ann"}) as response:
        assert (response.status, response.headers["Cache-Control"]) == (503, "no-store")
