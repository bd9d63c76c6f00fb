"""Every incompatible change since the last release is announced in the changelog.

docs/released has the documents of the last release.
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


def test_every_break_of_the_api_is_announced() -> None:
    breaks = breaks_of_api(loaded("released/gozon.json"), loaded("openapi/gozon.json"))
    assert_announced(unannounced(breaks, CHANGELOG))


def test_every_break_of_events_and_frames_is_announced() -> None:
    breaks = breaks_of_messages(loaded("released/asyncapi.yaml"), loaded("asyncapi.yaml"))
    assert_announced(unannounced(breaks, CHANGELOG))


def test_the_version_is_the_last_release_in_the_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", CHANGELOG, re.MULTILINE)
    assert project["project"]["version"] == VERSION == releases[0]


def loaded(name: str) -> dict[str, Any]:
    text = (DOCS / name).read_text()
    return yaml.safe_load(text) if name.endswith(".yaml") else json.loads(text)


def assert_announced(breaks: list[Any]) -> None:
    lines = "\n".join(map(str, breaks))
    assert not breaks, (
        f"revert the change, or announce it under `### Breaking` in CHANGELOG.md, Unreleased:\n{lines}"
    )
