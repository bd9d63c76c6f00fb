"""Gateway: a reverse proxy that routes requests to the replicas of the services. It has no business logic."""
