"""Orders: accepts an order, starts its payment, and publishes its final status."""
