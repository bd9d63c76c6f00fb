"""Events between services: transactional outbox, relay, RabbitMQ, consumer, transactional inbox.

An event that is committed to an outbox reaches each consumer at least once. Through an inbox it takes effect once.
An event that cannot be handled becomes a dead letter and does not block others. The package knows no HTTP and no
event types.
"""
