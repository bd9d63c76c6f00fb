from loadtest.faults.page import SocketClose
from loadtest.faults.socket_closes import pacing_errors


def test_closes_a_few_at_a_time_have_no_pacing_error() -> None:
    assert not pacing_errors({"one": [SocketClose(at / 200, "one", 1012) for at in range(100)]})


def test_simultaneous_closes_are_a_pacing_error() -> None:
    assert pacing_errors({"one": [SocketClose(1.0, "one", 1012)] * 100})


def test_a_connection_that_ends_without_a_close_frame_is_an_error() -> None:
    closes = [SocketClose(at / 200, "one", 1012 if at else None) for at in range(100)]
    assert pacing_errors({"one": closes})
