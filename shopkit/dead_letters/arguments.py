"""What one can say to `python -m gozon dead-letters`."""

import argparse
import os
import re
import sys
from datetime import timedelta
from typing import Any

HELP = "list, show, replay or discard dead letters"
DESCRIPTION = """
Dead letters of the broker (the queues <queue>.dead) and of a database (its table dead_letters). Reading
those of the broker takes them for a moment: letters that another command holds at this time are not seen.
"""
DATABASE_HELP = "address, or the name of a service whose address is in <NAME>_DATABASE_URL; otherwise DATABASE_URL"
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list | show | replay | discard")
    listing = _verb(verbs, "list", "a line for each letter")
    _add_filters(listing)
    listing.add_argument("--resolved", action="store_true", help="those that were replayed or discarded, by whom")
    listing.add_argument("--json", action="store_true", help="a JSON object for each letter")
    show = _verb(verbs, "show", "all about one letter")
    show.add_argument("ids", nargs=1, metavar="id")
    show.set_defaults(limit=1)
    replay = _verb(verbs, "replay", "give letters back to the consumer that could not handle them")
    _add_decision(replay)
    discard = _verb(verbs, "discard", "put letters away; those of the broker are kept for 90 days more")
    _add_decision(discard)


def _verb(verbs: Any, name: str, explanation: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=explanation, description=explanation)
    verb.add_argument("--broker", default=os.environ.get("BROKER_URL"), help="address; otherwise BROKER_URL")
    verb.add_argument("--database", default=os.environ.get("DATABASE_URL"), type=_address, help=DATABASE_HELP)
    return verb


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queue", help="the queue that lost the letter, or the database")
    parser.add_argument("--type", help="of an event")
    parser.add_argument("--subject", help="of an event: the id of the order")
    parser.add_argument("--event", help="the id of an event")
    parser.add_argument("--reason", metavar="TEXT", help="text that the reason contains")
    parser.add_argument("--older-than", type=_age, metavar="AGE", help="such as 90s, 10m, 12h or 7d")
    parser.add_argument("--newer-than", type=_age, metavar="AGE")
    parser.add_argument("--limit", type=_count, default=sys.maxsize, metavar="N", help="at most so many letters")


def _add_decision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="id")
    _add_filters(parser)
    parser.add_argument("--all", action="store_true", help="needed when neither ids nor filters are given")
    parser.add_argument("--by", required=True, metavar="NAME", help="who decides this")
    parser.add_argument("--note", metavar="TEXT", help="why")
    parser.add_argument("--rate", type=_rate, default=float("inf"), metavar="N", help="letters a second")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def _address(given: str) -> str:
    if "://" in given:
        return given
    variable = f"{given.upper()}_DATABASE_URL"
    if variable not in os.environ:
        raise argparse.ArgumentTypeError(f"{given!r} is not an address, and {variable} is not set")
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
        raise argparse.ArgumentTypeError(f"{given!r} is not a number of letters a second")
    return float(given)
