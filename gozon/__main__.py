"""`python -m gozon`: commands for operators of the shop."""

import argparse
import asyncio
import logging
import sys

from gozon import migrate
from gozon.topology import TOPOLOGY
from shopkit.dead_letters import arguments, command


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gozon", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="dead-letters|migrate")
    dead_letters = commands.add_parser("dead-letters", help=arguments.HELP, description=arguments.DESCRIPTION)
    arguments.add_arguments(dead_letters)
    dead_letters.set_defaults(run=command.run, topology=TOPOLOGY)
    migration = commands.add_parser("migrate", help=migrate.HELP, description=migrate.HELP)
    migrate.add_arguments(migration)
    migration.set_defaults(run=migrate.run)
    return parser


def main() -> None:
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # aiormq also raises each error that it logs
    try:
        options = parser().parse_args()
        sys.exit(asyncio.run(options.run(options)))
    except KeyboardInterrupt:
        sys.exit("stopped")


if __name__ == "__main__":
    main()
