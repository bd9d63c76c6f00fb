"""Writes the report of a trial: JSON for tools, HTML and text for readers."""

import time
from collections.abc import Iterator
from html import escape
from pathlib import Path

import msgspec

from loadtest.faults.trial import Happening, Outcome
from loadtest.faults.verdict import INVARIANTS

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td, th { padding: .3rem .6rem; border-bottom: 1px solid #8884 }
th { text-align: left } .n { text-align: right } .broken { color: #c33; font-weight: 600 } .ok { color: #283 }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #ddd } }
"""
CLASSES = {"BROKEN": "broken", "held": "ok", "not judged": "unknown"}
COLUMNS = (
    "at, s",
    "fault",
    "what",
    "in flight",
    "left open",
    "lasted, s",
    "healed after, s",
    "no order, s",
    "no toast, s",
    "verdict",
)


def write(outcome: Outcome, folder: Path) -> str:
    """Writes report.json and report.html into a new folder. Returns the report as text, with that path."""
    run_folder = folder / time.strftime("%Y%m%d-%H%M%S")
    run_folder.mkdir(parents=True)
    (run_folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(outcome)))
    (run_folder / "report.html").write_text(as_html(outcome))
    return f"{as_text(outcome)}\n{run_folder / 'report.html'}"


def as_text(outcome: Outcome) -> str:
    lines = [
        summary(outcome),
        *(f"  {name:<17} {state(outcome, name)}" for name in INVARIANTS),
        *([outcome.error] if outcome.error else []),
    ]
    return "\n".join([*lines, *(f"{name}: {what}" for name, what in violations(outcome))])


def state(outcome: Outcome, name: str) -> str:
    if name in outcome.names:
        return "BROKEN"
    return "held" if name in outcome.judged else "not judged"


def summary(outcome: Outcome) -> str:
    requests = ", ".join(f"{count} {how}" for how, count in outcome.requests.items())
    return (
        f"{len(outcome.happenings)} of {outcome.planned} faults in {outcome.seconds:.0f} s, SEED={outcome.seed}; "
        f"{outcome.orders} orders; requests by the outcome of their first attempt: {requests}"
    )


def violations(outcome: Outcome) -> Iterator[tuple[str, str]]:
    for broken in (*(happening.broken for happening in outcome.happenings), outcome.broken):
        for name, descriptions in broken.items():
            yield from ((name, description) for description in descriptions[:10])


def as_html(outcome: Outcome) -> str:
    head = "".join(f"<th>{column}</th>" for column in COLUMNS)
    held = "".join(_invariant(name, meaning, state(outcome, name)) for name, meaning in INVARIANTS.items())
    broken = "".join(f"<li><b>{escape(name)}</b> {escape(what)}</li>" for name, what in violations(outcome))
    return (
        f"<!doctype html><meta charset=utf-8><title>Faults</title><style>{STYLE}</style>"
        f"<h1>Faults</h1><p>{escape(summary(outcome))}</p><pre class=broken>{escape(outcome.error)}</pre>"
        f"<ul>{broken}</ul>"
        f"<table><tr>{head}</tr>{''.join(map(_row, outcome.happenings))}</table>"
        f"<h2>Invariants</h2><table>{held}</table>\n"
    )


def _row(happening: Happening) -> str:
    verdict = escape(" ".join(happening.broken))
    return (
        f"<tr><td class=n>{happening.at:.1f}<td>{escape(happening.fault)}<td>{escape(happening.what)}"
        f"<td class=n>{happening.in_flight}<td class=n>{happening.left}"
        f"<td class=n>{happening.lasted:.1f}<td class=n>{happening.healed_after:.1f}"
        f"<td class=n>{happening.no_order:.1f}<td class=n>{happening.no_toast:.1f}"
        f"<td class={'broken' if verdict else 'ok'}>{verdict or 'ok'}</tr>"
    )


def _invariant(name: str, meaning: str, state: str) -> str:
    return f"<tr><td>{name}<td>{escape(meaning)}<td class={CLASSES[state]}>{state}</tr>"
