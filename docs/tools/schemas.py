"""Whether a JSON Schema still keeps what an earlier one promised.

GIVEN is what we send: each value that the new schema allows has to be one that the old one allowed. TAKEN is
what we are sent: each value that the old one allowed has to be allowed by the new one. Beyond that, no field may
go, and a new one is harmless: readers ignore fields that they do not know.

What cannot be told apart for certain counts as a break: somebody then looks at it.
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
# They say something about a schema and allow or forbid nothing.
REMARKS = frozenset(
    {
        *("$comment", "$defs", "$id", "title", "description", "default", "example", "examples"),
        *("deprecated", "externalDocs", "readOnly", "writeOnly", "xml"),
    }
)


class Difference(NamedTuple):
    """`field` as in `items[].status`; empty for the whole."""

    field: str
    what: str


class Document(NamedTuple):
    """Follows the references of one document."""

    content: Mapping[str, Any]

    def resolved(self, value: Any) -> Any:
        while isinstance(value, dict) and "$ref" in value:
            place, _, path = str(cast("Any", value)["$ref"]).partition("#/")
            if place:
                raise ValueError(f"only references within the document are followed, not {value}")
            value = self.content
            for step in path.split("/"):
                value = value[step.replace("~1", "/").replace("~0", "~")]
        return cast("Any", value)


def differences(
    old: Document, new: Document, old_schema: Schema, new_schema: Schema, direction: Direction
) -> Iterator[Difference]:
    """The breaks of `new_schema` against `old_schema`, each in its own document."""
    return _Comparison(old, new, direction).compare("", old_schema, new_schema)


class _Comparison:
    def __init__(self, old: Document, new: Document, direction: Direction) -> None:
        self._old = old
        self._new = new
        self._given = direction == GIVEN
        self._under_way: list[tuple[Any, Any]] = []

    def compare(self, field: str, old: Schema, new: Schema) -> Iterator[Difference]:
        if (old, new) in self._under_way:  # a schema that contains itself
            return
        self._under_way.append((old, new))
        olds, news = alternatives(self._old, old), alternatives(self._new, new)
        narrow, wide = (news, olds) if self._given else (olds, news)
        for one in narrow:
            yield from self._fits(field, one, wide)
        before, after = (_schema(d.resolved(s)).get("default") for d, s in ((self._old, old), (self._new, new)))
        if not self._given and before is not None and before != after:
            yield Difference(field, f"left out, it meant {before!r} and means {after!r}")
        self._under_way.pop()

    def _fits(self, field: str, narrow: Schema, wide: list[Schema]) -> Iterator[Difference]:
        """Whether one of the `wide` alternatives allows all that `narrow` does."""
        alike = [one for one in wide if _includes(one.get("type"), narrow.get("type"))]
        if not alike:
            kind = narrow.get("type", "anything")
            yield Difference(field, f"may be {kind} now" if self._given else f"may not be {kind} any more")
            return
        found = [list(self._within(field, narrow, one)) for one in alike]
        yield from min(found, key=len)

    def _within(self, field: str, narrow: Schema, wide: Schema) -> Iterator[Difference]:
        for keyword, value in wide.items():
            if keyword not in REMARKS and not keyword.startswith("x-"):
                yield from self._keyword(field, keyword, narrow, value)
        yield from self._properties(field, *self._in_time(narrow, wide))

    def _keyword(self, field: str, keyword: str, narrow: Schema, wide: Any) -> Iterator[Difference]:
        value = narrow.get(keyword)
        if keyword in ("properties", "required", "type"):
            return
        if keyword == "enum":
            yield from self._enum(field, value, wide)
        elif keyword == "items" or (keyword == "additionalProperties" and isinstance(wide, Mapping)):
            inside = f"{field}[]" if keyword == "items" else _under(field, "*")
            yield from self.compare(inside, *map(_schema, self._in_time(value, wide)))
        elif keyword == "additionalProperties":
            if wide is False and value is not False and not self._given:
                yield Difference(field, "fields that it does not know are refused now")
        elif not _holds(keyword, value, wide):
            before, after = self._in_time(value, wide)
            yield Difference(field, f"{keyword} was {before} and is {after}")

    def _enum(self, field: str, narrow: list[Any] | None, wide: list[Any]) -> Iterator[Difference]:
        if narrow is None:
            yield Difference(field, "may be anything now" if self._given else f"may only be one of {wide} now")
        elif more := [value for value in narrow if value not in wide]:
            named = ", ".join(map(repr, more))
            yield Difference(field, f"may be {named} now" if self._given else f"may not be {named} any more")

    def _in_time(self, narrow: Any, wide: Any) -> tuple[Any, Any]:
        """What was before, what is now."""
        return (wide, narrow) if self._given else (narrow, wide)

    def _properties(self, field: str, old: Schema, new: Schema) -> Iterator[Difference]:
        before, after = old.get("properties", {}), new.get("properties", {})
        must, must_now = set(old.get("required", ())), set(new.get("required", ()))
        for name in before:
            if name not in after:
                yield Difference(_under(field, name), "removed")
            else:
                yield from self.compare(_under(field, name), before[name], after[name])
        if self._given:
            for name in sorted(must - must_now - (set(before) - set(after))):
                yield Difference(_under(field, name), "may be missing now")
        else:
            for name in sorted(must_now - must):
                yield Difference(_under(field, name), "is required now")


def alternatives(document: Document, schema: Schema) -> list[Schema]:
    """The schema as a choice of schemas of one type each (or of any), without references and combinations."""
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
    """What both allow."""
    merged = dict(one)
    for keyword, value in other.items():
        if keyword in REMARKS or merged.get(keyword, value) == value:
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


def _holds(keyword: str, value: Any, limit: Any) -> bool:
    """Limits may be tighter. Patterns, formats and whatever else there is have to be the same."""
    if keyword in UPPER:
        return value is not None and value <= limit
    if keyword in LOWER:
        return value is not None and value >= limit
    return value == limit


def _under(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name
