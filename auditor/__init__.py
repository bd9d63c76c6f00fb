"""Reads both databases and says which invariants of money and progress do not hold. It changes nothing."""
