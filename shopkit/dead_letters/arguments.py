"""The command-line arguments of `python -m gozon dead-letters`."""

import argparse
import os
import re
import sys
from datetime import timedelta
from typing import Any

HELP = "list, show, replay or discard dead letters"
DESCRIPTION = """
Lists, shows, replays or discards dead letters of the broker (the queues <queue>.dead) and of a database (its table
dead_letters). A command holds the letters of the broker while it reads them. Other commands do not see them
meanwhile.
"""
DATABASE_HELP = "database URL, or a service whose URL is in <NAME>_DATABASE_URL; the default is DATABASE_URL"
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list | show | replay | discard")
    listing = _verb(verbs, "list", "print one line per letter")
    _add_filters(listing)
    listing.add_argument("--resolved", action="store_true", help="list the letters that were replayed or discarded")
    listing.add_argument("--json", action="store_true", help="print one JSON object per letter")
    show = _verb(verbs, "show", "print everything about one letter")
    show.add_argument("ids", nargs=1, metavar="id")
    show.set_defaults(limit=1)
    replay = _verb(verbs, "replay", "send letters again to the consumer that could not handle them")
    _add_decision(replay)
    discard = _verb(verbs, "discard", "remove letters; those of the broker are kept for 90 more days")
    _add_decision(discard)


def _verb(verbs: Any, name: str, explanation: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=explanation, description=explanation)
    verb.add_argument(
        "--broker", default=os.environ.get("BROKER_URL"), help="broker URL; the default is BROKER_URL"
    )
    verb.add_argument("--database", default=os.environ.get("DATABASE_URL"), type=_database_url, help=DATABASE_HELP)
    return verb


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queue", help="only letters of this queue, or of the database with this name")
    parser.add_argument("--type", help="only letters with an event of this type")
    parser.add_argument("--subject", help="only letters with an event of this order id")
    parser.add_argument("--event", help="only letters with the event of this id")
    parser.add_argument("--reason", metavar="TEXT", help="only letters whose reason contains this text")
    parser.add_argument(
        "--older-than", type=_age, metavar="AGE", help="only letters older than this, such as 90s, 10m, 12h or 7d"
    )
    parser.add_argument("--newer-than", type=_age, metavar="AGE", help="only letters newer than this")
    parser.add_argument("--limit", type=_count, default=sys.maxsize, metavar="N", help="process at most N letters")


def _add_decision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="id")
    _add_filters(parser)
    parser.add_argument(
        "--all", action="store_true", help="select all letters; required if there are no ids and no filters"
    )
    parser.add_argument("--by", required=True, metavar="NAME", help="the operator who decides this, for the record")
    parser.add_argument("--note", metavar="TEXT", help="the reason, for the record")
    parser.add_argument(
        "--rate", type=_rate, default=float("inf"), metavar="N", help="at most N letters per second"
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what the command would do")


def _database_url(given: str) -> str:
    if "://" in given:
        return given
    variable = f"{given.upper()}_DATABASE_URL"
    if variable not in os.environ:
        raise argparse.ArgumentTypeError(f"{given!r} is not a URL, and {variable} is not set")
    return os.environ[variable]


def _age(given: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", given)
    if match is None:
        raise argparse.ArgumentTypeError(f"{given!r} is not an age such as 10m")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def _count(given: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", given):
        raise argparse.ArgumentTypeError(f"{given!r} is not a number of letters")
    return int(given)


def _rate(given: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", given) or float(given) == 0:
        raise argparse.ArgumentTypeError(f"{given!r} is not a number of letters per second")
    return float(given)
