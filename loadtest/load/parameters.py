"""The parameters of a load, given as words such as RATE=200."""

import random
import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, TypeVar

import msgspec
from msgspec import Meta, field

Count = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
HELP = {"HELP", "-h", "--help"}


class LoadError(Exception):
    """There is no load to judge, because its parameters are wrong or it could not be made."""


class HelpRequested(Exception):
    """The words ask for help. The message of the exception is the help text."""


# The types of parameters whose defaults other kinds of load change.
Dir = Annotated[str, Meta(description="folder of a shop that runs on this machine")]
Users = Annotated[Count, Meta(description="users, each with a WebSocket")]
Seconds = Annotated[Positive, Meta(description="how long orders arrive")]
Rate = Annotated[Positive, Meta(description="orders per second, independent of the shop's speed")]
InFlight = Annotated[
    int, Meta(ge=0, description="instead of RATE: as fast as possible, with this number of requests in flight")
]


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    command: ClassVar[str] = "make load"

    url: Annotated[str, Meta(description="address of the shop; without it, the shop in DIR")] = ""
    dir: Dir = ".run/shop"
    users: Users = 2000
    second_sockets: Annotated[Share, Meta(description="share of the users with two WebSockets")] = 0.2
    seconds: Seconds = 20.0
    rate: Rate = 100.0
    in_flight: InFlight = 0
    declined: Annotated[Share, Meta(description="share of the orders that cannot be paid")] = 0.2
    top_ups: Annotated[float, Meta(ge=0, description="top-ups per order")] = 0.1
    reads: Annotated[float, Meta(ge=0, description="reads per order: of an order, the list or the balance")] = 0.6
    processes: Annotated[Count, Meta(description="processes of the load generator")] = 1
    patience: Annotated[Positive, Meta(description="seconds to wait for the last response and toast")] = 60.0
    seed: Annotated[int, Meta(description="seed of all random choices; by default another one each time")] = field(
        default_factory=lambda: random.randrange(2**32)
    )
    reports: Annotated[str, Meta(description="folder for the reports")] = ".run/load"
    compare: Annotated[str, Meta(description="an earlier report.json to compare with")] = ""

    def __post_init__(self) -> None:
        """Raises ValueError for values that contradict each other."""
        if self.users < 2 * self.processes:
            raise ValueError("USERS must be at least two per process: one with and one without an account")
        if 0 < self.in_flight < self.processes:
            raise ValueError("IN_FLIGHT must be at least one per process")


P = TypeVar("P", bound=Parameters)


def parse(kind: type[P], words: Sequence[str]) -> P:
    """Raises LoadError for a wrong word, with the help text if its name is unknown. Raises HelpRequested."""
    given = {name: value for name, _, value in (word.partition("=") for word in words)}
    if not HELP.isdisjoint(given):
        raise HelpRequested(help_text(kind))
    values = {name.lower(): value for name, value in given.items()}
    if unknown := [name for name in given if name.lower() not in kind.__struct_fields__]:
        raise LoadError(f"unknown: {' '.join(unknown)}\n{help_text(kind)}")
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise LoadError(re.sub(r" - at `\$\.(\w+)`", lambda at: f": {at[1].upper()}", str(error))) from error


def help_text(kind: type[Parameters]) -> str:
    """Returns a usage line, and a line for each parameter with its default."""
    fields = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"]
    usage = f"usage: {kind.command} [HELP=] [NAME=VALUE ...]"
    return f"{usage}\n\nparameters:\n" + "\n".join(
        f"  {name.upper():<15} {field['description']}"
        + (f" (default: {field['default']})" if field.get("default") else "")
        for name, field in fields.items()
    )
