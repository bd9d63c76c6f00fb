"""The `--help` that the command-line tools of this package share."""

import argparse


def argument_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Returns a parser for `python -m module`, whose help shows the description with its line breaks."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
