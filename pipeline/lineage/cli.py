"""The command line: `python -m pipeline.lineage`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from pipeline.artifacts.names import METADATA_FILE
from pipeline.metadata.graph import StoreError
from pipeline.metadata.stores import FORMS, opened

DEFAULT_STORE = f"runs/{METADATA_FILE}"
DEADLINE_S = 600


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.lineage",
        description="Shows the lineage in ML Metadata and mirrors it into Weights & Biases.",
        epilog=f"metadata stores:\n{FORMS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    mirror = commands.add_parser("mirror", help="copy new executions into a W&B project")
    check = commands.add_parser("check", help="compare the store with the W&B project")
    show = commands.add_parser(
        "show", help="print the graph of a run; without RUN, the list of runs"
    )
    html = commands.add_parser("html", help="write the graph as a self-contained HTML page")
    for command in (mirror, check, show, html):
        command.add_argument(
            "--metadata", default=DEFAULT_STORE, metavar="URI", help="default: %(default)s"
        )
    for command in (mirror, check):
        command.add_argument("--project", default="pawprint", help="default: %(default)s")
        command.add_argument(
            "--entity", help="user or team (default: WANDB_ENTITY, else the owner of the API key)"
        )
        command.add_argument("--run", metavar="ID", help="only this pipeline run")
        command.add_argument(
            "--deadline",
            type=float,
            default=DEADLINE_S,
            metavar="S",
            help="time limit in seconds (default: %(default)s)",
        )
        command.add_argument(
            "--verbose", action="store_true", help="show the output of W&B's client"
        )
    mirror.add_argument(
        "--again", action="store_true", help="compare all executions, not only new ones"
    )
    mirror.add_argument(
        "--upload",
        action="append",
        default=[],
        metavar="TYPE",
        help="upload payloads of this W&B artifact type, e.g. evaluation; may be repeated",
    )
    show.add_argument("run", nargs="?", metavar="RUN", help="name of a pipeline run")
    html.add_argument("run", nargs="?", metavar="RUN", help="name of a pipeline run")
    html.add_argument("--artifact", metavar="ID", help="draw the ancestry of this artifact instead")
    html.add_argument("-o", "--output", default="lineage.html", help="default: %(default)s")
    arguments = parser.parse_args(argv)
    if arguments.command == "html" and bool(arguments.run) == bool(arguments.artifact):
        parser.error("html requires either RUN or --artifact ID")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Runs a command.

    Returns:
        Exit status: 0; 1 if not mirrored or different; 2 for invalid arguments or an unreadable
        store.
    """
    arguments = parse_arguments(argv)
    try:
        return _COMMANDS[arguments.command](arguments)
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _with_wandb(arguments: argparse.Namespace) -> int:
    from pipeline.lineage import wandb_commands

    command = wandb_commands.mirror if arguments.command == "mirror" else wandb_commands.check
    return command(arguments)


def _show(arguments: argparse.Namespace) -> int:
    from pipeline.lineage import text

    with opened(arguments.metadata, arguments.run) as source:
        lines = text.show_run(source, arguments.run) if arguments.run else text.show_runs(source)
        for line in lines:
            print(line)
    return 0


def _html(arguments: argparse.Namespace) -> int:
    from pipeline.lineage import page
    from pipeline.metadata import graph

    with opened(arguments.metadata, arguments.run) as source:
        if arguments.run:
            found, title = graph.of_run(source, arguments.run), f"run {arguments.run}"
        else:
            id = source.parse_id(arguments.artifact)
            if not source.artifacts([id]):
                raise StoreError(f"no artifact {id} in {source.uri}")
            found, title = graph.ancestry(source, id), f"artifact {id} and its ancestry"
    page.write(found, title, arguments.output)
    print(
        f"{arguments.output}: {len(found.executions)} executions, {len(found.artifacts)} artifacts"
    )
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "mirror": _with_wandb,
    "check": _with_wandb,
    "show": _show,
    "html": _html,
}
