"""Waits until every program of a shop is ready, and prints a line for each."""

import base64
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial

from layout import Shop

LIMIT_SECONDS = 120.0
Probe = Callable[[], str]
# Ignores the proxy of the environment: all requests are local.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def probes(shop: Shop) -> dict[str, Probe]:
    """Returns a check for each program. It returns "" if the program is ready, and a problem otherwise."""
    checks: dict[str, Probe] = {
        # An SSLRequest, which PostgreSQL answers with one letter once it accepts connections.
        "postgres": partial(_exchange, shop.port("postgres"), b"\0\0\0\x08\x04\xd2\x16\x2f", (b"S", b"N")),
        "rabbitmq": partial(_rabbitmq, shop),
        # While Redis loads its data, it answers PING with -LOADING.
        "redis": partial(_exchange, shop.port("redis"), _redis_ping(shop), (b"+OK\r\n+PONG",)),
    }
    if not shop.servers_only:
        checks |= {r.name: partial(http, f"{r.url}/health/ready") for r in shop.all_replicas()}
        checks["web"] = partial(http, f"http://127.0.0.1:{shop.web_port}/")
        checks["nginx"] = partial(http, f"{shop.entrance}/")
    return checks


def _redis_ping(shop: Shop) -> bytes:
    return f"AUTH {shop.passwords['redis']}\r\nPING\r\n".encode()


def _rabbitmq(shop: Shop) -> str:
    # RabbitMQ answers the protocol header with connection.start, a method frame.
    return _exchange(shop.port("rabbitmq"), b"AMQP\0\0\x09\x01", (b"\x01",)) or _alarms(shop)


def _alarms(shop: Shop) -> str:
    """Returns a problem during a memory or disk alarm, in which RabbitMQ accepts no messages."""
    url = f"http://127.0.0.1:{shop.port('management')}/api/health/checks/alarms"
    credentials = base64.b64encode(f"gozon:{shop.passwords['rabbitmq']}".encode()).decode()
    problem = http(urllib.request.Request(url, headers={"Authorization": f"Basic {credentials}"}))
    alarms = re.findall(r'"resource":"(\w+)"', problem)
    return f"accepts no messages: too little {' and '.join(alarms)} is free" if alarms else problem


def http(url: str | urllib.request.Request) -> str:
    try:
        with _open(url, timeout=3) as response:
            return "" if response.status == 200 else f"status {response.status}"
    except urllib.error.HTTPError as error:
        return f"status {error.code}: {error.read(300).decode(errors='replace')}"
    except (OSError, ValueError) as error:
        return str(error)


def _exchange(port: int, request: bytes, expected: tuple[bytes, ...]) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
            connection.sendall(request)
            response = connection.recv(16)
    except OSError as error:
        return str(error)
    return "" if response.startswith(expected) else f"responded {response!r}"


def wait(shop: Shop, names: list[str]) -> None:
    """Waits until the programs are ready. Raises SystemExit with the ends of their logs if they are not in time."""
    checks = {name: probe for name, probe in probes(shop).items() if name in names}
    started = time.monotonic()
    problems: dict[str, str] = {}
    while checks:
        for name, probe in list(checks.items()):
            problems[name] = probe()
            if not problems[name]:
                print(f"  {name:<12} ready  {time.monotonic() - started:5.1f} s", flush=True)
                del checks[name]
        if checks and time.monotonic() - started > LIMIT_SECONDS:
            raise SystemExit("\n".join(_failure(shop, name, problems[name]) for name in checks))
        time.sleep(0.2 if checks else 0)


def _failure(shop: Shop, name: str, problem: str) -> str:
    log = shop.log(name)
    lines = log.read_text(errors="replace").splitlines()[-25:] if log.exists() else []
    return "\n".join([f"{name} is not ready: {problem}", f"the end of {log}:", *lines, ""])
