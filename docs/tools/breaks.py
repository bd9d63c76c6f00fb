"""What in the documents of the interfaces breaks those who rely on the release before.

`breaks_of_api` compares two OpenAPI documents, `breaks_of_messages` two AsyncAPI documents. A break may be
announced: the changelog's section Unreleased then has a line under `### Breaking` that names it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from docs.tools.schemas import GIVEN, TAKEN, Difference, Direction, Document, Schema, differences

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

Json: TypeAlias = Mapping[str, Any]


class Break(NamedTuple):
    """`where` is an operation such as `POST /api/orders`, the name of a message, or the address of a channel."""

    where: str
    field: str
    what: str

    def __str__(self) -> str:
        names = f"`{self.where}`, `{self.field}`" if self.field else f"`{self.where}`"
        return f"- {names}: {self.what}"


def unannounced(breaks: Iterator[Break], changelog: str) -> list[Break]:
    """Those that no line under Breaking in the section Unreleased names, with where and field as code."""
    section = re.search(r"^## \[Unreleased\]$(.*?)(?=^## |\Z)", changelog, re.DOTALL | re.MULTILINE)
    breaking = re.search(
        r"^### Breaking$(.*?)(?=^### |\Z)", section[1] if section else "", re.DOTALL | re.MULTILINE
    )
    lines = re.split(r"^- ", breaking[1] if breaking else "", flags=re.MULTILINE)
    named = [set(re.findall(r"`([^`]+)`", line)) for line in lines]
    return [it for it in dict.fromkeys(breaks) if not any({it.where, it.field} - {""} <= names for names in named)]


def breaks_of_api(old: Json, new: Json) -> Iterator[Break]:
    before, after = Document(old), Document(new)
    there = dict(_operations(after))
    for where, operation in _operations(before):
        if where not in there:
            yield Break(where, "", "removed")
        else:
            for difference in _Operation(before, after).compare(operation, there[where]):
                yield Break(where, *difference)


def _operations(document: Document) -> Iterator[tuple[str, Json]]:
    content = document.content
    for path, item in content["paths"].items():
        item = document.resolved(item)
        for method in METHODS:
            if method in item:
                parameters = [*item.get("parameters", []), *item[method].get("parameters", [])]
                of_all = {
                    "parameters": parameters,
                    "security": item[method].get("security", content.get("security")),
                }
                yield f"{method.upper()} {path}", item[method] | of_all


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
        if not _let_in(old.get("security") or [{}], new.get("security") or [{}]):
            yield Difference("security", "more is asked of the caller")

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
        there = {name.lower(): self._new.resolved(header) for name, header in new.items()}
        for name, given in old.items():
            header = self._old.resolved(given)
            if name.lower() not in there:
                yield Difference(f"{place}{name}", "removed")
                continue
            if header.get("required") and not there[name.lower()].get("required"):
                yield Difference(f"{place}{name}", "may be missing now")
            yield from self._schemas(f"{place}{name}", header, there[name.lower()], GIVEN)

    def _content(self, place: str, old: Json, new: Json, direction: Direction) -> Iterator[Difference]:
        for kind, media in old.items():
            if kind not in new:
                yield Difference(f"{place}{kind}", "removed")
            else:
                yield from self._schemas(place, media, new[kind], direction)

    def _schemas(self, place: str, old: Json, new: Json, direction: Direction) -> Iterator[Difference]:
        found = differences(self._old, self._new, old.get("schema", {}), new.get("schema", {}), direction)
        return (Difference(f"{place}{field}".strip(), what) for field, what in found)


def _let_in(old: list[Json], new: list[Json]) -> bool:
    """Whether each way to be let in still is one."""
    return all(any(set(now) <= set(before) for now in new) for before in old)


class MessageSchema(NamedTuple):
    """`directions`: an event is given by one of our services and taken by another, maybe of another release."""

    directions: frozenset[Direction]
    headers: Schema
    payload: Schema


def breaks_of_messages(old: Json, new: Json) -> Iterator[Break]:
    before, after = Document(old), Document(new)
    there = _messages(after)
    for (address, name), message in _messages(before).items():
        if (address, name) not in there:
            yield Break(name, address, "is not there any more")
            continue
        for direction in sorted(message.directions):
            for part in ("headers", "payload"):
                schemas = getattr(message, part), getattr(there[address, name], part)
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
    """By channel and name, those of every channel that some operation sends to or receives from."""
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
    # An event is known by its name, whichever queue it lies in.
    of_name: dict[str, frozenset[Direction]] = {}
    for (_, name), message in found.items():
        of_name[name] = of_name.get(name, frozenset()) | message.directions
    return {place: message._replace(directions=of_name[place[1]]) for place, message in found.items()}


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
    """Arguments of a queue or an exchange cannot change: RabbitMQ refuses others for one that exists."""
    address = str(old.get("address"))
    there = new.get("bindings", {})
    for protocol, binding in old.get("bindings", {}).items():
        if protocol == "ws":
            for part in ("query", "headers"):
                schemas = binding.get(part, {}), there.get("ws", {}).get(part, {})
                for difference in differences(before, after, *schemas, TAKEN):
                    yield Break(address, *difference)
        else:
            was, now = (dict(_leaves("", them.get(protocol, {}))) for them in (old["bindings"], there))
            for field in sorted(was.keys() | now.keys()):
                if was.get(field) != now.get(field) and not field.endswith("bindingVersion"):
                    yield Break(address, field, f"was {was.get(field)} and is {now.get(field)}")


def _leaves(field: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inside in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(f"{field}.{name}" if field else str(name), inside)  # pyright: ignore[reportUnknownArgumentType]
    else:
        yield field, value
