"""What every service shares and no service owns. Knows no orders and no money."""
