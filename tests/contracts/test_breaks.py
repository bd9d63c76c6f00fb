"""Every kind of incompatible change between two documents is found, and compatible changes are not reported."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from docs.tools.breaks import Break, breaks_of_api, breaks_of_messages, unannounced
from docs.tools.schemas import GIVEN, TAKEN, Direction, Document, differences

Json = dict[str, Any]

API: Json = {
    "paths": {
        "/things": {
            "parameters": [{"name": "X-Who", "in": "header", "schema": {"type": "string"}}],
            "post": {
                "parameters": [{"$ref": "#/components/parameters/Limit"}],
                "security": [{"user": []}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Make"}}}},
                "responses": {
                    "201": {
                        "headers": {"Location": {"required": True, "schema": {"type": "string"}}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                    },
                    "404": {"description": "Not found"},
                },
            },
            "get": {"responses": {}},
        }
    },
    "components": {
        "parameters": {
            "Limit": {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 100, "default": 20}}
        },
        "schemas": {
            "Make": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer", "minimum": 1, "maximum": 9},
                    "colour": {"enum": ["red", "green"]},
                    "note": {"type": ["string", "null"], "maxLength": 500},
                },
                "required": ["size"],
            },
            "Thing": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "format": "uuid"},
                    "status": {"type": "string", "enum": ["NEW", "DONE"]},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
                    "note": {"oneOf": [{"type": "string"}, {"type": "null"}]},
                },
                "required": ["id", "status"],
            },
        },
    },
}
POST = API["paths"]["/things"]["post"]

EVENTS: Json = {
    "channels": {
        "things": {
            "address": "things",
            "messages": {"made": {"$ref": "#/components/messages/made"}},
            "bindings": {"amqp": {"queue": {"durable": True, "x-arguments": {"x-delivery-limit": 20}}}},
        },
        "socket": {
            "address": "/ws",
            "messages": {"shown": {"payload": {"type": "object", "properties": {"o": {"type": "integer"}}}}},
            "bindings": {"ws": {"query": {"type": "object", "properties": {"o": {"type": "integer"}}}}},
        },
    },
    "operations": {
        "tell": {
            "action": "send",
            "channel": {"$ref": "#/channels/things"},
            "messages": [{"$ref": "#/channels/things/messages/made"}],
        },
        "hear": {"action": "receive", "channel": {"$ref": "#/channels/things"}},
        "show": {"action": "send", "channel": {"$ref": "#/channels/socket"}},
    },
    "components": {
        "messages": {
            "made": {
                "name": "thing.made",
                "traits": [{"headers": {"type": "object", "properties": {"x-why": {"type": "string"}}}}],
                "payload": {
                    "allOf": [
                        {
                            "type": "object",
                            "properties": {"id": {"type": "string"}, "type": {"type": "string"}},
                            "required": ["id", "type"],
                        },
                        {"properties": {"type": {"const": "thing.made"}}},
                    ]
                },
            }
        }
    },
}

Change = Callable[[Json], object]


def at(*path: Any) -> Callable[[Json], Any]:
    def found(document: Json) -> Any:
        for step in path:
            document = document[step]
        return document

    return found


def put(*path: Any, to: Any) -> Change:
    return lambda document: at(*path[:-1])(document).update({path[-1]: to})


def drop(*path: Any) -> Change:
    return lambda document: at(*path[:-1])(document).pop(path[-1])


MAKE = "components", "schemas", "Make"
THING = "components", "schemas", "Thing"
OPERATION = "paths", "/things", "post"
CREATED = *OPERATION, "responses", "201"
ON_POST = "POST /things"

BREAKS_OF_API: dict[str, tuple[Change, str, str]] = {
    "a path": (drop("paths", "/things"), ON_POST, ""),
    "a method": (drop(*OPERATION), ON_POST, ""),
    "a status": (drop(*OPERATION, "responses", "404"), ON_POST, "404"),
    "a header of an answer": (drop(*CREATED, "headers", "Location"), ON_POST, "201 Location"),
    "a header that may be missing": (drop(*CREATED, "headers", "Location", "required"), ON_POST, "201 Location"),
    "a media type": (drop(*CREATED, "content", "application/json"), ON_POST, "201 application/json"),
    "a header of the request": (drop("paths", "/things", "parameters", 0), ON_POST, "header X-Who"),
    "a parameter": (drop(*OPERATION, "parameters", 0), ON_POST, "query limit"),
    "a parameter that is required": (
        put("components", "parameters", "Limit", "required", to=True),
        ON_POST,
        "query limit",
    ),
    "a lower limit of a parameter": (
        put("components", "parameters", "Limit", "schema", "maximum", to=50),
        ON_POST,
        "query limit",
    ),
    "another default": (
        put("components", "parameters", "Limit", "schema", "default", to=10),
        ON_POST,
        "query limit",
    ),
    "a new parameter that is required": (
        lambda it: at(*OPERATION, "parameters")(it).append(
            {"name": "page", "in": "query", "required": True, "schema": {}}
        ),
        ON_POST,
        "query page",
    ),
    "a body that is required": (put(*OPERATION, "requestBody", "required", to=True), ON_POST, "body"),
    "more security": (put(*OPERATION, "security", to=[{"user": [], "key": []}]), ON_POST, "security"),
    "a field that is taken": (drop(*MAKE, "properties", "note"), ON_POST, "note"),
    "a field that is required": (put(*MAKE, "required", to=["size", "note"]), ON_POST, "note"),
    "a new field that is required": (
        lambda it: at(*MAKE)(it).update(
            properties=at(*MAKE, "properties")(it) | {"age": {}}, required=["size", "age"]
        ),
        ON_POST,
        "age",
    ),
    "a narrower type": (put(*MAKE, "properties", "note", "type", to="string"), ON_POST, "note"),
    "a narrower enum": (put(*MAKE, "properties", "colour", "enum", to=["red"]), ON_POST, "colour"),
    "a lower limit": (put(*MAKE, "properties", "size", "maximum", to=8), ON_POST, "size"),
    "a higher limit": (put(*MAKE, "properties", "size", "minimum", to=2), ON_POST, "size"),
    "a new limit": (put(*MAKE, "properties", "note", "minLength", to=1), ON_POST, "note"),
    "a pattern": (put(*MAKE, "properties", "note", "pattern", to="^a"), ON_POST, "note"),
    "refused fields": (put(*MAKE, "additionalProperties", to=False), ON_POST, ""),
    "a field that was given": (drop(*THING, "properties", "note"), ON_POST, "201 note"),
    "a field that may be missing": (put(*THING, "required", to=["id"]), ON_POST, "201 status"),
    "a wider enum": (
        put(*THING, "properties", "status", "enum", to=["NEW", "DONE", "LOST"]),
        ON_POST,
        "201 status",
    ),
    "no enum": (drop(*THING, "properties", "status", "enum"), ON_POST, "201 status"),
    "a field that may be null": (
        put(*THING, "properties", "id", "type", to=["string", "null"]),
        ON_POST,
        "201 id",
    ),
    "another type": (put(*THING, "properties", "id", to={"type": "integer"}), ON_POST, "201 id"),
    "another format": (put(*THING, "properties", "id", "format", to="date"), ON_POST, "201 id"),
    "a field of an item": (
        put(*THING, "properties", "parts", "items", to={"type": "object"}),
        ON_POST,
        "201 parts[].id",
    ),
}

HARMLESS_TO_API: dict[str, Change] = {
    "nothing": lambda _it: None,
    "a path": put("paths", "/others", to={"get": {"responses": {}}}),
    "a method": put("paths", "/things", "delete", to={"responses": {}}),
    "a status": put(*OPERATION, "responses", "409", to={}),
    "a header": put(*CREATED, "headers", "ETag", to={"schema": {"type": "string"}}),
    "an optional parameter": lambda it: at(*OPERATION, "parameters")(it).append(
        {"name": "page", "in": "query", "schema": {}}
    ),
    "an optional field to take": put(*MAKE, "properties", "age", to={"type": "integer"}),
    "a field to give": put(*THING, "properties", "age", to={"type": "integer"}),
    "a field that is always given": put(*THING, "required", to=["id", "status", "note"]),
    "a wider enum to take": put(*MAKE, "properties", "colour", "enum", to=["red", "green", "blue"]),
    "a narrower enum to give": put(*THING, "properties", "status", "enum", to=["NEW"]),
    "never null any more": put(*THING, "properties", "note", to={"type": "string"}),
    "wider limits to take": put(*MAKE, "properties", "size", "maximum", to=10),
    "fewer required": put(*MAKE, "required", to=[]),
    "a wider type to take": put(*MAKE, "properties", "size", "type", to="number"),
    "a description": put(*THING, "description", to="A thing."),
    "no security": drop(*OPERATION, "security"),
    "another way to write the same": put(*THING, "properties", "note", to={"type": ["null", "string"]}),
}

MADE = "components", "messages", "made"
BREAKS_OF_MESSAGES: dict[str, tuple[Change, str, str]] = {
    "a channel": (
        lambda it: (drop("channels", "things")(it), drop("operations", "tell")(it), drop("operations", "hear")(it)),
        "things",
        "",
    ),
    "a message": (
        lambda it: put("operations", to={})(it),
        "thing.made",
        "things",
    ),
    "a field": (drop(*MADE, "payload", "allOf", 0, "properties", "id"), "thing.made", "id"),
    "another constant": (
        put(*MADE, "payload", "allOf", 1, "properties", "type", "const", to="thing.built"),
        "thing.made",
        "type",
    ),
    "a field that readers of before do without": (
        put(*MADE, "payload", "allOf", 0, "required", to=["id", "type", "age"]),
        "thing.made",
        "age",
    ),
    "a field that may be missing": (put(*MADE, "payload", "allOf", 0, "required", to=["type"]), "thing.made", "id"),
    "a header": (drop(*MADE, "traits", 0, "headers", "properties", "x-why"), "thing.made", "x-why"),
    "an argument of a queue": (
        put("channels", "things", "bindings", "amqp", "queue", "x-arguments", "x-delivery-limit", to=10),
        "things",
        "queue.x-arguments.x-delivery-limit",
    ),
    "a new argument of a queue": (
        put("channels", "things", "bindings", "amqp", "queue", "x-arguments", "x-expires", to=10),
        "things",
        "queue.x-arguments.x-expires",
    ),
    "a parameter of the socket": (
        drop("channels", "socket", "bindings", "ws", "query", "properties", "o"),
        "/ws",
        "o",
    ),
    "a wider frame": (
        put("channels", "socket", "messages", "shown", "payload", "properties", "o", "type", to="number"),
        "shown",
        "o",
    ),
}
HARMLESS_TO_MESSAGES: dict[str, Change] = {
    "nothing": lambda _it: None,
    "a field": put(*MADE, "payload", "allOf", 0, "properties", "age", to={"type": "integer"}),
    "a header": put(*MADE, "traits", 0, "headers", "properties", "x-when", to={"type": "string"}),
    "a channel": put("channels", "others", to={"address": "others", "messages": {}}),
    "a narrower frame": put(
        "channels", "socket", "messages", "shown", "payload", "properties", "o", "minimum", to=0
    ),
    "a title": put(*MADE, "title", to="It was made"),
}


def changed(document: Json, change: Change) -> Json:
    copy = deepcopy(document)
    change(copy)
    return copy


@pytest.mark.parametrize("name", BREAKS_OF_API)
def test_a_break_of_the_api_is_found_and_named(name: str) -> None:
    change, where, field = BREAKS_OF_API[name]
    assert (where, field) in {(it.where, it.field) for it in breaks_of_api(API, changed(API, change))}


@pytest.mark.parametrize("name", HARMLESS_TO_API)
def test_a_compatible_change_is_no_break_of_the_api(name: str) -> None:
    assert list(breaks_of_api(API, changed(API, HARMLESS_TO_API[name]))) == []


@pytest.mark.parametrize("name", BREAKS_OF_MESSAGES)
def test_a_break_of_a_message_is_found_and_named(name: str) -> None:
    change, where, field = BREAKS_OF_MESSAGES[name]
    assert (where, field) in {(it.where, it.field) for it in breaks_of_messages(EVENTS, changed(EVENTS, change))}


@pytest.mark.parametrize("name", HARMLESS_TO_MESSAGES)
def test_a_compatible_change_is_no_break_of_a_message(name: str) -> None:
    assert list(breaks_of_messages(EVENTS, changed(EVENTS, HARMLESS_TO_MESSAGES[name]))) == []


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("- `POST /things`, `note`: no longer taken, see below", []),
        ("- `POST /things` and\n  what it calls `note`", []),
        ("- `POST /things`: everything", ["note"]),
        ("- POST /things, note", ["note"]),
        ("- `POST /things/{id}`, `note`", ["note"]),
    ],
)
def test_a_break_is_announced_by_a_line_that_names_it(line: str, left: list[str]) -> None:
    log = f"# Changelog\n\n## [Unreleased]\n\n### Breaking\n\n{line}\n\n### Added\n\n- x\n"
    breaks = [Break("POST /things", "note", "removed"), Break("POST /things", "note", "removed")]
    assert [it.field for it in unannounced(iter(breaks), log)] == left


@pytest.mark.parametrize("heading", ["### Changed", "## [1.0.0] - 2026-01-01\n\n### Breaking"])
def test_only_the_breaking_section_of_unreleased_announces(heading: str) -> None:
    log = f"## [Unreleased]\n\n{heading}\n\n- `POST /things`, `note`: removed\n"
    assert unannounced(iter([Break("POST /things", "note", "removed")]), log)


# Property tests with any two schemas: if no break is found, the new schema is compatible.

NAMES = ["a", "b"]
ATOMS = st.sampled_from([None, -1, 0, 1, 2, 0.5, "", "x", "xy", "yyy"])
VALUES = (
    ATOMS
    | st.just(True)
    | st.lists(ATOMS, max_size=3)
    | st.dictionaries(st.sampled_from(NAMES), ATOMS | st.lists(ATOMS))
)
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
KEYWORDS: dict[str, st.SearchStrategy[Any]] = {
    "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
    **dict.fromkeys(("minimum", "maximum"), st.integers(-1, 2)),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), st.integers(0, 2)),
    "pattern": st.sampled_from(["x", "^y"]),
    "enum": st.lists(VALUES, min_size=1, max_size=3),
    "const": VALUES,
    "required": st.lists(st.sampled_from(NAMES), unique=True),
    "additionalProperties": st.booleans(),
}
NESTED: dict[str, Callable[[st.SearchStrategy[Json]], st.SearchStrategy[Any]]] = {
    "items": lambda inside: inside,
    "properties": lambda inside: st.dictionaries(st.sampled_from(NAMES), inside),
    "anyOf": lambda inside: st.lists(inside, min_size=1, max_size=2),
    "allOf": lambda inside: st.lists(inside, min_size=1, max_size=2),
}


@st.composite
def schemas(draw: st.DrawFn, depth: int = 2) -> Json:
    chosen = draw(st.lists(st.sampled_from([*KEYWORDS, *NESTED]), max_size=3, unique=True))
    return {
        keyword: draw(KEYWORDS[keyword] if keyword in KEYWORDS else NESTED[keyword](schemas(depth - 1)))
        for keyword in chosen
        if depth or keyword in KEYWORDS
    }


SCHEMAS = schemas()
NOWHERE = Document({})


def broken(old: Json, new: Json, direction: Direction) -> bool:
    return any(differences(NOWHERE, NOWHERE, old, new, direction))


@given(SCHEMAS)
def test_a_schema_does_not_break_itself(schema: Json) -> None:
    assert not broken(schema, deepcopy(schema), TAKEN)
    assert not broken(schema, deepcopy(schema), GIVEN)


@given(SCHEMAS, st.data())
def test_an_accepted_value_stays_accepted_unless_a_break_is_found(old: Json, data: st.DataObject) -> None:
    new = data.draw(like(old))
    assume(not broken(old, new, TAKEN))
    value = data.draw(VALUES)
    assume(Draft202012Validator(old).is_valid(value))
    # A client of the old schema does not send fields that are new.
    assume(not isinstance(value, dict) or set(value) <= fields(old))
    assert Draft202012Validator(new).is_valid(value)


@given(SCHEMAS, st.data())
def test_a_sent_value_was_allowed_before_unless_a_break_is_found(old: Json, data: st.DataObject) -> None:
    new = data.draw(like(old))
    assume(not broken(old, new, GIVEN))
    value = data.draw(VALUES)
    assume(Draft202012Validator(new).is_valid(value))
    # Readers ignore fields that are new, so the old schema need not allow them.
    assert Draft202012Validator(opened(old)).is_valid(value)


def like(schema: Json) -> st.SearchStrategy[Json]:
    """Generates schemas similar to `schema`: without one keyword, with keywords of another schema, or a new one."""
    without_keyword = st.sampled_from([*schema, None]).map(
        lambda keyword: {k: v for k, v in schema.items() if k != keyword}
    )
    return without_keyword | SCHEMAS.map(lambda other: schema | other) | SCHEMAS


def opened(schema: Any) -> Any:
    """Returns the schema without `additionalProperties`, at every level."""
    if isinstance(schema, dict):
        return {k: opened(v) for k, v in cast("Json", schema).items() if k != "additionalProperties"}
    return [opened(one) for one in schema] if isinstance(schema, list) else schema  # pyright: ignore[reportUnknownVariableType]


def fields(schema: Any) -> set[str]:
    """Returns the names of all properties, at every level."""
    if isinstance(schema, list):
        return set[str]().union(*map(fields, schema))  # pyright: ignore[reportUnknownArgumentType]
    if not isinstance(schema, dict):
        return set()
    inside = cast("Json", schema)
    return set(inside.get("properties", {})).union(*map(fields, inside.values()))
