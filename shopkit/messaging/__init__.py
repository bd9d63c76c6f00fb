"""Events between services: transactional outbox, relay, RabbitMQ, consumer, transactional inbox.

An event that is committed to an outbox reaches each consumer at least once, and takes effect through an inbox once.
An event that cannot be handled becomes a dead letter and blocks no other. Knows no HTTP and no type of event.
"""
