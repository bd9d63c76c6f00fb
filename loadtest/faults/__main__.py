"""The command: exit status 1 when an invariant did not hold."""

import argparse
import asyncio
import sys
from pathlib import Path
from random import SystemRandom

from loadtest.faults.closes import closed, unpaced
from loadtest.faults.cluster import a_cluster
from loadtest.faults.contents import ROOT
from loadtest.faults.faults import FAULTS
from loadtest.faults.fragile import FAKETIME
from loadtest.faults.report import write
from loadtest.faults.shop import a_shop
from loadtest.faults.swarm import a_swarm
from loadtest.faults.to_nodes import FAULTS_OF_A_CLUSTER
from loadtest.faults.to_stack import FAULTS_OF_A_STACK
from loadtest.faults.trial import HEADER, Outcome, Trial, plan

RUN = ROOT / ".run" / "faults"


async def run(options: argparse.Namespace) -> Outcome:
    print(f"SEED={options.seed}", flush=True)
    return await ON[options.on](options)


async def on_a_cluster(options: argparse.Namespace) -> Outcome:
    faults = FAULTS_OF_A_CLUSTER[: options.rounds]
    async with a_cluster(options.entrance) as cluster:
        print(HEADER, flush=True)
        return await Trial(cluster, options.seed, seconds=options.minutes * 60).run(faults)


async def on_a_shop(options: argparse.Namespace) -> Outcome:
    if not FAKETIME.exists():
        print("libfaketime is not installed, so no clock will be wrong", flush=True)
    faults = plan(options.seed, options.rounds or len(FAULTS), options.only or FAULTS)
    async with a_shop(options.dir, options.base_port, options.entrance) as shop:
        print(HEADER, flush=True)
        return await Trial(shop, options.seed, seconds=options.minutes * 60).run(faults)


async def on_a_swarm(options: argparse.Namespace) -> Outcome:
    faults = [FAULTS_OF_A_STACK[name] for name in options.only or FAULTS_OF_A_STACK]
    async with a_swarm(options.entrance) as swarm:
        print(HEADER, flush=True)
        outcome = await Trial(swarm, options.seed, seconds=options.minutes * 60).run(faults[: options.rounds])
        if wrong := unpaced(closed(swarm.onlookers)):
            outcome.broken["sockets-paced"] = wrong
        return outcome


ON = {"shop": on_a_shop, "cluster": on_a_cluster, "swarm": on_a_swarm}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.faults", description=__doc__)
    parser.add_argument(
        "--on", choices=ON, default="shop", help="cluster: its servers fail; swarm: an operator is at work"
    )
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6), help="repeats a plan")
    parser.add_argument("--rounds", type=int, help="how many faults; each of them once by default")
    parser.add_argument("--minutes", type=float, default=60, help="no new fault after so long")
    parser.add_argument(
        "--only", action="append", choices=(*FAULTS, *FAULTS_OF_A_STACK), help="of these faults; can be repeated"
    )
    parser.add_argument("--dir", type=Path, default=RUN / "shop")
    parser.add_argument("--base-port", type=int, default=26000)
    parser.add_argument("--entrance", type=int, default=8094)
    return parser.parse_args()


def main() -> None:
    outcome = asyncio.run(run(parse()))
    print(write(outcome, RUN))
    sys.exit(1 if outcome.names else 0)


main()
