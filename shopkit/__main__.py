"""`python -m shopkit`: commands for those who operate the shop."""

import argparse
import asyncio
import logging
import sys

from shopkit import migrating
from shopkit.dead_letters import arguments, command


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m shopkit", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="dead-letters|migrate")
    dead_letters = commands.add_parser("dead-letters", help=arguments.HELP, description=arguments.DESCRIPTION)
    arguments.add_arguments(dead_letters)
    dead_letters.set_defaults(run=command.run)
    migrate = commands.add_parser("migrate", help=migrating.HELP, description=migrating.HELP)
    migrating.add_arguments(migrate)
    migrate.set_defaults(run=migrating.run)
    return parser


def main() -> None:
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # what it logs it raises as well
    try:
        options = parser().parse_args()
        sys.exit(asyncio.run(options.run(options)))
    except KeyboardInterrupt:
        sys.exit("stopped")


if __name__ == "__main__":
    main()
