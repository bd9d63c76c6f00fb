"""Nobody who relies on the release before is broken, unless the changelog says so.

docs/released holds the documents of the last release.
"""

import json
import re
import tomllib
from typing import Any

import yaml

from docs.tools.breaks import breaks_of_api, breaks_of_messages, unannounced
from shopkit import VERSION
from tests.support import ROOT

DOCS = ROOT / "docs"
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def test_the_api_breaks_nobody_without_an_announcement() -> None:
    breaks = breaks_of_api(loaded("released/gozon.json"), loaded("openapi/gozon.json"))
    assert_announced(unannounced(breaks, CHANGELOG))


def test_events_and_frames_break_nobody_without_an_announcement() -> None:
    breaks = breaks_of_messages(loaded("released/asyncapi.yaml"), loaded("asyncapi.yaml"))
    assert_announced(unannounced(breaks, CHANGELOG))


def test_the_version_is_that_of_the_last_release() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", CHANGELOG, re.MULTILINE)
    assert project["project"]["version"] == VERSION == releases[0]


def loaded(name: str) -> dict[str, Any]:
    text = (DOCS / name).read_text()
    return yaml.safe_load(text) if name.endswith(".yaml") else json.loads(text)


def assert_announced(breaks: list[Any]) -> None:
    lines = "\n".join(map(str, breaks))
    assert not breaks, f"take it back, or announce it under `### Breaking` in CHANGELOG.md, Unreleased:\n{lines}"
