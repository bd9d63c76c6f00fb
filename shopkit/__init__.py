"""The library that all services build on. It knows no orders, no money and no queue names.

Its packages depend on each other in one direction. In this list, a package imports only earlier ones:
`observability`, `runtime`, `db`, `messaging` and `web` (which do not import each other), `dead_letters`.
"""

VERSION = "0.1.0"
