"""Any body is read as Python's own JSON parser reads it, or refused with a 400 that names a field."""

import json
from contextlib import suppress
from decimal import Decimal
from http import HTTPStatus
from typing import Any, cast

import msgspec
from hypothesis import assume, event, example, given
from hypothesis import strategies as st

from orders.api_schema import CreateOrder
from shopkit.web.json_body import decode
from shopkit.web.problems import Problem
from tests.fuzzing import fuzz

ORDER = {"amount": 400, "description": "a lamp"}
# Exponents of more than three digits are refused, and Decimal would need as many digits to compare them.
LONGEST_NUMBER = 64


def nested(opening: str, count: int, closed: bool) -> str:
    return opening * count + ("1" + ("]" if opening == "[" else "}") * count) * closed


digits = st.integers(0, 10**13).map(str)
fractions = st.from_regex(r"\.[0-9]{1,20}", fullmatch=True)
exponents = st.from_regex(r"[eE][+-]?[0-9]{1,2}", fullmatch=True)
numbers = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "", "", "-", "+", "0"]),
    digits,
    st.just("") | fractions,
    st.just("") | exponents,
)
texts = st.text(max_size=40).map(json.dumps) | st.sampled_from([r'"\ud800"', r'"\u0000"', '"\x00"', '"', '"a" "b"'])
deep = st.builds(nested, st.sampled_from(["[", '{"amount":']), st.integers(1, 3_000), st.booleans())
others = st.sampled_from(["null", "true", "[]", "{}", "", "NaN", "Infinity", "1e999", "9" * 4_000, "'x'"])
values = st.one_of(numbers, numbers, texts, deep, others)
names = st.sampled_from(
    ['"amount"', '"description"', '"amount"', '"description"', r'"amo\u0075nt"', '"x"', "amount", '""']
)
members = st.tuples(names, values).map(":".join)
amounts, descriptions = numbers.map('"amount":{}'.format), texts.map('"description":{}'.format)
members_of_orders = st.one_of(members, amounts, descriptions)
spaces = st.sampled_from(["", "", "", " ", "\r\n\t", "\ufeff", "\v", ",", "//"])


def body_of(members: list[str], before: str, between: str, after: str) -> bytes:
    return f"{before}{{{f',{between}'.join(members)}}}{after}".encode()


whole_numbers = st.builds("{}{}".format, st.integers(1, 10**11), st.sampled_from(["", ".0", "e1", "0e-1"]))
good_members = st.tuples(
    whole_numbers.map('"amount":{}'.format), st.text(min_size=1).map(json.dumps).map('"description":{}'.format)
)
some_members = good_members.map(list) | st.lists(members_of_orders, max_size=5)
bodies = st.builds(body_of, some_members, spaces, spaces, spaces)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A body of which a part is replaced by other bytes."""
    body = draw(bodies)
    start = draw(st.integers(0, len(body)))
    return body[:start] + draw(st.binary(max_size=4)) + body[start + draw(st.integers(0, 4)) :]


def read(body: bytes, *, repeated_names: bool) -> Any:
    """Returns what Python's parser reads, with exact numbers; the last value of a repeated name counts.

    Raises ValueError, or RecursionError for deep nesting.
    """

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs) and not repeated_names:
            raise ValueError("a repeated name")
        return dict(pairs)

    return json.loads(
        body.decode(), parse_int=Decimal, parse_float=Decimal, parse_constant=refuse, object_pairs_hook=as_object
    )


def is_order(value: Any) -> bool:
    """Returns whether the API's description allows this reading of a body."""
    if not isinstance(value, dict):
        return False
    value = cast("dict[str, Any]", value)
    amount = value.get("amount")
    if not isinstance(amount, Decimal):
        return False
    assume(len(str(amount)) <= LONGEST_NUMBER)
    if not amount.is_finite() or amount != amount.to_integral_value() or amount > 10**15:
        return False
    with suppress(msgspec.ValidationError, UnicodeEncodeError):
        value["description"].encode() if isinstance(value.get("description"), str) else None
        msgspec.convert(value | {"amount": int(amount)}, CreateOrder)
        return True
    return False


def decoded(body: bytes) -> CreateOrder | Problem:
    try:
        return decode(body, CreateOrder)
    except Problem as problem:
        return problem


@fuzz(300)
@given(bodies | damaged() | st.binary(max_size=60))
@example(json.dumps(ORDER).encode())
@example(b'{"amount":4e2,"description":"a","amount":400.0}')
@example(b'\xef\xbb\xbf{"amount":1,"description":"a"}')
@example(b'{"amount":1,"description":"\xed\xa0\x80"}')
@example(b'{"amount":[],"amount":1,"description":"a"}')
def test_a_body_is_read_as_it_was_meant_or_refused(body: bytes) -> None:
    outcome = decoded(body)
    if isinstance(outcome, Problem):
        event("refused")
        assert outcome.status == HTTPStatus.BAD_REQUEST
        assert outcome.errors
        with suppress(ValueError, RecursionError):
            # If a name is repeated, each of its values must be valid.
            assert not is_order(read(body, repeated_names=False))
    else:
        event("accepted")
        value = read(body, repeated_names=True)
        assert is_order(value)
        assert (outcome.amount, outcome.description) == (value["amount"], value["description"])
