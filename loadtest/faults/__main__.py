"""Starts a shop under load, injects faults into it and checks its guarantees.

Exits with 1 if an invariant was broken or the run was ended before the final checks.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from pathlib import Path
from random import SystemRandom
from typing import Any

from loadtest.faults.cancellation import run_until_signal
from loadtest.faults.cluster import running_cluster
from loadtest.faults.faults import FAULTS
from loadtest.faults.node_faults import CLUSTER_FAULTS
from loadtest.faults.report import write
from loadtest.faults.shop import running_shop
from loadtest.faults.socket_closes import closes_by_replica, pacing_errors
from loadtest.faults.stack_faults import CLOSES_SOCKETS, STACK_FAULTS
from loadtest.faults.stores import ROOT
from loadtest.faults.swarm import Swarm, running_swarm
from loadtest.faults.target import InjectedFault, TargetT
from loadtest.faults.trial import HEADER, Outcome, Trial, plan

RUN = ROOT / ".run" / "faults"


async def run_on_cluster(options: argparse.Namespace) -> Outcome:
    faults = list(chain.from_iterable(CLUSTER_FAULTS[name] for name in options.only or CLUSTER_FAULTS))
    async with running_cluster(options.entrance) as cluster:
        return await run_trial(cluster, faults[: options.rounds], options)


async def run_on_shop(options: argparse.Namespace) -> Outcome:
    names = options.only or FAULTS
    faults = plan(options.seed, options.rounds or len(names), names)
    async with running_shop(options.dir, options.base_port, options.entrance) as shop:
        return await run_trial(shop, faults, options)


async def run_on_swarm(options: argparse.Namespace) -> Outcome:
    faults = [STACK_FAULTS[name] for name in options.only or STACK_FAULTS]
    async with running_swarm(options.entrance) as swarm:
        return await run_trial(swarm, faults[: options.rounds], options, partial(check_socket_closes, swarm))


async def run_trial(
    shop: TargetT,
    faults: list[InjectedFault[TargetT]],
    options: argparse.Namespace,
    add_checks: Callable[[Outcome], None] = lambda _: None,
) -> Outcome:
    """Runs the trial and writes its report.

    The report is written before the shop is taken down, because taking it down can fail too.
    """
    print(HEADER, flush=True)
    outcome = await Trial(shop, options.seed, seconds=options.minutes * 60).run(faults)
    add_checks(outcome)
    print(write(outcome, RUN), flush=True)
    return outcome


def check_socket_closes(swarm: Swarm, outcome: Outcome) -> None:
    """Checks the pace at which sockets were closed, if any were closed or a fault should have closed some."""
    closes = closes_by_replica(swarm.onlookers)
    if closes or any(happening.fault in CLOSES_SOCKETS for happening in outcome.happenings):
        outcome.judged.add("sockets-paced")
        if errors := pacing_errors(closes):
            outcome.broken["sockets-paced"] = errors


RUNNERS = {"shop": run_on_shop, "cluster": run_on_cluster, "swarm": run_on_swarm}
FAULTS_BY_TARGET: dict[str, Iterable[str]] = {
    "shop": FAULTS,
    "cluster": CLUSTER_FAULTS,
    "swarm": STACK_FAULTS,
}


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.faults", description=__doc__)
    parser.add_argument(
        "--on",
        choices=RUNNERS,
        default="shop",
        help="shop: processes, servers and links of a local shop fail; cluster: servers of a cluster fail; "
        "swarm: an operator updates and scales a stack",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=SystemRandom().randrange(10**6),
        help="seed of the plan; the same seed repeats it",
    )
    parser.add_argument("--rounds", type=int, help="number of faults; by default every fault once")
    parser.add_argument("--minutes", type=float, default=60, help="start no new fault after this time")
    parser.add_argument("--only", type=split_names, help="names of the faults to use, separated by commas")
    parser.add_argument("--dir", type=Path, default=RUN / "shop", help="data folder of the shop")
    parser.add_argument("--base-port", type=int, default=26000, help="first port of the servers")
    parser.add_argument("--entrance", type=int, default=8094, help="port of nginx")
    options = parser.parse_args(words)
    known = FAULTS_BY_TARGET[options.on]
    if unknown := set(options.only or ()) - set(known):
        parser.error(f"no fault of --on {options.on}: {', '.join(unknown)}; its faults: {', '.join(known)}")
    return options


def split_names(words: str) -> list[str]:
    return [name.strip() for name in words.split(",")]


def main() -> None:
    options: Any = parse(sys.argv[1:])
    print(f"SEED={options.seed}", flush=True)
    outcome = run_until_signal(RUNNERS[options.on](options))
    sys.exit(1 if outcome.names or outcome.error else 0)


if __name__ == "__main__":
    main()
