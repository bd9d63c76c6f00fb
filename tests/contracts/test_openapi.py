"""docs/openapi is what the code says. That a running shop serves it, tests/e2e says."""

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


def kept(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def answers(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    calls = [call for path in document["paths"].values() for call in path.values()]
    return [answer for call in calls for answer in call["responses"].items()]


def words_of_nginx(map_name: str) -> dict[int, str]:
    block = re.search(rf"map \$status \${map_name} {{(.*?)}}", (ROOT / "nginx.conf").read_text(), re.DOTALL)
    assert block is not None
    return {int(status): words for status, words in re.findall(r'(\d{3}) "(.*?)";', block[1])}


def test_the_files_are_what_the_code_says() -> None:
    made = {f"{name}.json": text(document) for name, document in documents().items()}
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == made, "run `make openapi`"


@pytest.mark.parametrize("name", NAMES)
def test_each_document_is_valid(name: str) -> None:
    OpenAPIV31SpecValidator(kept(name)).validate()


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_has_an_example_and_every_error_is_a_problem_document(name: str) -> None:
    for status, answer in answers(kept(name)):
        assert answer["content"].keys() == {"application/problem+json" if status >= "400" else "application/json"}
        assert all(content["examples"] for content in answer["content"].values()), answer


def test_errors_of_nginx_are_described_in_its_words() -> None:
    titles, details = words_of_nginx("problem_title"), words_of_nginx("problem_detail")
    described = [
        example["value"]
        for status, answer in answers(kept("gozon"))
        if status >= "400"
        for example in answer["content"]["application/problem+json"]["examples"].values()
    ]
    of_nginx = [problem for problem in described if problem["type"] == "about:blank"]
    assert {problem["status"] for problem in of_nginx} == {414, 431, 502, 504}
    for problem in of_nginx:
        status = problem["status"]
        assert (problem["title"], problem["detail"]) == (titles[status], details[status])
    assert {status: details[status] for status in problems.DETAILS} == problems.DETAILS


def test_orders_knows_the_reasons_of_payments() -> None:
    assert set(get_args(Reason)) == {INSUFFICIENT_FUNDS, NO_ACCOUNT}
