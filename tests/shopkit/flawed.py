"""Properties of messages that AMQP does not allow or that no client library can decode."""

from pamqp import commands as spec


class Raw(spec.Basic.Properties):
    """Properties that no library encodes: their flags and the bytes after them."""

    def __init__(self, flags: int, data: bytes) -> None:
        super().__init__()
        self._data = flags.to_bytes(2, "big") + data

    def marshal(self) -> bytes:
        return self._data


def table(*entries: bytes) -> bytes:
    return len(b"".join(entries)).to_bytes(4, "big") + b"".join(entries)


def nested(depth: int) -> bytes:
    inner = table()
    for _ in range(depth):
        inner = table(b"\x01nF" + inner)
    return inner


CONTENT_TYPE, HEADERS, DELIVERY_MODE, TIMESTAMP = 1 << 15, 1 << 13, 1 << 12, 1 << 6
FLAWED = {
    "delivery-mode": Raw(DELIVERY_MODE, b"\x07"),
    "timestamp": Raw(TIMESTAMP, b"\x40" + bytes(7)),
    "content-type": Raw(CONTENT_TYPE, b"\x02\xff\xfe"),
    "name-of-a-header": Raw(HEADERS, table(b"\x01\xffV")),
    "time-in-a-header": Raw(HEADERS, table(b"\x01tT\x40" + bytes(7))),
    "headers-too-deep": Raw(HEADERS, nested(2_000)),
}
