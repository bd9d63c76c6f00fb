"""Orders: accepts them, starts their payment, and says how it ended."""
