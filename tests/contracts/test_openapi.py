"""docs/openapi is what the code says and what a running shop serves."""

import json

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from docs.tools.write_openapi import FOLDER, documents, text
from tests.support import Caller


def test_the_files_are_what_the_code_says() -> None:
    made = {f"{name}.json": text(document) for name, document in documents().items()}
    kept = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert kept == made, "run `make openapi`"


async def test_a_running_shop_serves_the_merged_document(caller: Caller) -> None:
    answer = await caller.call("GET", "/api/openapi.json")
    assert answer.status == 200
    assert answer.body == json.loads((FOLDER / "gozon.json").read_text())


@pytest.mark.parametrize("name", ["orders", "payments", "notifier", "gozon"])
def test_each_document_is_valid(name: str) -> None:
    OpenAPIV31SpecValidator(json.loads((FOLDER / f"{name}.json").read_text())).validate()
