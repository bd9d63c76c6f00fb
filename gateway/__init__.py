"""Gateway: routes requests to the services and their replicas. No business logic."""
