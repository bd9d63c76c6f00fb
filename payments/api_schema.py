"""The bodies of requests and responses of payments, and their examples in the OpenAPI document."""

from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec

from gozon.money import Kopecks
from payments.decisions import BALANCE_LIMIT
from shopkit.runtime.types import Moment
from shopkit.web.idempotency import REPLAYED_HEADER
from shopkit.web.identity import UserId
from shopkit.web.responses import DocumentedResponse, location

PATH = "/api/payments/account"
LAST_VERSION = 2**63 - 1

Balance: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=BALANCE_LIMIT, description="In kopecks.")]
Version: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=LAST_VERSION)]


class Account(msgspec.Struct, frozen=True):
    user_id: UserId
    balance: Balance
    created_at: Moment


class TopUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount: Kopecks


class ToppedUp(msgspec.Struct, frozen=True):
    id: UUID
    amount: Kopecks
    balance_after: Balance
    created_at: Moment


class LedgerEntry(msgspec.Struct, frozen=True):
    """A change of the balance. `version` numbers the entries of an account from 1 without gaps.

    Only a debit has an `order_id`.
    """

    id: UUID
    kind: Literal["top_up", "debit"]
    amount: Annotated[int, msgspec.Meta(description="In kopecks. A debit is negative.")]
    version: Version
    balance_after: Balance
    created_at: Moment
    order_id: UUID | msgspec.UnsetType = msgspec.UNSET


class EntryPage(msgspec.Struct, frozen=True):
    """A page of ledger entries, newest first. `next_cursor` is null on the last page."""

    items: list[LedgerEntry]
    next_cursor: Version | None


_OPENED_AT = datetime(2026, 11, 23, 5, 37, 4, 920666, UTC)
_TOPPED_UP_AT = datetime(2026, 11, 23, 5, 37, 4, 939290, UTC)
_PAID_AT = datetime(2026, 11, 23, 5, 37, 5, 35388, UTC)
_TOP_UP = UUID("01a206e8-6bad-77e6-aaba-c17ba2dc8708")
_ORDER = UUID("01a206e8-6bc4-7359-a38a-8da7f8c962e1")
_ENTRIES = [
    LedgerEntry(UUID("01a206e8-6bee-7c05-b5f0-3f6b0c7d2a91"), "debit", -40_000, 2, 60_000, _PAID_AT, _ORDER),
    LedgerEntry(_TOP_UP, "top_up", 100_000, 1, 100_000, _TOPPED_UP_AT),
]

OPENED = DocumentedResponse(
    "The account is open. Its balance is 0.", {"empty": Account("alice", 0, _OPENED_AT)}, headers=location(PATH)
)
SHOWN = DocumentedResponse("The account.", {"account": Account("alice", 60_000, _OPENED_AT)})
TOPPED_UP = DocumentedResponse(
    "The amount is added to the balance.",
    {"first": ToppedUp(_TOP_UP, 100_000, 100_000, _TOPPED_UP_AT)},
    headers=REPLAYED_HEADER,
)
LISTED = DocumentedResponse(
    "A page of ledger entries.", {"last-page": EntryPage(_ENTRIES, None), "more": EntryPage(_ENTRIES[:1], 2)}
)
