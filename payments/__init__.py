"""Payments: keeps the accounts and their ledger, and charges each order at most once."""
