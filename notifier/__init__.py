"""Notifier: brings each status change to every socket of its user, whichever replica holds it."""
