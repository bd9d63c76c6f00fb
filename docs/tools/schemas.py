"""Finds breaking changes between two versions of a JSON Schema.

GIVEN marks data that the shop sends: the old schema must allow each value that the new one allows.
TAKEN marks data that the shop receives: the new schema must allow each value that the old one allowed.
In both directions, removing a field is a break and adding one is not, because readers ignore unknown fields.

A change that the comparison cannot decide counts as a break, so that a developer checks it.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, cast

Schema: TypeAlias = Mapping[str, Any]
Direction: TypeAlias = Literal["given", "taken"]
GIVEN: Direction = "given"
TAKEN: Direction = "taken"

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
COMBINED = ("oneOf", "anyOf", "allOf")
# Keywords that neither allow nor forbid a value.
ANNOTATIONS = frozenset(
    {
        *("$comment", "$defs", "$id", "title", "description", "default", "example", "examples"),
        *("deprecated", "externalDocs", "readOnly", "writeOnly", "xml"),
    }
)


class Difference(NamedTuple):
    """A breaking change. `field` is a path such as `items[].status`; it is empty for the whole value."""

    field: str
    what: str


class Document(NamedTuple):
    """An OpenAPI or AsyncAPI document whose references `resolved` follows."""

    content: Mapping[str, Any]

    def resolved(self, value: Any) -> Any:
        while isinstance(value, dict) and "$ref" in value:
            file, _, path = str(cast("Any", value)["$ref"]).partition("#/")
            if file:
                raise ValueError(f"references to other files are not supported: {value}")
            value = self.content
            for step in path.split("/"):
                value = value[step.replace("~1", "/").replace("~0", "~")]
        return cast("Any", value)


def differences(
    old: Document, new: Document, old_schema: Schema, new_schema: Schema, direction: Direction
) -> Iterator[Difference]:
    """Yields the breaking changes from `old_schema` in the document `old` to `new_schema` in the document `new`."""
    return _Comparison(old, new, direction).compare("", old_schema, new_schema)


class _Comparison:
    def __init__(self, old: Document, new: Document, direction: Direction) -> None:
        self._old = old
        self._new = new
        self._given = direction == GIVEN
        self._open_pairs: list[tuple[Any, Any]] = []

    def compare(self, field: str, old: Schema, new: Schema) -> Iterator[Difference]:
        if (old, new) in self._open_pairs:  # the schema is recursive
            return
        self._open_pairs.append((old, new))
        olds, news = alternatives(self._old, old), alternatives(self._new, new)
        narrow, wide = (news, olds) if self._given else (olds, news)
        for one in narrow:
            yield from self._fits(field, one, wide)
        before, after = (_schema(d.resolved(s)).get("default") for d, s in ((self._old, old), (self._new, new)))
        if not self._given and before is not None and before != after:
            yield Difference(field, f"default was {before!r} and is {after!r}")
        self._open_pairs.pop()

    def _fits(self, field: str, narrow: Schema, wide: list[Schema]) -> Iterator[Difference]:
        """Yields the differences of the `wide` alternative that is closest to allowing all of `narrow`."""
        alike = [one for one in wide if _includes(one.get("type"), narrow.get("type"))]
        if not alike:
            kind = narrow.get("type", "anything")
            yield Difference(field, f"can be {kind} now" if self._given else f"can no longer be {kind}")
            return
        found = [list(self._within(field, narrow, one)) for one in alike]
        yield from min(found, key=len)

    def _within(self, field: str, narrow: Schema, wide: Schema) -> Iterator[Difference]:
        for keyword, value in wide.items():
            if keyword not in ANNOTATIONS and not keyword.startswith("x-"):
                yield from self._keyword(field, keyword, narrow, value)
        yield from self._properties(field, *self._old_and_new(narrow, wide))

    def _keyword(self, field: str, keyword: str, narrow: Schema, wide: Any) -> Iterator[Difference]:
        value = narrow.get(keyword)
        if keyword in ("properties", "required", "type"):
            return
        if keyword == "enum":
            yield from self._enum(field, value, wide)
        elif keyword == "items" or (keyword == "additionalProperties" and isinstance(wide, Mapping)):
            inside = f"{field}[]" if keyword == "items" else _under(field, "*")
            yield from self.compare(inside, *map(_schema, self._old_and_new(value, wide)))
        elif keyword == "additionalProperties":
            if wide is False and value is not False and not self._given:
                yield Difference(field, "unknown fields are rejected now")
        elif not _is_within(keyword, value, wide):
            before, after = self._old_and_new(value, wide)
            yield Difference(field, f"{keyword} was {before} and is {after}")

    def _enum(self, field: str, narrow: list[Any] | None, wide: list[Any]) -> Iterator[Difference]:
        if narrow is None:
            yield Difference(field, "can be any value now" if self._given else f"can only be one of {wide} now")
        elif more := [value for value in narrow if value not in wide]:
            named = ", ".join(map(repr, more))
            yield Difference(field, f"can be {named} now" if self._given else f"can no longer be {named}")

    def _old_and_new(self, narrow: Any, wide: Any) -> tuple[Any, Any]:
        """Returns the pair in the order old, new."""
        return (wide, narrow) if self._given else (narrow, wide)

    def _properties(self, field: str, old: Schema, new: Schema) -> Iterator[Difference]:
        before, after = old.get("properties", {}), new.get("properties", {})
        required_before, required_now = set(old.get("required", ())), set(new.get("required", ()))
        for name in before:
            if name not in after:
                yield Difference(_under(field, name), "removed")
            else:
                yield from self.compare(_under(field, name), before[name], after[name])
        if self._given:
            for name in sorted(required_before - required_now - (set(before) - set(after))):
                yield Difference(_under(field, name), "may be missing now")
        else:
            for name in sorted(required_now - required_before):
                yield Difference(_under(field, name), "is required now")


def alternatives(document: Document, schema: Schema) -> list[Schema]:
    """Splits a schema into alternatives of one type (or any type) each, without references and combinations."""
    schema = _schema(document.resolved(schema))
    combined = next((keyword for keyword in COMBINED if keyword in schema), None)
    if combined is None:
        return list(_by_type(schema))
    rest = {keyword: value for keyword, value in schema.items() if keyword != combined}
    if combined == "allOf":
        for part in schema["allOf"]:
            rest = _both(rest, document.resolved(part))
        return alternatives(document, rest)
    return [
        one
        for part in schema[combined]
        for choice in alternatives(document, part)
        for one in alternatives(document, _both(rest, choice))
    ]


def _schema(value: Any) -> Schema:
    if value is None or value is True:
        return {}
    return {"enum": []} if value is False else value


def _by_type(schema: Schema) -> Iterator[Schema]:
    plain = {keyword: value for keyword, value in schema.items() if keyword not in ("type", "enum", "const")}
    values: list[Any] | None = schema.get("enum")
    if "const" in schema:
        values = [schema["const"]] if values is None or schema["const"] in values else []
    types = schema.get("type")
    if types is None and values is not None:
        types = [kind for kind in TYPES if any(_is(kind, value) for value in values)]
    for kind in [types] if isinstance(types, str) or types is None else types:
        one = plain if kind is None else plain | {"type": kind}
        if values is None:
            yield one
        elif of_kind := [value for value in values if kind is None or _is(kind, value)]:
            yield one | {"enum": of_kind}


def _is(kind: str, value: object) -> bool:
    if kind in ("integer", "number"):
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return not isinstance(value, bool) and (whole or (kind == "number" and isinstance(value, float)))
    known = {"null": type(None), "boolean": bool, "string": str, "array": list, "object": dict}
    return isinstance(value, known[kind])


def _both(one: Schema, other: Schema) -> dict[str, Any]:
    """Returns a schema that allows the values that both allow."""
    merged = dict(one)
    for keyword, value in other.items():
        if keyword in ANNOTATIONS or merged.get(keyword, value) == value:
            merged.setdefault(keyword, value)
        elif keyword == "required":
            merged[keyword] = [*merged[keyword], *value]
        elif keyword == "properties":
            shared = {
                name: {"allOf": [merged[keyword][name], value[name]]} for name in merged[keyword].keys() & value
            }
            merged[keyword] = merged[keyword] | value | shared
        elif keyword == "enum":
            merged[keyword] = [known for known in merged[keyword] if known in value]
        elif keyword in UPPER or keyword in LOWER:
            merged[keyword] = (min if keyword in UPPER else max)(merged[keyword], value)
        else:
            merged[f"{keyword} as well"] = value
    return merged


def _includes(wide: str | None, narrow: str | None) -> bool:
    return wide in (None, narrow) or (wide, narrow) == ("number", "integer")


def _is_within(keyword: str, value: Any, limit: Any) -> bool:
    """Returns whether a keyword of the narrow schema is within that of the wide one. Only limits can be tighter."""
    if keyword in UPPER:
        return value is not None and value <= limit
    if keyword in LOWER:
        return value is not None and value >= limit
    return value == limit


def _under(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name
