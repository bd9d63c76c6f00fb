"""What every process needs: settings, server addresses, the cause of an error, backoff, batches.

Knows no database, no broker and no HTTP. Only `retry` knows the exceptions of the drivers.
"""
