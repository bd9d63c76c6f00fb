"""Hypothesis strategies for the fields of events."""

from datetime import UTC, datetime
from string import ascii_letters, digits

from hypothesis import strategies as st

from shopkit.messaging.journey import Hop

# Text that code could mistake for a part of the envelope, if it searches an event without parsing it.
TRAPS = [
    "}]}",
    "}}",
    "]",
    '"',
    "\\",
    '\\"',
    "},{",
    '"traceparent":"00-' + "ab" * 16 + "-" + "cd" * 8 + '-01"',
    "\x7f",
]

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.lists(st.text(characters, max_size=20) | st.sampled_from(TRAPS), max_size=6).map("".join)
amounts = st.integers(1, 10**12)
user_ids = st.text(ascii_letters + digits + "._-", min_size=1, max_size=64)
traceparents = st.builds("00-{:032x}-{:016x}-{:02x}".format, *(st.integers(1, 2**n - 1) for n in (128, 64, 8)))
moments = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))
hops = st.builds(Hop, texts, moments, texts)
journeys = st.lists(hops, max_size=5)
