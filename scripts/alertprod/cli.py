"""``alertprod``: what is not a rule. Each command is a module in ``alertprod.commands``.

A command's module has ``add_parser(subparsers)``, which sets ``run`` as the parser's default, and
``run(args)``. Parsers import nothing heavy, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import pkgutil
import sys

from alertprod import __version__, commands
from alertprod.core.errors import BadInput, Rejected


def build_parser() -> argparse.ArgumentParser:
    """Collect the commands, in alphabetical order."""
    parser = argparse.ArgumentParser(
        prog="alertprod",
        description="Prepare, inspect and repair what the alertprod workflow makes.",
        epilog="Nights are run with snakemake; see the README for its calls.",
    )
    parser.add_argument("--version", action="version", version=f"alertprod {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log every decision")
    sub = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in sorted(pkgutil.iter_modules(commands.__path__), key=lambda m: m.name):
        command = importlib.import_module(f"{commands.__name__}.{module.name}")
        if hasattr(command, "add_parser"):  # the others are what commands share
            command.add_parser(sub)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command; a user's mistake is one line on stderr and exit code 1."""
    args = build_parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING,
        format="%(levelname)s %(message)s",
    )
    try:
        return int(args.run(args) or 0)
    except (BadInput, Rejected) as error:
        print(f"alertprod {args.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe has seen enough
        return 0


if __name__ == "__main__":
    sys.exit(main())
