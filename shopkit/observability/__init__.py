"""Logs, metrics and traces. If no trace collector is configured, tracing costs one `if` per batch.

This package imports no other package of shopkit.
"""
