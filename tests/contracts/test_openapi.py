"""docs/openapi agrees with the code. tests/e2e checks that a running shop serves the same document."""

import json
import re
from typing import Any, get_args

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from docs.tools.write_openapi import FOLDER, documents, text
from orders.api_schema import Reason
from payments.decisions import INSUFFICIENT_FUNDS, NO_ACCOUNT
from shopkit.web import problems
from tests.support import ROOT

NAMES = sorted(path.stem for path in FOLDER.iterdir())


def file_of(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def responses(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    return [response for operation in operations for response in operation["responses"].items()]


def texts_of_nginx(map_name: str) -> dict[int, str]:
    block = re.search(rf"map \$status \${map_name} {{(.*?)}}", (ROOT / "nginx.conf").read_text(), re.DOTALL)
    assert block is not None
    return {int(status): text for status, text in re.findall(r'(\d{3}) "(.*?)";', block[1])}


def test_the_files_are_up_to_date() -> None:
    made = {f"{name}.json": text(document) for name, document in documents().items()}
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == made, "run `make openapi`"


@pytest.mark.parametrize("name", NAMES)
def test_each_document_is_valid(name: str) -> None:
    OpenAPIV31SpecValidator(file_of(name)).validate()


@pytest.mark.parametrize("name", NAMES)
def test_every_response_has_an_example_and_every_error_is_a_problem_document(name: str) -> None:
    for status, response in responses(file_of(name)):
        assert response["content"].keys() == {"application/problem+json" if status >= "400" else "application/json"}
        assert all(content["examples"] for content in response["content"].values()), response


def test_errors_of_nginx_have_the_texts_of_nginx_conf() -> None:
    titles, details = texts_of_nginx("problem_title"), texts_of_nginx("problem_detail")
    described = [
        example["value"]
        for status, response in responses(file_of("gozon"))
        if status >= "400"
        for example in response["content"]["application/problem+json"]["examples"].values()
    ]
    of_nginx = [problem for problem in described if problem["type"] == "about:blank"]
    assert {problem["status"] for problem in of_nginx} == {414, 431, 502, 504}
    for problem in of_nginx:
        status = problem["status"]
        assert (problem["title"], problem["detail"]) == (titles[status], details[status])
    assert {status: details[status] for status in problems.DETAILS} == problems.DETAILS


def test_orders_knows_the_reasons_of_payments() -> None:
    assert set(get_args(Reason)) == {INSUFFICIENT_FUNDS, NO_ACCOUNT}
