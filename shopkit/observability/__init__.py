"""Logs, metrics and traces. A process without a collector pays one `if` per batch for its traces.

Knows no other package of shopkit.
"""
