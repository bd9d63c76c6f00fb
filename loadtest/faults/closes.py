"""How replicas closed the sockets of pages."""

from collections import defaultdict
from collections.abc import Iterable

from loadtest.faults.page import Closed, PageUnderFaults

RESTARTING = 1012
# A replica of a hundred sockets closes ten every 50 ms.
AT_ONCE_SECONDS, AT_ONCE_SHARE = 0.1, 0.5


def closed(pages: Iterable[PageUnderFaults], since: float = 0.0) -> dict[str, list[Closed]]:
    """By replica."""
    found: defaultdict[str, list[Closed]] = defaultdict(list)
    for page in pages:
        for close in page.closed:
            if close.at >= since:
                found[close.replica].append(close)
    return found


def told(closes: dict[str, list[Closed]]) -> str:
    each = (f"{len(of)} in {_lasted(of):.1f} s, {_most_at_once(of)} at once" for of in closes.values())
    return f"sockets closed: {'; '.join(each) or 'none'}"


def unpaced(closes: dict[str, list[Closed]]) -> list[str]:
    """What is wrong with it; that nothing was closed says nothing, and is wrong too."""
    wrong: list[str] = [] if closes else ["no replica closed a socket"]
    for replica, of in closes.items():
        if others := {close.code for close in of} - {RESTARTING}:
            wrong.append(f"{replica} closed sockets with {others}")
        if (most := _most_at_once(of)) > AT_ONCE_SHARE * len(of):
            wrong.append(f"{replica} closed {most} of {len(of)} sockets within {AT_ONCE_SECONDS} s")
    return wrong


def _lasted(closes: list[Closed]) -> float:
    moments = [close.at for close in closes]
    return max(moments) - min(moments)


def _most_at_once(closes: list[Closed]) -> int:
    moments = [close.at for close in closes]
    return max(sum(start <= moment < start + AT_ONCE_SECONDS for moment in moments) for start in moments)
