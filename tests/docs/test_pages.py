"""Files, headings, tests, metrics and settings that a document names exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
SERVICES = ("backstage", "gateway", "notifier", "orders", "payments")
CODE = [path for folder in (*SERVICES, "gozon", "shopkit") for path in (ROOT / folder).rglob("*.py")]
TESTS = [*(ROOT / "tests").rglob("*.py")]


def parts(page: Path, pattern: str) -> Iterator[str]:
    yield from re.findall(pattern, page.read_text(), re.MULTILINE)


def joined(paths: list[Path]) -> str:
    return "\n".join(path.read_text() for path in paths)


def anchors(page: Path) -> set[str]:
    """Returns the anchors that GitHub generates for the headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_has_a_target(page: Path) -> None:
    for link in parts(page, r"\]\((?!https?:)([^)\s]+)\)"):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_named_file_and_test_exists(page: Path) -> None:
    folders = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    for name in parts(page, rf"`((?:{folders})/[\w./-]+\.\w+)`"):
        assert (ROOT / name).exists(), name
    known = joined(TESTS)
    for name in parts(page, r"`(test_\w+)`"):
        assert f"def {name}(" in known, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_named_metric_exists(page: Path) -> None:
    known = joined(CODE)
    swarm_services = {f"gozon_{service}" for service in SERVICES}
    for name in {*parts(page, r"\b(gozon_[a-z_]*[a-z])\b")} - swarm_services:
        assert re.search(rf'"{re.sub("_(total|info|bucket)$", "", name)}', known), name


def test_alarms_on_metrics_of_several_services_name_the_service() -> None:
    """Every service can have a metric that is defined in `shopkit`."""
    shared = {*re.findall(r'"(gozon_\w+)"', joined([*(ROOT / "shopkit").rglob("*.py")]))}
    queries = parts(ROOT / "docs/operations.md", r"^\| `([^`]+ > [^`]+)`")
    alarms = [query for query in queries if shared & {*re.findall(r"gozon_\w+", query)}]
    assert len(alarms) == 3
    assert [query for query in alarms if not re.search(r'by \(service\)|service="', query)] == []


@pytest.mark.parametrize("name", ["README.md", "docs/operations.md"])
def test_every_named_setting_exists(name: str) -> None:
    fields = joined(CODE).upper() + joined([ROOT / "docker-compose.yml", *(ROOT / "deploy").rglob("*.py")])
    for variable in parts(ROOT / name, r"`([A-Z][A-Z_]+_[A-Z]+)`"):
        assert variable in fields, variable


def test_operations_lists_the_variables_that_compose_reads() -> None:
    [listed] = parts(ROOT / "docs/operations.md", r"^Compose and Swarm read (.*)$")
    compose = (ROOT / "docker-compose.yml").read_text()
    assert {*re.findall(r"`([A-Z_]+)`", listed)} == {*re.findall(r"\$\{([A-Z_]+)", compose)}
