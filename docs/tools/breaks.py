"""Finds breaking changes of the interfaces: changes that break clients of the last release.

`breaks_of_api` compares two OpenAPI documents, `breaks_of_messages` two AsyncAPI documents. A break can be
announced by a line under `### Breaking` in the section Unreleased of the changelog.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from docs.tools.schemas import GIVEN, TAKEN, Difference, Direction, Document, Schema, differences

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

Json: TypeAlias = Mapping[str, Any]


class Break(NamedTuple):
    """A breaking change.

    `where` is an operation such as `POST /api/orders`, the name of a message, or the address of a channel.
    """

    where: str
    field: str
    what: str

    def __str__(self) -> str:
        names = f"`{self.where}`, `{self.field}`" if self.field else f"`{self.where}`"
        return f"- {names}: {self.what}"


def unannounced(breaks: Iterator[Break], changelog: str) -> list[Break]:
    """Returns the breaks that the changelog does not announce.

    A line announces a break if it contains its `where` and `field` in backticks.
    """
    section = re.search(r"^## \[Unreleased\]$(.*?)(?=^## |\Z)", changelog, re.DOTALL | re.MULTILINE)
    breaking = re.search(
        r"^### Breaking$(.*?)(?=^### |\Z)", section[1] if section else "", re.DOTALL | re.MULTILINE
    )
    lines = re.split(r"^- ", breaking[1] if breaking else "", flags=re.MULTILINE)
    named = [set(re.findall(r"`([^`]+)`", line)) for line in lines]
    return [
        one for one in dict.fromkeys(breaks) if not any({one.where, one.field} - {""} <= names for names in named)
    ]


def breaks_of_api(old: Json, new: Json) -> Iterator[Break]:
    before, after = Document(old), Document(new)
    new_operations = dict(_operations(after))
    for where, operation in _operations(before):
        if where not in new_operations:
            yield Break(where, "", "removed")
        else:
            for difference in _Operation(before, after).compare(operation, new_operations[where]):
                yield Break(where, *difference)


def _operations(document: Document) -> Iterator[tuple[str, Json]]:
    content = document.content
    for path, item in content["paths"].items():
        item = document.resolved(item)
        for method in METHODS:
            if method in item:
                parameters = [*item.get("parameters", []), *item[method].get("parameters", [])]
                inherited = {
                    "parameters": parameters,
                    "security": item[method].get("security", content.get("security")),
                }
                yield f"{method.upper()} {path}", item[method] | inherited


class _Operation:
    def __init__(self, old: Document, new: Document) -> None:
        self._old = old
        self._new = new

    def compare(self, old: Json, new: Json) -> Iterator[Difference]:
        yield from self._parameters(self._named(self._old, old), self._named(self._new, new))
        yield from self._body(
            self._old.resolved(old.get("requestBody")), self._new.resolved(new.get("requestBody"))
        )
        yield from self._responses(old.get("responses", {}), new.get("responses", {}))
        if not _still_authorized(old.get("security") or [{}], new.get("security") or [{}]):
            yield Difference("security", "callers need more authorization now")

    def _named(self, document: Document, operation: Json) -> dict[str, Json]:
        return {f"{p['in']} {p['name']}": p for p in map(document.resolved, operation["parameters"])}

    def _parameters(self, old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Difference]:
        for name, parameter in old.items():
            if name not in new:
                yield Difference(name, "removed")
            else:
                yield from self._schemas(name, parameter, new[name], TAKEN)
        for name, parameter in new.items():
            if parameter.get("required") and not old.get(name, {}).get("required"):
                yield Difference(name, "is required now")

    def _body(self, old: Json | None, new: Json | None) -> Iterator[Difference]:
        if new is None:
            if old is not None:
                yield Difference("body", "removed")
            return
        if new.get("required") and not (old and old.get("required")):
            yield Difference("body", "is required now")
        yield from self._content("", (old or {}).get("content", {}), new["content"], TAKEN)

    def _responses(self, old: Json, new: Json) -> Iterator[Difference]:
        for status, response in old.items():
            if status not in new:
                yield Difference(status, "removed")
                continue
            before, after = self._old.resolved(response), self._new.resolved(new[status])
            yield from self._headers(f"{status} ", before.get("headers", {}), after.get("headers", {}))
            yield from self._content(f"{status} ", before.get("content", {}), after.get("content", {}), GIVEN)

    def _headers(self, place: str, old: Json, new: Json) -> Iterator[Difference]:
        new_headers = {name.lower(): self._new.resolved(header) for name, header in new.items()}
        for name, old_header in old.items():
            header = self._old.resolved(old_header)
            if name.lower() not in new_headers:
                yield Difference(f"{place}{name}", "removed")
                continue
            if header.get("required") and not new_headers[name.lower()].get("required"):
                yield Difference(f"{place}{name}", "may be missing now")
            yield from self._schemas(f"{place}{name}", header, new_headers[name.lower()], GIVEN)

    def _content(self, place: str, old: Json, new: Json, direction: Direction) -> Iterator[Difference]:
        for kind, media in old.items():
            if kind not in new:
                yield Difference(f"{place}{kind}", "removed")
            else:
                yield from self._schemas(place, media, new[kind], direction)

    def _schemas(self, place: str, old: Json, new: Json, direction: Direction) -> Iterator[Difference]:
        found = differences(self._old, self._new, old.get("schema", {}), new.get("schema", {}), direction)
        return (Difference(f"{place}{field}".strip(), what) for field, what in found)


def _still_authorized(old: list[Json], new: list[Json]) -> bool:
    """Returns whether each old way to authorize a call still works."""
    return all(any(set(now) <= set(before) for now in new) for before in old)


class MessageSchema(NamedTuple):
    """The schemas of a message.

    An event has both `directions`: one service sends it, and another one, maybe of another release, receives it.
    """

    directions: frozenset[Direction]
    headers: Schema
    payload: Schema


def breaks_of_messages(old: Json, new: Json) -> Iterator[Break]:
    before, after = Document(old), Document(new)
    new_messages = _messages(after)
    for (address, name), message in _messages(before).items():
        if (address, name) not in new_messages:
            yield Break(name, address, "removed")
            continue
        for direction in sorted(message.directions):
            for part in ("headers", "payload"):
                schemas = getattr(message, part), getattr(new_messages[address, name], part)
                for difference in differences(before, after, *schemas, direction):
                    yield Break(name, *difference)
    channels = {channel.get("address"): channel for channel in _resolved(after, "channels").values()}
    for channel in _resolved(before, "channels").values():
        address = channel.get("address")
        if address in channels:
            yield from _bindings(before, after, channel, channels[address])
        else:
            yield Break(str(address), "", "removed")


def _messages(document: Document) -> dict[tuple[str, str], MessageSchema]:
    """Returns the messages of all operations, by channel and name."""
    found: dict[tuple[str, str], MessageSchema] = {}
    for operation in _resolved(document, "operations").values():
        channel = document.resolved(operation["channel"])
        direction: Direction = GIVEN if operation["action"] == "send" else TAKEN
        for key, referred in _sent(document, operation, channel):
            message = document.resolved(referred)
            traits = [document.resolved(trait) for trait in message.get("traits", [])]
            place = str(channel.get("address")), str(message.get("name", key))
            directions = frozenset[Direction]({direction})
            if place in found:
                directions |= found[place].directions
            headers = [part["headers"] for part in (message, *traits) if "headers" in part]
            found[place] = MessageSchema(directions, {"allOf": headers}, _payload(message))
    # An event in several queues has one name. Its directions are those of all its queues.
    directions_of: dict[str, frozenset[Direction]] = {}
    for (_, name), message in found.items():
        directions_of[name] = directions_of.get(name, frozenset()) | message.directions
    return {place: message._replace(directions=directions_of[place[1]]) for place, message in found.items()}


def _sent(document: Document, operation: Json, channel: Json) -> Iterator[tuple[str, Any]]:
    if "messages" not in operation:
        yield from channel.get("messages", {}).items()
    for reference in operation.get("messages", []):
        yield str(reference["$ref"]).rpartition("/")[2], document.resolved(reference)


def _payload(message: Json) -> Schema:
    payload = message.get("payload", {})
    return payload["schema"] if "schemaFormat" in payload else payload


def _resolved(document: Document, section: str) -> dict[str, Any]:
    return {name: document.resolved(value) for name, value in document.content.get(section, {}).items()}


def _bindings(before: Document, after: Document, old: Json, new: Json) -> Iterator[Break]:
    """Yields changed bindings. RabbitMQ rejects other arguments for an existing queue or exchange."""
    address = str(old.get("address"))
    new_bindings = new.get("bindings", {})
    for protocol, binding in old.get("bindings", {}).items():
        if protocol == "ws":
            for part in ("query", "headers"):
                schemas = binding.get(part, {}), new_bindings.get("ws", {}).get(part, {})
                for difference in differences(before, after, *schemas, TAKEN):
                    yield Break(address, *difference)
        else:
            was, now = (
                dict(_leaves("", bindings.get(protocol, {}))) for bindings in (old["bindings"], new_bindings)
            )
            for field in sorted(was.keys() | now.keys()):
                if was.get(field) != now.get(field) and not field.endswith("bindingVersion"):
                    yield Break(address, field, f"was {was.get(field)} and is {now.get(field)}")


def _leaves(field: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inside in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(f"{field}.{name}" if field else str(name), inside)  # pyright: ignore[reportUnknownArgumentType]
    else:
        yield field, value
