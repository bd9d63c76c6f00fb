"""The library below every service. It knows no orders, no money and no queue names.

Its packages (wings), each of which imports only those before it: `observability`, `runtime`, `db`, then
`messaging` and `web`, which do not import each other, then `dead_letters`.
"""

VERSION = "0.1.0"
