"""Notifier: delivers each change of an order's status to every socket of its user, on all replicas."""
