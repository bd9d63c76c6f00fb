import pytest

from notifier.messages import frame_offset
from notifier.streams import Entry, Position, missed

NONE: list[Entry] = []
NOW = Position("now", 30)
TWENTY = Entry(20, 10, b"twenty")
THIRTY = Entry(30, 20, b"thirty")


@pytest.mark.parametrize(
    ("since", "kept", "expected"),
    [
        pytest.param(None, NONE, (True, NONE), id="a first visit has missed nothing"),
        pytest.param(Position("now", 30), NONE, (True, NONE), id="nothing new"),
        pytest.param(Position("now", 10), [TWENTY, THIRTY], (True, [TWENTY, THIRTY]), id="all is still there"),
        pytest.param(Position("now", 15), [TWENTY, THIRTY], (True, [TWENTY, THIRTY]), id="between two offsets"),
        pytest.param(Position("now", 5), [TWENTY, THIRTY], (False, [TWENTY, THIRTY]), id="the first is gone"),
        pytest.param(Position("now", 20), NONE, (False, NONE), id="kept nothing of it"),
        pytest.param(Position("before", 30), NONE, (False, NONE), id="another epoch"),
    ],
)
def test_what_was_missed_is_known_or_said_to_be_unknown(
    since: Position | None, kept: list[Entry], expected: tuple[bool, list[Entry]]
) -> None:
    recovered, entries = missed(since, NOW, kept)
    assert recovered is expected[0]
    if recovered:
        assert entries == expected[1]


def test_the_offset_is_read_from_a_frame_without_parsing_it() -> None:
    assert frame_offset(b'{"type":"order","o":1795399039267,"id":"x"}') == 1795399039267
