"""Payments: accounts, their ledger, and the debit of each order, at most once."""
