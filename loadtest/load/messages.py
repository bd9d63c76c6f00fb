"""What the processes of the generator and the one that started them say to each other: JSON, a line each."""

from enum import IntEnum
from typing import TypeAlias

import msgspec

from loadtest.load.checks import CheckResult
from loadtest.load.parameters import Parameters


class Share(msgspec.Struct, frozen=True):
    """The first thing a process is told. `parameters` are of its own users and of its part of the orders."""

    url: str
    number: int
    run: str
    parameters: Parameters


class Stage(IntEnum):
    STARTING, OPENING, READY, LOADING, WAITING, SETTLED, CHECKING, CHECKED = range(8)


class LoadProgress(msgspec.Struct, frozen=True, tag="progress"):
    """How many users have their pages open, orders were accepted and told of, and answers were wrong."""

    stage: Stage
    opened: int = 0
    accepted: int = 0
    told: int = 0
    wrong: int = 0


class Bin(msgspec.Struct, frozen=True):
    """Some seconds of a load. Times are of the orders that were due in them, in HDR histograms."""

    accepted: int
    told: int
    to_201: str
    to_toast: str


class Result(msgspec.Struct, tag="result"):
    """Texts are HDR histograms: `times` of orders, `hops` of their journeys, `requests` of others. `share` is what
    the process took of a core while it sent. The shop's clocks are off by `clocks_off` seconds at least."""

    orders: dict[str, int]
    last_answer: float
    last_toast: float
    times: dict[str, str]
    hops: dict[str, str]
    requests: dict[str, str]
    timeline: list[Bin]
    sockets: dict[str, int]
    deliveries: dict[str, int]
    clocks_off: float
    share: float
    lag: str
    sent_late: str
    errors: dict[str, int] = {}
    verdicts: list[CheckResult] = []


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    why: str


Said: TypeAlias = LoadProgress | Result | Failure

encode = msgspec.json.Encoder().encode
decode_share = msgspec.json.Decoder(Share).decode
decode_said: "msgspec.json.Decoder[Said]" = msgspec.json.Decoder(LoadProgress | Result | Failure)
