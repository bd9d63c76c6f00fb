"""Prints or writes the tables of docs/scaling.md, or compares the model with measured loads.

    python -m loadtest.sizing                              prints the tables
    python -m loadtest.sizing --write                      writes the tables and the plot into docs/
    python -m loadtest.sizing --check REPORT.json ...      compares the model with reports of loads; exit status 1
                                                           if one differs by more than the tolerance

The costs are from docs/measured/costs.json. `python -m loadtest.load.footprint` measures them.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest.arguments import argument_parser
from loadtest.load import costs
from loadtest.load.costs import Costs
from loadtest.load.parameters import LoadError
from loadtest.load.report import read
from loadtest.sizing.document import DOCUMENT, PLOT, plot, tables, with_new_tables
from loadtest.sizing.model import TOLERANCE, check

MEASURED = Path("docs/measured/costs.json")


def main() -> None:
    parser = argument_parser("loadtest.sizing", __doc__)
    parser.add_argument("--costs", type=Path, default=MEASURED, help="file of costs (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {DOCUMENT} and the plot")
    parser.add_argument("--check", nargs="+", type=Path, metavar="REPORT.json", default=[], help="compare reports")
    arguments = parser.parse_args()
    measured = costs.read(arguments.costs)
    if arguments.check:
        sys.exit(0 if _all_hold(arguments.check, measured) else 1)
    elif arguments.write:
        DOCUMENT.write_text(with_new_tables(DOCUMENT.read_text(), measured))
        PLOT.write_text(plot(measured))
    else:
        print("\n\n".join(tables(measured)))


def _all_hold(reports: Sequence[Path], measured: Costs) -> bool:
    """Prints a line for each report, and returns whether every load is within the tolerance."""
    compared = [check(read(path), measured) for path in reports]
    for one in compared:
        print(one.text if one.holds else f"{one.text}: NOT ok, they differ by more than a factor of {TOLERANCE}")
    return all(one.holds for one in compared)


if __name__ == "__main__":
    try:
        main()
    except LoadError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
