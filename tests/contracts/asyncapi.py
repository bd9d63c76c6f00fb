"""docs/asyncapi.yaml with its references and traits resolved, and the validation of values by its schemas."""

import json
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import getitem
from typing import Any, cast

import yaml
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker

from tests.support import ROOT


def document() -> Any:
    read = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())
    return _resolved(read, read)


def messages_of(operation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the messages of an operation. If it lists none, these are all messages of its channel."""
    return operation.get("messages") or list(operation["channel"]["messages"].values())


def amqp_bindings(document: Any) -> Iterator[dict[str, Any]]:
    """Yields the AMQP binding of each channel of the broker, once for each queue if a channel has several."""
    for channel in document["channels"].values():
        if binding := channel["bindings"].get("amqp"):
            for queue in channel.get("parameters", {}).get("queue", {"enum": [""]})["enum"]:
                yield json.loads(json.dumps(binding).replace("{queue}", queue))


def allows(schema: Any, value: Any) -> bool:
    """Returns whether `value` is valid for a reader, which ignores fields that the document does not name."""
    return Draft7Validator(schema, format_checker=FormatChecker()).is_valid(value)


def must_be(schema: Any, value: Any) -> None:
    """Raises ValidationError if `value` is invalid or has a field that the document does not name."""
    # Only draft 2020-12 can refuse unknown fields beside `allOf`. All other keywords that are used mean the same.
    Draft202012Validator(_closed(schema), format_checker=FormatChecker()).validate(value)


def _resolved(node: Any, root: Any) -> Any:
    if isinstance(node, list):
        return [_resolved(item, root) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    members = cast("dict[str, Any]", node)
    if reference := members.get("$ref"):
        return _resolved(reduce(getitem, reference.removeprefix("#/").split("/"), root), root)
    resolved = {name: _resolved(member, root) for name, member in members.items()}
    for trait in resolved.pop("traits", []):
        resolved = trait | resolved
    return resolved


def _closed(schema: Any, part: bool = False) -> Any:
    """Returns a schema that refuses unknown fields. A part of an `allOf` stays open, as other parts add fields."""
    closed = dict(schema)
    if "properties" in schema:
        closed["properties"] = {name: _closed(value) for name, value in schema["properties"].items()}
    if "items" in schema:
        closed["items"] = _closed(schema["items"])
    if "allOf" in schema:
        closed["allOf"] = [_closed(value, part=True) for value in schema["allOf"]]
    if not part and closed.keys() & {"properties", "allOf"}:
        closed["unevaluatedProperties"] = False
    return closed
