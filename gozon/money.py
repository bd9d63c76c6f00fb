"""The type of an amount of money: an integer number of kopecks."""

from typing import Annotated, TypeAlias

import msgspec

Kopecks: TypeAlias = Annotated[
    int, msgspec.Meta(ge=1, le=10**12, description="In kopecks: 40000 is 400.00.", examples=[40_000])
]
