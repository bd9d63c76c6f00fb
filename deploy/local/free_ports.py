"""Chooses the ports of the shop that `make test` starts, so that several clones can test at the same time."""

import socket

# A range has room for the shop of the tests and, from 1000 up, for the one that tests of the fault suite start.
RANGE = 2000
# Below the ports that the kernel gives to outgoing connections, and without the range of `make up`.
FIRST_PORTS = (*range(10_000, 18_000, RANGE), *range(20_000, 32_000, RANGE))
_claims: list[socket.socket] = []


def claim() -> int:
    """Returns the first port of a free range. No other process can claim the range until this process ends.

    Raises SystemExit when a port is in use in every range.
    """
    for first in FIRST_PORTS:
        with socket.socket() as claimed:
            if _bound(claimed, first) and all(is_free(port) for port in range(first + 1, first + RANGE)):
                _claims.append(claimed.dup())
                return first
    raise SystemExit(f"no {RANGE} free ports in a row from {FIRST_PORTS[0]} up; --base-port names other ones")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Without the option, a port is busy for a minute after its last connection.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return _bound(probe, port)


def _bound(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
