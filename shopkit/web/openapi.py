"""The OpenAPI document of a service, made from its handlers.

msgspec describes the structs, as it decodes and encodes them. Litestar's own generator calls an optional
parameter nullable and does not know the headers, links and examples of an answer.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, cast, get_args

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import ParameterKwarg
from litestar.routes import HTTPRoute
from litestar.typing import FieldDefinition

from shopkit.web import identity
from shopkit.web.json_body import JSON
from shopkit.web.problems import ProblemDocument
from shopkit.web.responses import NO_STORE, DocumentedResponse, Json

CONSTRAINTS = ("gt", "ge", "lt", "le", "min_length", "max_length", "pattern")
USER = {
    "type": "apiKey",
    "in": "header",
    "name": identity.HEADER,
    "description": f"Who calls: {identity.RULE}. The infrastructure in front sets it.",
}
PRIVATE: Mapping[str, Json] = {name: {"$ref": f"#/components/headers/{name}"} for name in NO_STORE}


def document(name: str, about: str, app: Litestar) -> Json:
    """Of all handlers but those with `include_in_schema=False`."""
    schemas: Json = {}
    paths: Json = {}
    for path, method, handler in _handlers(app):
        paths.setdefault(path, {})[method] = _Operation(path, handler, schemas).described()
    tags = dict.fromkeys(tag for _, _, handler in _handlers(app) for tag in handler.resolve_tags())
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Gozon {name}", "version": "1", "description": about},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag, "description": about} for tag in tags],
        "paths": paths,
        "components": {
            "headers": NO_STORE,
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"user": USER},
        },
    }


def _handlers(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in sorted(route.route_handler_map.items()):
                if handler.resolve_include_in_schema():
                    yield route.path_format, method.lower(), handler


def instance(path: str, parameters: Sequence[Json]) -> str:
    """The path with the examples of its parameters."""
    return path.format(**{parameter["name"]: parameter.get("example") for parameter in parameters})


def described(answer: ResponseSpec, schema: Json, path: str, headers: Mapping[str, Json] | None = None) -> Json:
    """Its problem documents are about `path`. It has `headers` beside its own."""
    examples = {str(example.id): {"value": _shown(example.value, path)} for example in answer.examples or ()}
    content = {answer.media_type: _without_empty({"schema": schema, "examples": examples})}
    return _without_empty(
        {
            "description": answer.description,
            "headers": {**(headers or {}), **(getattr(answer, "headers", None) or {})},
            "content": content if schema else None,
            "links": getattr(answer, "links", None),
        }
    )


def _shown(example: Any, path: str) -> Any:
    if isinstance(example, ProblemDocument):
        example = msgspec.structs.replace(example, instance=path)
    return msgspec.to_builtins(example)


class _Operation:
    """`schemas` takes up the structs that it takes and gives."""

    def __init__(self, path: str, handler: HTTPRouteHandler, schemas: Json) -> None:
        self._path = path
        self._handler = handler
        self._fields = handler.parsed_fn_signature.parameters
        self._schemas = schemas

    def described(self) -> Json:
        handler = self._handler
        parameters = [self._parameter(field) for field in self._fields.values() if _is_parameter(field)]
        operation: Json = {
            "operationId": _camel(handler.handler_name),
            "summary": handler.summary,
            "description": inspect.getdoc(handler.fn),
            "tags": handler.resolve_tags(),
            "parameters": parameters,
            "requestBody": self._body() if "data" in self._fields else None,
            "responses": self._answers(instance(self._path, parameters)),
        }
        return _without_empty(operation) | {"security": handler.resolve_security()}

    def _parameter(self, field: FieldDefinition) -> Json:
        given = cast("ParameterKwarg", field.kwarg_definition)
        within = {name: value for name in CONSTRAINTS if (value := getattr(given, name)) is not None}
        kind = _never_null(field)
        schema = self._schema(Annotated[kind, msgspec.Meta(**within)] if within else kind)
        if field.has_default and field.default is not None:
            schema["default"] = field.default
        parameter = {
            "name": given.name or field.name,
            "in": given.param_type.value,
            "description": given.description,
            "required": field.is_required,
            "schema": schema | (given.schema_extra or {}),
            "example": given.examples[0].value if given.examples else None,
        }
        return {name: value for name, value in parameter.items() if value is not None}

    def _body(self) -> Json:
        """Its example consists of the first examples of its fields."""
        schema = self._schema(self._fields["data"].annotation)
        properties = self._schemas[schema["$ref"].rpartition("/")[2]]["properties"]
        example = {name: field["examples"][0] for name, field in properties.items() if "examples" in field}
        return {"required": True, "content": {JSON: {"schema": schema, "example": example}}}

    def _answers(self, path: str) -> Json:
        answers: dict[int, ResponseSpec] = {self._handler.status_code: DocumentedResponse("Done.", {})}
        answers |= self._handler.responses or {}
        returned = _returned(self._handler)
        private = PRIVATE if self._handler.resolve_security() else None
        return {
            str(status): described(answer, self._schema(answer.data_container or returned), path, private)
            for status, answer in answers.items()
        }

    def _schema(self, kind: Any) -> Json:
        """Empty for None."""
        if kind in (None, type(None)):
            return {}
        (schema,), components = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
        for name, component in _tidy(components).items():
            if self._schemas.setdefault(name, component) != component:
                raise ValueError(f"two different structs are called {name}")
        return _tidy(schema)


def _is_parameter(field: FieldDefinition) -> bool:
    return isinstance(field.kwarg_definition, ParameterKwarg) and not field.is_di_field


def _never_null(field: FieldDefinition) -> Any:
    """A parameter that may be absent is `X | None` to its handler, but nobody can send null."""
    if not field.is_optional:
        return field.annotation
    return Union[tuple(kind for kind in get_args(field.annotation) if kind is not type(None))]  # noqa: UP007


def _returned(handler: HTTPRouteHandler) -> Any:
    returned = handler.parsed_fn_signature.return_type
    return returned.inner_types[0].annotation if returned.is_subclass_of(Response) else returned.annotation


def _tidy(schema: Any) -> Any:
    """Descriptions lose the indentation of the source, and enums of strings get their type."""
    if isinstance(schema, list):
        return [_tidy(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    tidy = {name: _tidy(value) for name, value in cast("Json", schema).items()}
    if isinstance(tidy.get("description"), str):
        tidy["description"] = inspect.cleandoc(tidy["description"])
    values = tidy.get("enum")
    if isinstance(values, list) and all(isinstance(value, str) for value in cast("list[Any]", values)):
        return {"type": "string"} | tidy
    return tidy


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _without_empty(named: Json) -> Json:
    return {name: value for name, value in named.items() if value}
