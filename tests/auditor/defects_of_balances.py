"""Defects of accounts: the balance or version does not agree with the ledger entries."""

from tests.auditor.planting import Defects, account, entry, of, payments, without

WITHOUT_UNIQUE_VERSIONS = without("ledger_entries", "ledger_entries_no_version_twice")


def third_entry_of_hal(change: str) -> str:
    return f"UPDATE ledger_entries SET {change} WHERE user_id = 'hal' AND account_version = 3"


SUMS: Defects = {
    "entry-without-an-account": (
        payments(entry("ghost", "top_up", 5, 1, 5)),
        {"entry-of-an-account": {"user_id": "ghost", "entries": 1}},
    ),
    "account-removed": (
        payments("DELETE FROM accounts WHERE user_id = 'hal'"),
        {"entry-of-an-account": {"user_id": "hal", "entries": 3}},
    ),
    "a-kopeck-too-much": (
        payments(of("accounts", "ann", "balance = balance + 1")),
        {"balance-is-the-sum": {"user_id": "ann", "balance": 301, "sum_of_entries": 300}},
    ),
    "a-balance-of-no-entries": (
        payments(of("accounts", "dora", "balance = 5")),
        {"balance-is-the-sum": {"user_id": "dora", "balance": 5, "sum_of_entries": 0}},
    ),
    "balance-after-the-first-entry": (
        payments(of("ledger_entries", "fred", "balance_after = 501")),
        {"running-balance": {"user_id": "fred", "account_version": 1, "balance_after": 501, "replayed": 500}},
    ),
    "balance-after-the-last-entry": (
        payments(third_entry_of_hal("balance_after = 59")),
        {"running-balance": {"user_id": "hal", "account_version": 3, "balance_after": 59, "replayed": 60}},
    ),
    "negative-balance": (
        payments(without("accounts", "accounts_balance_not_negative"), of("accounts", "dora", "balance = -5")),
        {
            "no-negative-balance": {"user_id": "dora", "balance": -5},
            "balance-is-the-sum": {"user_id": "dora", "balance": -5},
        },
    ),
    "negative-balance-after-an-entry": (
        payments(
            without("ledger_entries", "ledger_entries_balance_not_negative"),
            third_entry_of_hal("balance_after = -1"),
        ),
        {
            "no-negative-balance": {"user_id": "hal", "version": 3, "balance": -1},
            "running-balance": {"user_id": "hal", "account_version": 3},
        },
    ),
}

VERSIONS: Defects = {
    "account-ahead-of-its-entries": (
        payments(of("accounts", "hal", "version = 4")),
        {"versions-without-gaps": {"user_id": "hal", "version": 4, "entries": 3}},
    ),
    "version-of-no-entries": (
        payments(of("accounts", "dora", "version = 1")),
        {"versions-without-gaps": {"user_id": "dora", "version": 1, "entries": None}},
    ),
    "first-version-missing": (
        payments(of("ledger_entries", "fred", "account_version = 2"), account("fred", 500, 1)),
        {"versions-without-gaps": {"user_id": "fred", "lowest": 2}},
    ),
    # There are as many different versions as the number of the highest one.
    "version-below-the-first": (
        payments(
            entry("hal", "top_up", 5, 4, 65),
            "UPDATE ledger_entries SET account_version = -1 WHERE user_id = 'hal' AND account_version = 1",
            account("hal", 65, 4),
        ),
        {"versions-without-gaps": {"user_id": "hal", "lowest": -1, "highest": 4, "versions": 4}},
    ),
    "version-missing-in-the-middle": (
        payments(third_entry_of_hal("account_version = 4")),
        {"versions-without-gaps": {"user_id": "hal", "entries": 3, "highest": 4}},
    ),
    "last-version-twice": (
        payments(WITHOUT_UNIQUE_VERSIONS, entry("hal", "top_up", 5, 3, 65), account("hal", 65, 4)),
        {"versions-without-gaps": {"user_id": "hal", "entries": 4, "versions": 3}},
    ),
    "version-twice-and-the-next-missing": (
        payments(
            WITHOUT_UNIQUE_VERSIONS,
            "UPDATE ledger_entries SET account_version = 1 WHERE user_id = 'hal' AND account_version = 2",
        ),
        {"versions-without-gaps": {"user_id": "hal", "entries": 3, "versions": 2, "lowest": 1, "highest": 3}},
    ),
}
