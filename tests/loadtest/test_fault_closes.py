from loadtest.faults.closes import unpaced
from loadtest.faults.page import Closed


def test_a_few_at_a_time_is_paced() -> None:
    assert not unpaced({"one": [Closed(at / 200, "one", 1012) for at in range(100)]})


def test_all_at_once_is_not() -> None:
    assert unpaced({"one": [Closed(1.0, "one", 1012)] * 100})


def test_without_a_word_is_not() -> None:
    closes = [Closed(at / 200, "one", 1012 if at else None) for at in range(100)]
    assert unpaced({"one": closes})
