"""What docs/scaling.md shows.

    python -m loadtest.sizing                              the tables of docs/scaling.md
    python -m loadtest.sizing --write                      writes them there, and the plot
    python -m loadtest.sizing --check REPORT.json ...      the model beside what a load has measured; exit status 1
                                                           when one differs by more than chance

The costs are those of docs/measured/costs.json, which `loadtest.load.footprint` measures.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest.load import costs
from loadtest.load.costs import Costs
from loadtest.load.parameters import Failed
from loadtest.load.report import read
from loadtest.sizing.model import TOLERATED, check
from loadtest.sizing.page import PAGE, PLOT, filled, plot, tables

MEASURED = Path("docs/measured/costs.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costs", type=Path, default=MEASURED)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", nargs="+", type=Path, metavar="REPORT.json", default=[])
    asked = parser.parse_args()
    measured = costs.read(asked.costs)
    if asked.check:
        sys.exit(0 if _checked(asked.check, measured) else 1)
    elif asked.write:
        PAGE.write_text(filled(PAGE.read_text(), measured))
        PLOT.write_text(plot(measured))
    else:
        print("\n\n".join(tables(measured)))


def _checked(reports: Sequence[Path], measured: Costs) -> bool:
    compared = [check(read(path), measured) for path in reports]
    for one in compared:
        print(one.words if one.holds else f"{one.words}: NOT ok, they differ by more than a factor of {TOLERATED}")
    return all(one.holds for one in compared)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        print(error, file=sys.stderr)
        sys.exit(2)
