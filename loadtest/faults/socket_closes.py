"""Checks that a draining replica closes its sockets a few at a time."""

from collections import defaultdict
from collections.abc import Iterable

from loadtest.faults.page import PageUnderFaults, SocketClose

RESTARTING = 1012
# A replica with a hundred sockets closes ten of them every 50 ms. Half of all sockets within 100 ms is not paced.
BURST_SECONDS, BURST_SHARE = 0.1, 0.5


def closes_by_replica(pages: Iterable[PageUnderFaults], since: float = 0.0) -> dict[str, list[SocketClose]]:
    """Returns the closes since `since`, a time of the event loop."""
    found: defaultdict[str, list[SocketClose]] = defaultdict(list)
    for page in pages:
        for close in page.closes:
            if close.at >= since:
                found[close.replica].append(close)
    return found


def describe(closes: dict[str, list[SocketClose]]) -> str:
    by_replica = (
        f"{len(of)} in {_duration(of):.1f} s, at most {_largest_burst(of)} within {BURST_SECONDS} s"
        for of in closes.values()
    )
    return f"sockets closed: {'; '.join(by_replica) or 'none'}"


def pacing_errors(closes: dict[str, list[SocketClose]]) -> list[str]:
    """Returns the errors in the pace or the codes. No closed socket at all is an error too."""
    errors: list[str] = [] if closes else ["no replica closed a socket"]
    for replica, of in closes.items():
        if other_codes := {close.code for close in of} - {RESTARTING}:
            errors.append(f"{replica} closed sockets with {other_codes}")
        if (burst := _largest_burst(of)) > BURST_SHARE * len(of):
            errors.append(f"{replica} closed {burst} of {len(of)} sockets within {BURST_SECONDS} s")
    return errors


def _duration(closes: list[SocketClose]) -> float:
    times = [close.at for close in closes]
    return max(times) - min(times)


def _largest_burst(closes: list[SocketClose]) -> int:
    times = [close.at for close in closes]
    return max(sum(start <= time < start + BURST_SECONDS for time in times) for start in times)
