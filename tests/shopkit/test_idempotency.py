from contextlib import suppress

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from shopkit.web.idempotency import parse_key
from shopkit.web.problems import Problem


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
def test_a_quoted_key_equals_the_bare_key(given: str | None, key: str | None) -> None:
    assert parse_key(given) == key


@pytest.mark.parametrize(
    "given",
    ["", '""', "two words", '"', '"open', 'a"b', '"a"b"', "k" * 256, f'"{"k" * 256}"', "\u00e9", '"\\a"', "a\tb"],
)
def test_a_malformed_key_is_rejected_and_the_header_named(given: str) -> None:
    with pytest.raises(Problem) as rejected:
        parse_key(given)
    assert rejected.value.status == 400
    assert [error.field for error in rejected.value.errors] == ["Idempotency-Key"]


ascii_keys = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255)


def quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given_any(ascii_keys)
def test_any_key_can_be_quoted(key: str) -> None:
    assert parse_key(quoted(key)) == key


@given_any(st.text(st.sampled_from('ab "\\~\t\u00e9'), max_size=12) | st.text(max_size=300) | ascii_keys)
def test_every_accepted_key_can_be_quoted_and_parsed_again(given: str) -> None:
    with suppress(Problem):
        key = parse_key(given)
        assert key is not None
        assert 1 <= len(key) <= 255
        assert given == key or given.startswith('"')
        assert parse_key(quoted(key)) == key
