"""The command: exit status 1 when an invariant did not hold, or the run was ended before its verdict."""

import argparse
import sys
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from pathlib import Path
from random import SystemRandom
from typing import Any

from loadtest.faults.closes import closed, unpaced
from loadtest.faults.cluster import a_cluster
from loadtest.faults.contents import ROOT
from loadtest.faults.ending import run
from loadtest.faults.faults import FAULTS
from loadtest.faults.place import InjectedFault, On
from loadtest.faults.report import write
from loadtest.faults.shop import a_shop
from loadtest.faults.swarm import Swarm, a_swarm
from loadtest.faults.to_nodes import FAULTS_OF_A_CLUSTER
from loadtest.faults.to_stack import CLOSES_SOCKETS, FAULTS_OF_A_STACK
from loadtest.faults.trial import HEADER, Outcome, Trial, plan

RUN = ROOT / ".run" / "faults"


async def on_a_cluster(options: argparse.Namespace) -> Outcome:
    faults = list(chain.from_iterable(FAULTS_OF_A_CLUSTER[name] for name in options.only or FAULTS_OF_A_CLUSTER))
    async with a_cluster(options.entrance) as cluster:
        return await tried(cluster, faults[: options.rounds], options)


async def on_a_shop(options: argparse.Namespace) -> Outcome:
    among = options.only or FAULTS
    faults = plan(options.seed, options.rounds or len(among), among)
    async with a_shop(options.dir, options.base_port, options.entrance) as shop:
        return await tried(shop, faults, options)


async def on_a_swarm(options: argparse.Namespace) -> Outcome:
    faults = [FAULTS_OF_A_STACK[name] for name in options.only or FAULTS_OF_A_STACK]
    async with a_swarm(options.entrance) as swarm:
        return await tried(swarm, faults[: options.rounds], options, partial(judge_sockets, swarm))


async def tried(
    shop: On,
    faults: list[InjectedFault[On]],
    options: argparse.Namespace,
    judge: Callable[[Outcome], None] = lambda _: None,
) -> Outcome:
    """Writes the report before the shop is taken down, as that can fail as well."""
    print(HEADER, flush=True)
    outcome = await Trial(shop, options.seed, seconds=options.minutes * 60).run(faults)
    judge(outcome)
    print(write(outcome, RUN), flush=True)
    return outcome


def judge_sockets(swarm: Swarm, outcome: Outcome) -> None:
    """Where any were closed, or should have been."""
    closes = closed(swarm.onlookers)
    if closes or any(happening.fault in CLOSES_SOCKETS for happening in outcome.happenings):
        outcome.judged.add("sockets-paced")
        if wrong := unpaced(closes):
            outcome.broken["sockets-paced"] = wrong


ON = {"shop": on_a_shop, "cluster": on_a_cluster, "swarm": on_a_swarm}
FAULTS_ON: dict[str, Iterable[str]] = {
    "shop": FAULTS,
    "cluster": FAULTS_OF_A_CLUSTER,
    "swarm": FAULTS_OF_A_STACK,
}


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.faults", description=__doc__)
    parser.add_argument(
        "--on", choices=ON, default="shop", help="cluster: its servers fail; swarm: an operator is at work"
    )
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6), help="repeats a plan")
    parser.add_argument("--rounds", type=int, help="how many faults; each of them once by default")
    parser.add_argument("--minutes", type=float, default=60, help="no new fault after so long")
    parser.add_argument("--only", type=names, help="of these faults, with commas between them")
    parser.add_argument("--dir", type=Path, default=RUN / "shop")
    parser.add_argument("--base-port", type=int, default=26000)
    parser.add_argument("--entrance", type=int, default=8094)
    options = parser.parse_args(words)
    if unknown := set(options.only or ()) - set(FAULTS_ON[options.on]):
        parser.error(f"not on a {options.on}: {', '.join(unknown)}; but {', '.join(FAULTS_ON[options.on])}")
    return options


def names(words: str) -> list[str]:
    return [name.strip() for name in words.split(",")]


def main() -> None:
    options: Any = parse(sys.argv[1:])
    print(f"SEED={options.seed}", flush=True)
    outcome = run(ON[options.on](options))
    sys.exit(1 if outcome.names or outcome.error else 0)


if __name__ == "__main__":
    main()
