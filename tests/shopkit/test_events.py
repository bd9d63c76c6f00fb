import json
from collections import defaultdict
from datetime import UTC, datetime
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopkit.messaging.events import BATCH_LIMIT, Event, Outgoing, batches, decode_batch, encode_batch, outgoing
from tests.strategies import amounts, texts


class Parcel(msgspec.Struct, frozen=True):
    order_id: UUID
    note: str
    amount: int


parcels = st.builds(Parcel, st.uuids(), texts, amounts)


@given(parcels, st.sampled_from(["parcel.sent", "parcel.lost"]))
def test_an_event_is_decoded_as_it_was_encoded(parcel: Parcel, kind: str) -> None:
    written = outgoing("post", kind, parcel.order_id, parcel)
    event = msgspec.json.decode(written.event, type=Event[Parcel])
    assert event.data == parcel
    assert (event.source, event.type, event.subject) == ("post", kind, str(parcel.order_id))
    assert (event.id, event.type) == (written.event_id, written.routing_key)
    assert event.time <= datetime.now(UTC)


@given(st.lists(parcels, min_size=1, max_size=10))
def test_a_batch_is_decoded_as_it_was_encoded(sent: list[Parcel]) -> None:
    encoded = [outgoing("post", "parcel.sent", parcel.order_id, parcel).event for parcel in sent]
    body = encode_batch(encoded)
    assert decode_batch(body) == encoded
    assert [event["data"]["note"] for event in json.loads(body)] == [parcel.note for parcel in sent]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 130)), max_size=8))
def test_batches_have_one_key_and_keep_all_events_in_order(runs: list[tuple[str, int]]) -> None:
    keys = [key for key, count in runs for _ in range(count)]
    events = [Outgoing(uuid4(), key, str(number).encode()) for number, key in enumerate(keys)]
    joined: dict[str, list[bytes]] = defaultdict(list)
    for key, batch in batches(events):
        assert 1 <= len(batch) <= BATCH_LIMIT
        joined[key] += batch
    assert joined == {key: [e.event for e in events if e.routing_key == key] for key in set(keys)}


def test_readers_ignore_unknown_fields() -> None:
    written = json.loads(outgoing("post", "parcel.sent", uuid4(), Parcel(uuid4(), "glass", 1)).event)
    written |= {"journey": [], "partitionkey": "7"}
    written["data"]["colour"] = "red"
    event = msgspec.json.decode(json.dumps(written), type=Event[Parcel])
    assert event.data.note == "glass"


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type", "subject", "time", "data"])
def test_an_event_without_a_required_attribute_is_rejected(missing: str) -> None:
    written = json.loads(outgoing("post", "parcel.sent", uuid4(), Parcel(uuid4(), "glass", 1)).event)
    del written[missing]
    with pytest.raises(msgspec.ValidationError, match=missing):
        msgspec.json.decode(json.dumps(written), type=Event[Parcel])
