"""The interface of a shop that a trial breaks, and the type of a fault."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Generic, NamedTuple, Protocol, TypeVar

import aiohttp

from loadtest.faults.stores import ServersUnderFaults

HEALING_SECONDS = 60.0


class FaultNotInjected(Exception):
    """The fault did not take effect, so the trial says nothing about the shop."""


class FaultTarget(Protocol):
    """A running shop: on this machine, on a cluster or on a swarm.

    `wiped_at` holds the times, by time.monotonic, at which Redis was restarted empty.
    """

    url: str
    session: aiohttp.ClientSession
    stores: ServersUnderFaults
    wiped_at: list[float]

    async def all_ready(self) -> bool:
        """Returns whether every replica reports that it is ready."""
        ...


TargetT = TypeVar("TargetT", bound=FaultTarget)


class InjectedFault(NamedTuple, Generic[TargetT]):
    """A fault. `inflict` returns after the end of the fault.

    `inflict` returns a description of the effect, and raises FaultNotInjected if there was none.
    The shop must have healed `limit` seconds after the end of the fault.
    """

    name: str
    inflict: Callable[[TargetT, Random], Awaitable[str]]
    limit: float = HEALING_SECONDS
