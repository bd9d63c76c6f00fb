"""`python -m shopkit`: commands for those who operate the shop."""

import argparse
import asyncio
import logging
import sys

from shopkit.dead_letters import arguments, command


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m shopkit", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="dead-letters")
    dead_letters = commands.add_parser("dead-letters", help=arguments.HELP, description=arguments.DESCRIPTION)
    arguments.add_arguments(dead_letters)
    return parser


def main() -> None:
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # what it logs it raises as well
    try:
        sys.exit(asyncio.run(command.run(parser().parse_args())))
    except KeyboardInterrupt:
        sys.exit("stopped")


if __name__ == "__main__":
    main()
