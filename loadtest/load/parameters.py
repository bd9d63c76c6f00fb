"""What a load is told, in words such as RATE=200."""

import random
import re
from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, field

Count = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Failed(Exception):
    """There is no load to judge: it was asked for wrongly, or could not be made."""


# What other loads have other defaults for.
Dir = Annotated[str, Meta(description="folder of a shop that runs on this machine")]
Users = Annotated[Count, Meta(description="users, each with a WebSocket")]
Seconds = Annotated[Positive, Meta(description="how long orders arrive")]
Rate = Annotated[Positive, Meta(description="orders a second, whatever the shop does with them")]
InFlight = Annotated[
    int, Meta(ge=0, description="instead of RATE: as fast as possible with so many requests under way")
]


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    url: Annotated[str, Meta(description="the shop's address; without one, the shop in DIR")] = ""
    dir: Dir = ".run/shop"
    users: Users = 2000
    second_sockets: Annotated[Share, Meta(description="share of them with two")] = 0.2
    seconds: Seconds = 20.0
    rate: Rate = 100.0
    in_flight: InFlight = 0
    declined: Annotated[Share, Meta(description="share of the orders that cannot be paid")] = 0.2
    top_ups: Annotated[float, Meta(ge=0, description="top-ups an order")] = 0.1
    reads: Annotated[float, Meta(ge=0, description="reads an order: of an order, the list or the balance")] = 0.6
    processes: Annotated[Count, Meta(description="processes that make the load")] = 1
    patience: Annotated[Positive, Meta(description="seconds to wait for the last answer and toast")] = 60.0
    seed: Annotated[int, Meta(description="of all chance; another one each time")] = field(
        default_factory=lambda: random.randrange(2**32)
    )
    reports: Annotated[str, Meta(description="folder for the reports")] = ".run/load"
    compare: Annotated[str, Meta(description="an earlier report.json to compare with")] = ""

    def __post_init__(self) -> None:
        """Raises ValueError for what makes no sense together."""
        if self.users < 2 * self.processes:
            raise ValueError("USERS must be two a process at least: with and without an account")
        if 0 < self.in_flight < self.processes:
            raise ValueError("IN_FLIGHT must be one a process at least")


P = TypeVar("P", bound=Parameters)


def parse(kind: type[P], words: Sequence[str]) -> P:
    """Raises Failed with what is wrong, and what there is."""
    given = {name: value for name, _, value in (word.partition("=") for word in words)}
    values = {name.lower(): value for name, value in given.items()}
    if unknown := [name for name in given if name.lower() not in kind.__struct_fields__]:
        raise Failed(f"unknown: {' '.join(unknown)}. There are\n{described(kind)}")
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Failed(re.sub(r" - at `\$\.(\w+)`", lambda at: f": {at[1].upper()}", str(error))) from error


def described(kind: type[Parameters]) -> str:
    """A line for each, with its default."""
    fields = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"]
    return "\n".join(
        f"  {name.upper():<15} {field['description']}" + (f" ({field['default']})" if field.get("default") else "")
        for name, field in fields.items()
    )
