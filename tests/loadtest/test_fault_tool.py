"""What a fault trial says of itself: what it did, what it did not, and what it did not look at."""

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
from loadtest.faults.contents import Contents, NotThere
from loadtest.faults.links import Link, LinkRoute
from loadtest.faults.report import page, words
from loadtest.faults.trial import Outcome
from tests.support import free_port

OUTCOME = Outcome(
    seed=1, seconds=9.0, planned=6, happenings=[], orders=0, requests={}, judged={"books"}, broken={}, error=""
)


def test_what_nobody_judged_is_not_said_to_hold() -> None:
    said = dict(line.split(maxsplit=1) for line in words(OUTCOME).splitlines()[1:])
    assert said["books"] == "held"
    assert said["sockets-paced"] == "not judged"
    assert page(OUTCOME).count("<td class=ok>held") == 1


def test_a_plan_that_was_cut_short_says_so() -> None:
    assert "0 of 6 faults" in words(OUTCOME)


def test_what_ended_a_run_is_told() -> None:
    ended = msgspec.structs.replace(OUTCOME, error="ended by a signal")
    assert "ended by a signal" in words(ended)
    assert "ended by a signal" in page(ended)


def test_faults_are_picked_wherever_they_happen() -> None:
    assert parse(["--on", "cluster", "--only", "move the leaders, kill the redis primary"]).only == [
        "move the leaders",
        "kill the redis primary",
    ]


def test_a_fault_of_another_place_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--on", "cluster", "--only", "kill orders"])
    assert "kill orders" in capsys.readouterr().err


@pytest.fixture
async def management(session: aiohttp.ClientSession) -> AsyncGenerator[Contents]:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response([], status=int(request.match_info["status"]))

    app = web.Application()
    app.router.add_route("*", "/api/{status}", answer)
    async with TestServer(app) as server:
        yield Contents({"databases": {}, "broker_management": f"http://a:b@{server.host}:{server.port}"}, session)


async def test_a_queue_of_which_nothing_is_known_is_not_empty(
    management: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def queues() -> list[dict[str, object]]:
        return [{"name": "known", "messages": 0}, {"name": "new"}]

    async def no_rows(*_: object) -> list[tuple[int]]:
        return [(0,)]

    monkeypatch.setattr(management, "_queues", queues)
    monkeypatch.setattr(management, "sql", no_rows)
    assert await management.waiting() == {"new": -1}


async def test_an_error_of_the_management_api_is_not_an_empty_broker(
    management: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtest.faults.contents.TRIES", 2)
    monkeypatch.setattr("loadtest.faults.contents.PAUSE", 0)
    assert await management.broker("GET", "200") == []
    assert await management.broker("DELETE", "204") is None
    with pytest.raises(aiohttp.ClientResponseError):
        await management.broker("GET", "503")
    with pytest.raises(NotThere):
        await management.broker("DELETE", "404")


@asynccontextmanager
async def an_echo_behind_a_link() -> AsyncGenerator[tuple[Link, asyncio.StreamReader, asyncio.StreamWriter]]:
    """And a connection by it."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", real := free_port())
    link = Link(LinkRoute("orders", "postgres", ours := free_port(), real))
    await link.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", ours)
    yield link, reader, writer
    await link.close()
    writer.close()
    server.close()


async def test_a_link_knows_whether_a_fault_met_anything() -> None:
    async with an_echo_behind_a_link() as (link, reader, writer):
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        assert link.heal() == 0
        link.hold("back")
        writer.write(b"held")
        while not link.touched:
            await asyncio.sleep(0.01)
        assert link.heal() == 1
        assert await reader.readexactly(4) == b"held"
        await link.close()
        assert link.heal() == 1


async def test_the_end_of_a_connection_is_held_up_as_well() -> None:
    async with an_echo_behind_a_link() as (link, reader, writer):
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        link.hold()
        writer.write_eof()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read()
        link.heal()
        assert await reader.read() == b""


async def test_answers_are_lost_to_what_holds_all_the_words() -> None:
    async with an_echo_behind_a_link() as (link, reader, writer):
        link.lose_answers_to(b"order", b"sync")
        for words in (b"order", b"sync"):
            writer.write(words)
            assert await reader.readexactly(len(words)) == words
        writer.write(b"an order, and sync")
        assert await reader.read() == b""
        assert link.heal() == 1


RUN = """
import asyncio
from loadtest.faults.ending import run

async def work():
    try:
        print("up", flush=True)
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0.5)
    return "down"

print(run(work()))
"""


async def test_a_run_that_is_terminated_takes_down_what_it_started() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    for _ in range(2):  # the second one changes nothing
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
    assert (await process.stdout.read(), await process.wait()) == (b"down\n", 0)
