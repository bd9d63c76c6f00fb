"""The command line, the reports, the links and the signal handling of the fault suite."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtest.faults.__main__ import parse
from loadtest.faults.links import Link, LinkRoute
from loadtest.faults.report import as_html, as_text
from loadtest.faults.stores import BrokerObjectNotFound, ServersUnderFaults
from loadtest.faults.trial import Outcome
from tests.support import free_port

OUTCOME = Outcome(
    seed=1, seconds=9.0, planned=6, happenings=[], orders=0, requests={}, judged={"books"}, broken={}, error=""
)


def test_an_invariant_that_was_not_checked_is_reported_as_not_judged() -> None:
    states = dict(line.split(maxsplit=1) for line in as_text(OUTCOME).splitlines()[1:])
    assert states["books"] == "held"
    assert states["sockets-paced"] == "not judged"
    assert as_html(OUTCOME).count("<td class=ok>held") == 1


def test_a_report_shows_how_many_planned_faults_were_run() -> None:
    assert "0 of 6 faults" in as_text(OUTCOME)


def test_a_report_names_the_reason_for_an_early_end() -> None:
    ended = msgspec.structs.replace(OUTCOME, error="ended by a signal")
    assert "ended by a signal" in as_text(ended)
    assert "ended by a signal" in as_html(ended)


def test_only_selects_faults_by_name() -> None:
    assert parse(["--on", "cluster", "--only", "move the leaders, kill the redis primary"]).only == [
        "move the leaders",
        "kill the redis primary",
    ]


def test_a_fault_of_another_target_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--on", "cluster", "--only", "kill orders"])
    assert "kill orders" in capsys.readouterr().err


@pytest.fixture
async def management(session: aiohttp.ClientSession) -> AsyncGenerator[ServersUnderFaults]:
    async def respond(request: web.Request) -> web.Response:
        return web.json_response([], status=int(request.match_info["status"]))

    app = web.Application()
    app.router.add_route("*", "/api/{status}", respond)
    async with TestServer(app) as server:
        yield ServersUnderFaults(
            {"databases": {}, "broker_management": f"http://a:b@{server.host}:{server.port}"}, session
        )


async def test_a_queue_that_is_not_counted_yet_is_not_empty(
    management: ServersUnderFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def queues() -> list[dict[str, object]]:
        return [{"name": "known", "messages": 0}, {"name": "new"}]

    async def no_rows(*_: object) -> list[tuple[int]]:
        return [(0,)]

    monkeypatch.setattr(management, "_queues", queues)
    monkeypatch.setattr(management, "sql", no_rows)
    assert await management.waiting() == {"new": -1}


async def test_an_error_of_the_management_api_is_raised(
    management: ServersUnderFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtest.faults.stores.ATTEMPTS", 2)
    monkeypatch.setattr("loadtest.faults.stores.PAUSE_SECONDS", 0)
    assert await management.broker("GET", "200") == []
    assert await management.broker("DELETE", "204") is None
    with pytest.raises(aiohttp.ClientResponseError):
        await management.broker("GET", "503")
    with pytest.raises(BrokerObjectNotFound):
        await management.broker("DELETE", "404")


@asynccontextmanager
async def echo_behind_link() -> AsyncGenerator[tuple[Link, asyncio.StreamReader, asyncio.StreamWriter]]:
    """Yields a link to an echo server, and a connection through it."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", real_port := free_port())
    link = Link(LinkRoute("orders", "postgres", port := free_port(), real_port))
    await link.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield link, reader, writer
    await link.close()
    writer.close()
    server.close()


async def test_a_link_counts_what_a_fault_affected() -> None:
    async with echo_behind_link() as (link, reader, writer):
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        assert link.heal() == 0
        link.hold("to_service")
        writer.write(b"held")
        while not link.affected:
            await asyncio.sleep(0.01)
        assert link.heal() == 1
        assert await reader.readexactly(4) == b"held"
        await link.close()
        assert link.heal() == 1


async def test_a_held_link_holds_the_end_of_a_connection_too() -> None:
    async with echo_behind_link() as (link, reader, writer):
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        link.hold()
        writer.write_eof()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read()
        link.heal()
        assert await reader.read() == b""


async def test_only_a_chunk_with_all_the_words_loses_its_response() -> None:
    async with echo_behind_link() as (link, reader, writer):
        link.lose_responses_to(b"order", b"sync")
        for words in (b"order", b"sync"):
            writer.write(words)
            assert await reader.readexactly(len(words)) == words
        writer.write(b"an order, and sync")
        assert await reader.read() == b""
        assert link.heal() == 1


RUN = """
import asyncio
from loadtest.faults.cancellation import run_until_signal

async def work():
    try:
        print("up", flush=True)
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0.5)
    return "down"

print(run_until_signal(work()))
"""


async def test_a_terminated_run_finishes_its_cleanup() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    for _ in range(2):  # the second signal has no effect
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
    assert (await process.stdout.read(), await process.wait()) == (b"down\n", 0)
