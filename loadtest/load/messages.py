"""The messages between the worker processes and their parent. A message is one line of JSON."""

from enum import IntEnum
from typing import TypeAlias

import msgspec

from loadtest.load.checks import CheckResult
from loadtest.load.parameters import Parameters


class WorkerShare(msgspec.Struct, frozen=True):
    """The first message to a worker. `parameters` holds only its own part of the users and orders."""

    url: str
    number: int
    run: str
    parameters: Parameters


class Stage(IntEnum):
    STARTING, OPENING, READY, LOADING, WAITING, SETTLED, CHECKING, CHECKED = range(8)


class LoadProgress(msgspec.Struct, frozen=True, tag="progress"):
    """The progress of a worker.

    Numbers of users whose pages are open, orders accepted, orders with a toast, and wrong responses.
    """

    stage: Stage
    opened: int = 0
    accepted: int = 0
    toasted: int = 0
    wrong: int = 0


class Bin(msgspec.Struct, frozen=True):
    """One bin of the timeline. `to_201` and `to_toast` are HDR histograms of the orders that were due in it."""

    accepted: int
    toasted: int
    to_201: str
    to_toast: str


class Result(msgspec.Struct, tag="result"):
    """The measurements and verdicts of a worker. Texts are encoded HDR histograms.

    `times` are latencies of orders, `hops` the times between hops of their journeys, and `requests` the latencies
    of all other requests. `share` is the share of a core that the process took while it sent requests. The shop's
    clocks are off by at least `clocks_off` seconds.
    """

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


WorkerMessage: TypeAlias = LoadProgress | Result | Failure

encode = msgspec.json.Encoder().encode
decode_share = msgspec.json.Decoder(WorkerShare).decode
decode_worker_message: "msgspec.json.Decoder[WorkerMessage]" = msgspec.json.Decoder(LoadProgress | Result | Failure)
