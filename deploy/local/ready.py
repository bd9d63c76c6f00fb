"""Waits until every part answers, one line per part."""

import base64
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial

from place import Shop

LIMIT = 120.0
Probe = Callable[[], str]
# Nothing here may go through a proxy that the environment names.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def probes(shop: Shop) -> dict[str, Probe]:
    """By the name of the program: a call that gives "" when the part is ready and else says what is amiss."""
    checks: dict[str, Probe] = {
        # An SSLRequest, which PostgreSQL answers with one letter once it takes connections.
        "postgres": partial(_talk, shop.port("postgres"), b"\0\0\0\x08\x04\xd2\x16\x2f", (b"S", b"N")),
        "rabbitmq": partial(_rabbitmq, shop),
        # While Redis loads its data it answers the PING with -LOADING.
        "redis": partial(_talk, shop.port("redis"), _redis_ping(shop), (b"+OK\r\n+PONG",)),
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
    return _talk(shop.port("rabbitmq"), b"AMQP\0\0\x09\x01", (b"\x01",)) or _alarms(shop)


def _alarms(shop: Shop) -> str:
    """During an alarm of memory or disk space RabbitMQ answers here with 503, and takes no messages."""
    url = f"http://127.0.0.1:{shop.port('management')}/api/health/checks/alarms"
    credentials = base64.b64encode(f"gozon:{shop.passwords['rabbitmq']}".encode()).decode()
    amiss = http(urllib.request.Request(url, headers={"Authorization": f"Basic {credentials}"}))
    alarms = re.findall(r'"resource":"(\w+)"', amiss)
    return f"takes no messages: too little {' and '.join(alarms)} is free" if alarms else amiss


def http(url: str | urllib.request.Request) -> str:
    try:
        with _open(url, timeout=3) as answer:
            return "" if answer.status == 200 else f"status {answer.status}"
    except urllib.error.HTTPError as error:
        return f"status {error.code}: {error.read(300).decode(errors='replace')}"
    except (OSError, ValueError) as error:
        return str(error)


def _talk(port: int, question: bytes, answers: tuple[bytes, ...]) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
            connection.sendall(question)
            answer = connection.recv(16)
    except OSError as error:
        return str(error)
    return "" if answer.startswith(answers) else f"answered {answer!r}"


def wait(shop: Shop, names: list[str]) -> None:
    """Raises SystemExit with the tail of the log of what is not ready in time."""
    checks = {name: probe for name, probe in probes(shop).items() if name in names}
    started = time.monotonic()
    amiss: dict[str, str] = {}
    while checks:
        for name, probe in list(checks.items()):
            amiss[name] = probe()
            if not amiss[name]:
                print(f"  {name:<12} ready  {time.monotonic() - started:5.1f} s", flush=True)
                del checks[name]
        if checks and time.monotonic() - started > LIMIT:
            raise SystemExit("\n".join(_failure(shop, name, amiss[name]) for name in checks))
        time.sleep(0.2 if checks else 0)


def _failure(shop: Shop, name: str, amiss: str) -> str:
    log = shop.log(name)
    lines = log.read_text(errors="replace").splitlines()[-25:] if log.exists() else []
    return "\n".join([f"{name} is not ready: {amiss}", f"the end of {log}:", *lines, ""])
