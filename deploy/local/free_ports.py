"""Chooses the ports of the shop that `make test` starts, so that several clones can test at the same time."""

import socket

# A test shop uses the first 1000 ports, and the shop of tests/faults/test_fault_suite.py the second 1000.
RANGE = 2000
# Below the ports of outgoing connections, and without the ports of `make up`.
FIRST_PORTS = (*range(10_000, 18_000, RANGE), *range(20_000, 32_000, RANGE))
_claims: list[socket.socket] = []


def claim() -> int:
    """Returns the first port of a free range. No other process can claim the range until this process ends.

    Raises SystemExit if every range has a port that is in use.
    """
    for first in FIRST_PORTS:
        with socket.socket() as listener:
            if _can_bind(listener, first) and all(is_free(port) for port in range(first + 1, first + RANGE)):
                _claims.append(listener.dup())
                return first
    raise SystemExit(
        f"no {RANGE} consecutive ports from {FIRST_PORTS[0]} on are free; choose other ports with --base-port"
    )


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Without the option, a port is in use for a minute after its last connection.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return _can_bind(probe, port)


def _can_bind(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
