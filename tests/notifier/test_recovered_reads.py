import pytest

from notifier.streams import Position, Read, StreamEntry, recovered
from notifier.wire import text_frame

TWENTY = StreamEntry(20, 10, b"twenty")
THIRTY = StreamEntry(30, 20, b"thirty")


def at_thirty(after: int, *kept: StreamEntry) -> Read:
    return Read(Position("now", 30), after, kept)


@pytest.mark.parametrize(
    ("since", "read", "all_there"),
    [
        pytest.param(None, at_thirty(30), True, id="a first visit has missed nothing"),
        pytest.param(None, at_thirty(10, TWENTY, THIRTY), True, id="all unacknowledged messages are kept"),
        pytest.param(None, at_thirty(5, TWENTY, THIRTY), False, id="some unacknowledged messages are not kept"),
        pytest.param(Position("now", 30), at_thirty(30), True, id="no new message"),
        pytest.param(Position("now", 31), at_thirty(31), True, id="ahead of a Redis that lost its last second"),
        pytest.param(Position("now", 10), at_thirty(10, TWENTY, THIRTY), True, id="all missed messages are kept"),
        pytest.param(Position("now", 15), at_thirty(15, TWENTY, THIRTY), True, id="between two offsets"),
        pytest.param(
            Position("now", 5), at_thirty(5, TWENTY, THIRTY), False, id="the first missed one is not kept"
        ),
        pytest.param(Position("now", 20), at_thirty(20), False, id="no missed message is kept"),
        pytest.param(Position("before", 30), at_thirty(30), False, id="another epoch"),
        pytest.param(Position("before", 10), at_thirty(10, TWENTY), False, id="another epoch, with new messages"),
    ],
)
def test_a_read_is_recovered_only_if_no_message_is_missing(
    since: Position | None, read: Read, all_there: bool
) -> None:
    assert recovered(since, read) is all_there


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_text_frame_has_the_header_of_rfc_6455(length: int, header: bytes) -> None:
    text = b"x" * length
    assert text_frame(text) == header + text
