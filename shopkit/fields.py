"""Types of fields that several services have, as msgspec checks them and OpenAPI describes them."""

from datetime import datetime
from typing import Annotated, TypeAlias

import msgspec

Kopecks: TypeAlias = Annotated[
    int, msgspec.Meta(ge=1, le=10**12, description="In kopecks: 40000 is 400.00.", examples=[40_000])
]
Moment: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
