"""The command line: `python -m pipeline.lineage`."""

from __future__ import annotations

import argparse
import sys

from pipeline.metadata.graph import StoreError
from pipeline.metadata.stores import FORMS, opened

DEFAULT_STORE = "runs/metadata.sqlite"
DEADLINE = 600


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.lineage",
        description="What ML Metadata recorded: to look at, and as Weights & Biases artifacts.",
        epilog=f"metadata stores:\n{FORMS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    mirror = commands.add_parser("mirror", help="copy what is new into a W&B project")
    check = commands.add_parser("check", help="compare the store with the W&B project")
    show = commands.add_parser("show", help="the graph as text; without RUN the list of runs")
    html = commands.add_parser("html", help="the graph as one page that needs no network")
    for command in (mirror, check, show, html):
        command.add_argument(
            "--metadata", default=DEFAULT_STORE, metavar="URI", help="default: %(default)s"
        )
    for command in (mirror, check):
        command.add_argument("--project", default="pawprint", help="default: %(default)s")
        command.add_argument("--entity", help="user or team (default: WANDB_ENTITY, or the key's)")
        command.add_argument("--run", metavar="ID", help="only this pipeline run")
        command.add_argument(
            "--deadline",
            type=float,
            default=DEADLINE,
            metavar="S",
            help="seconds after which to stop (default: %(default)s)",
        )
        command.add_argument("--verbose", action="store_true", help="show what W&B's client prints")
    mirror.add_argument(
        "--again", action="store_true", help="look at everything, not only at what is new"
    )
    mirror.add_argument(
        "--upload",
        action="append",
        default=[],
        metavar="TYPE",
        help="upload payloads of this W&B type, e.g. evaluation; may be repeated",
    )
    show.add_argument("run", nargs="?", metavar="RUN", help="name of a pipeline run")
    html.add_argument("run", nargs="?", metavar="RUN", help="name of a pipeline run")
    html.add_argument("--artifact", metavar="ID", help="the ancestry of this artifact instead")
    html.add_argument("-o", "--output", default="lineage.html", help="default: %(default)s")
    arguments = parser.parse_args(argv)
    if arguments.command == "html" and bool(arguments.run) == bool(arguments.artifact):
        parser.error("html takes either RUN or --artifact ID")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Runs one command; exit status 0 done, 1 not done or differences found, 2 wrong arguments."""
    arguments = parse_arguments(argv)
    try:
        return _COMMANDS[arguments.command](arguments)
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _with_wandb(arguments: argparse.Namespace) -> int:
    from pipeline.lineage import wandb_commands

    return getattr(wandb_commands, arguments.command)(arguments)


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
                raise StoreError(f"there is no artifact {id} in {source.uri}")
            found, title = graph.ancestry(source, id), f"artifact {id} and what it was made from"
    page.write(found, title, arguments.output)
    print(
        f"{arguments.output}: {len(found.executions)} executions, {len(found.artifacts)} artifacts"
    )
    return 0


_COMMANDS = {"mirror": _with_wandb, "check": _with_wandb, "show": _show, "html": _html}
