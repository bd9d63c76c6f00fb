"""Backstage: what the replicas and queues of the shop are doing right now, in one document. Reads only."""
