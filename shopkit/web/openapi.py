"""The OpenAPI document of a service, generated from its handlers.

msgspec writes the schemas of the structs, because it also decodes and encodes them. Litestar's own generator
makes an optional parameter nullable, and cannot describe the headers, links and examples of a response.
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
    "description": f"The id of the user: {identity.RULE}. The infrastructure in front of the shop sets it.",
}
PRIVATE: Mapping[str, Json] = {name: {"$ref": f"#/components/headers/{name}"} for name in NO_STORE}


def document(name: str, about: str, app: Litestar) -> Json:
    """Returns the OpenAPI document of all handlers except those with `include_in_schema=False`."""
    schemas: Json = {}
    paths: Json = {}
    for path, method, handler in _handlers(app):
        paths.setdefault(path, {})[method] = _Operation(path, handler, schemas).operation_object()
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


def example_path(path: str, parameters: Sequence[Json]) -> str:
    """Returns the path with each parameter replaced by its example."""
    return path.format(**{parameter["name"]: parameter.get("example") for parameter in parameters})


def response_object(
    response: ResponseSpec, schema: Json, path: str, headers: Mapping[str, Json] | None = None
) -> Json:
    """Returns the OpenAPI Response Object of `response`, with `headers` added.

    `path` becomes the `instance` of its example problem documents.
    """
    examples = {
        str(example.id): {"value": _example_value(example.value, path)} for example in response.examples or ()
    }
    content = {response.media_type: _without_empty({"schema": schema, "examples": examples})}
    return _without_empty(
        {
            "description": response.description,
            "headers": {**(headers or {}), **(getattr(response, "headers", None) or {})},
            "content": content if schema else None,
            "links": getattr(response, "links", None),
        }
    )


def _example_value(example: Any, path: str) -> Any:
    if isinstance(example, ProblemDocument):
        example = msgspec.structs.replace(example, instance=path)
    return msgspec.to_builtins(example)


class _Operation:
    """One operation of the API. It adds the schemas of its request and responses to `schemas`."""

    def __init__(self, path: str, handler: HTTPRouteHandler, schemas: Json) -> None:
        self._path = path
        self._handler = handler
        self._fields = handler.parsed_fn_signature.parameters
        self._schemas = schemas

    def operation_object(self) -> Json:
        handler = self._handler
        parameters = [self._parameter(field) for field in self._fields.values() if _is_parameter(field)]
        operation: Json = {
            "operationId": _camel(handler.handler_name),
            "summary": handler.summary,
            "description": inspect.getdoc(handler.fn),
            "tags": handler.resolve_tags(),
            "parameters": parameters,
            "requestBody": self._body() if "data" in self._fields else None,
            "responses": self._responses(example_path(self._path, parameters)),
        }
        return _without_empty(operation) | {"security": handler.resolve_security()}

    def _parameter(self, field: FieldDefinition) -> Json:
        declared = cast("ParameterKwarg", field.kwarg_definition)
        constraints = {name: value for name in CONSTRAINTS if (value := getattr(declared, name)) is not None}
        kind = _without_none(field)
        schema = self._schema(Annotated[kind, msgspec.Meta(**constraints)] if constraints else kind)
        if field.has_default and field.default is not None:
            schema["default"] = field.default
        parameter = {
            "name": declared.name or field.name,
            "in": declared.param_type.value,
            "description": declared.description,
            "required": field.is_required,
            "schema": schema | (declared.schema_extra or {}),
            "example": declared.examples[0].value if declared.examples else None,
        }
        return {name: value for name, value in parameter.items() if value is not None}

    def _body(self) -> Json:
        """Returns the Request Body Object. Its example is composed of the first example of each field."""
        schema = self._schema(self._fields["data"].annotation)
        properties = self._schemas[schema["$ref"].rpartition("/")[2]]["properties"]
        example = {name: field["examples"][0] for name, field in properties.items() if "examples" in field}
        return {"required": True, "content": {JSON: {"schema": schema, "example": example}}}

    def _responses(self, path: str) -> Json:
        responses: dict[int, ResponseSpec] = {self._handler.status_code: DocumentedResponse("Success.", {})}
        responses |= self._handler.responses or {}
        return_type = _return_type(self._handler)
        private = PRIVATE if self._handler.resolve_security() else None
        return {
            str(status): response_object(
                response, self._schema(response.data_container or return_type), path, private
            )
            for status, response in responses.items()
        }

    def _schema(self, kind: Any) -> Json:
        """Returns the schema of `kind`, empty for None, and adds the structs in it to `schemas`.

        Raises ValueError if two different structs have the same name.
        """
        if kind in (None, type(None)):
            return {}
        (schema,), components = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
        for name, component in _tidy(components).items():
            if self._schemas.setdefault(name, component) != component:
                raise ValueError(f"two different structs are called {name}")
        return _tidy(schema)


def _is_parameter(field: FieldDefinition) -> bool:
    return isinstance(field.kwarg_definition, ParameterKwarg) and not field.is_di_field


def _without_none(field: FieldDefinition) -> Any:
    """Returns the type of a parameter without None: a handler receives None if it is absent, but null is refused."""
    if not field.is_optional:
        return field.annotation
    return Union[tuple(kind for kind in get_args(field.annotation) if kind is not type(None))]  # noqa: UP007


def _return_type(handler: HTTPRouteHandler) -> Any:
    returned = handler.parsed_fn_signature.return_type
    return returned.inner_types[0].annotation if returned.is_subclass_of(Response) else returned.annotation


def _tidy(schema: Any) -> Any:
    """Removes the indentation of the source from descriptions, and adds the missing type of string enums."""
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
