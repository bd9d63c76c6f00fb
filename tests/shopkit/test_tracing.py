import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from shopkit.messaging.events import outgoing
from shopkit.messaging.journey import now
from shopkit.observability import tracing
from tests.collector import Collector, collecting
from tests.conftest import Spawn
from tests.shopkit.test_service import ENDED, FRAIL
from tests.support import Caller, Replica
from tests.support import said as send

OK, ERROR = 1, 2
ORDER = uuid4()
FORGED = "0" * 55  # as long as a valid traceparent


def traceparent(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Collector]:
    """Collects the spans of this process. They have arrived when `tracing.stop` returns."""
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        tracing.start("test", "test-1", os.environ)
        yield collector
        await flush_spans()


async def flush_spans() -> None:
    await asyncio.to_thread(tracing.stop)


async def test_a_batch_span_is_linked_to_all_of_its_traces(collector: Collector) -> None:
    with tracing.batch("handle", [traceparent(n) for n in range(1, 1001)]):
        pass
    await flush_spans()
    (batch,) = collector.spans
    assert batch.links == [f"{n:016x}" for n in range(1, 1001)]


async def test_a_failed_batch_and_its_child_spans_have_the_status_error(collector: Collector) -> None:
    def fail() -> None:
        with tracing.batch("bad", [traceparent(1)]):
            tracing.child("settle", traceparent(1))
            raise ValueError("poison")

    with pytest.raises(ValueError, match="poison"):
        fail()
    with tracing.batch("good", [traceparent(2)]):
        tracing.child("settle", traceparent(2))
    await flush_spans()
    bad, good = (collector.of(f"{n:032x}")["test", "settle"] for n in (1, 2))
    assert (bad.status, good.status) == (ERROR, OK)
    assert bad.links == [span.id for span in collector.named("bad") if span.status == ERROR]
    assert good.links == [span.id for span in collector.named("good") if span.status != ERROR]


async def test_a_malformed_traceparent_is_passed_on_without_a_span(collector: Collector) -> None:
    event = outgoing("post", "parcel.sent", ORDER, now("accepted", "a"), FORGED)
    with tracing.batch("handle", [tracing.of_event(event.event)]):
        assert tracing.child("settle", FORGED) == FORGED
        assert tracing.child("settle", None) is None
    await flush_spans()
    (batch,) = collector.spans
    assert batch.links == []


async def test_a_child_span_is_only_made_inside_a_batch(collector: Collector) -> None:
    with tracing.batch("handle", []):
        pass
    assert tracing.child("settle", traceparent(1)) == traceparent(1)


@pytest.mark.parametrize("given", [traceparent(7), None])
def test_the_traceparent_of_an_event_is_found_without_decoding(given: str | None) -> None:
    note = now('","traceparent":"' + traceparent(9) + '"', "a")
    assert tracing.of_event(outgoing("post", "parcel.sent", ORDER, note, given).event) == given


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "never-responds"])
async def test_an_unavailable_collector_delays_no_request_and_no_stop(
    spawn: Spawn, session: aiohttp.ClientSession, silent: bool
) -> None:
    collector = socket.create_server(("127.0.0.1", 0))  # connections are established, but never accepted
    port = collector.getsockname()[1]
    if not silent:
        collector.close()
    replica = await spawn(
        FRAIL, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}", OTEL_BSP_SCHEDULE_DELAY="10"
    )
    caller = Caller(session, replica.url)
    slowest = max([await seconds_of(caller) for _ in range(20)])
    assert slowest < 1
    started = time.monotonic()
    assert await replica.stop() in ENDED
    assert time.monotonic() - started < 6
    collector.close()


async def seconds_of(caller: Caller) -> float:
    started = time.monotonic()
    assert (await caller.call("POST", "/say/hello")).status == 201
    return time.monotonic() - started


async def said(spawn: Spawn, session: aiohttp.ClientSession, *requests: dict[str, str]) -> list[dict[str, Any]]:
    """Sends requests with these headers to a replica. Returns the lines that it logged for them."""
    replica: Replica = await spawn(FRAIL)
    for headers in requests:
        await Caller(session, replica.url).call("POST", "/say/hello", **headers)
    lines = [json.loads(line) for line in replica.log().splitlines()]
    return [line for line in lines if line["event"] == "hello"]


async def test_log_lines_have_request_id_and_trace_id(spawn: Spawn, session: aiohttp.ClientSession) -> None:
    first, second, third = await said(
        spawn, session, {"X_Request_Id": "r-1", "traceparent": traceparent(7)}, {}, {"traceparent": FORGED}
    )
    assert (first["request_id"], first["trace_id"]) == ("r-1", traceparent(7)[3:35])
    assert len({line["request_id"] for line in (first, second, third)}) == 3
    assert len({line["trace_id"] for line in (first, second, third)}) == 3
    assert len(second["trace_id"]) == len(third["trace_id"]) == 32


async def test_a_repeated_traceparent_starts_a_new_trace(spawn: Spawn) -> None:
    replica: Replica = await spawn(FRAIL)
    lines = [
        f"{name}: {value}" for name in ("traceparent", "X-Request-Id") for value in (traceparent(7), traceparent(8))
    ]
    head = "\r\n".join(["POST /say/hello HTTP/1.1", "Host: a", "Connection: close", "Content-Length: 0", *lines])
    assert (await send("127.0.0.1", replica.port, f"{head}\r\n\r\n".encode())).status == 201
    (line,) = [line for line in replica.log().splitlines() if "hello" in line]
    assert all(given not in line for number in (7, 8) for given in (traceparent(number), traceparent(number)[3:35]))
