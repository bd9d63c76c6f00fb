"""What every service shares and no service owns. Knows no orders and no money."""

VERSION = "0.1.0"
