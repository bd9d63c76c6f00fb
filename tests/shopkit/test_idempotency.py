import pytest

from shopkit.idempotency import parse_key
from shopkit.problems import Problem


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (None, None),
        ("a", "a"),
        ('"a"', "a"),
        ('"two words"', "two words"),
        (r'"a \"quoted\" back\\slash"', r'a "quoted" back\slash'),
        ("k" * 255, "k" * 255),
        (f'"{"k" * 255}"', "k" * 255),
    ],
)
def test_a_key_means_the_same_quoted_or_bare(given: str | None, key: str | None) -> None:
    assert parse_key(given) == key


@pytest.mark.parametrize(
    "given",
    ["", '""', "two words", '"', '"open', 'a"b', '"a"b"', "k" * 256, f'"{"k" * 256}"', "\u00e9", '"\\a"', "a\tb"],
)
def test_a_malformed_key_is_refused_and_named(given: str) -> None:
    with pytest.raises(Problem) as refusal:
        parse_key(given)
    assert refusal.value.status == 400
    assert [error.field for error in refusal.value.errors] == ["Idempotency-Key"]
