"""HTTP: the process of a service, strict parsing, problem details (RFC 9457), identity, idempotency keys, OpenAPI.

Every error response is a problem document, and malformed input changes nothing. This package imports no database
and no broker.
"""
