"""Settings, server addresses, causes of errors, backoff and batching: every process uses some of them.

This package uses no database, broker or HTTP. Only `retry` knows the exceptions of the drivers.
"""
