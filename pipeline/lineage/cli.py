"""The command line: `python -m pipeline.lineage`."""

from __future__ import annotations

import argparse
import sys
import time

from pipeline.lineage.stores import FORMS, StoreError, open_source

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
    mirror.add_argument(
        "--upload",
        action="append",
        default=[],
        metavar="TYPE",
        help="upload payloads of this W&B type, e.g. evaluation; may be repeated",
    )
    mirror.add_argument("--verbose", action="store_true", help="show what W&B's client prints")
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


def _mirror(arguments: argparse.Namespace) -> int:
    from pipeline.lineage import watchdog
    from pipeline.lineage.quiet import Quiet

    with Quiet(arguments.verbose) as terminal:

        def late():
            terminal.line(
                f"not mirrored: unfinished after {arguments.deadline:g} s; {again(arguments)}"
            )

        with watchdog.deadline(arguments.deadline, late):
            status, text = _attempt(arguments, terminal)
        terminal.line(text)
    # Exit handlers of W&B's client may wait for a server that is gone.
    watchdog.end_process(status)
    return status


def _attempt(arguments, terminal) -> tuple[int, str]:
    from pipeline.lineage import target as wandb_target
    from pipeline.lineage.mirror import mirror

    started = time.monotonic()
    source = _source(arguments)
    wandb_target.scrub_environment()
    try:
        target = wandb_target.Target(arguments.project, arguments.entity, tuple(arguments.upload))
        done = mirror(source, target, arguments.deadline, arguments.run, terminal.progress)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return 1, f"not mirrored: {reason[0]}; {again(arguments)}"
    waiting = f"; {done.waiting} still running" if done.waiting else ""
    if not done.written:
        return 0, f"nothing new for {target}{waiting}"
    seconds = time.monotonic() - started
    text = f"mirrored {done.written} executions into {target} and read them back"
    return 0, f"{text}, {seconds:.0f} s{waiting}"


def again(arguments) -> str:
    """The command that catches up."""
    words = ["python -m pipeline.lineage mirror", f"--metadata {arguments.metadata}"]
    words.append(f"--project {arguments.project}")
    if arguments.entity:
        words.append(f"--entity {arguments.entity}")
    if arguments.run:
        words.append(f"--run {arguments.run}")
    return "catch up later by: " + " ".join(words)


def _check(arguments: argparse.Namespace) -> int:
    from pipeline.lineage import target as wandb_target
    from pipeline.lineage import watchdog
    from pipeline.lineage.check import check

    source = _source(arguments)
    wandb_target.scrub_environment()

    def late():
        print(f"not compared: unfinished after {arguments.deadline:g} s", flush=True)

    found = 0
    with watchdog.deadline(arguments.deadline, late):
        try:
            target = wandb_target.Target(arguments.project, arguments.entity)
            for problem in check(source, target, arguments.run):
                print(problem)
                found += 1
        except Exception as error:
            print(f"not compared: {error}", flush=True)
            watchdog.end_process(1)
    print(f"{found} differences" if found else f"{target} has all that the store has", flush=True)
    watchdog.end_process(int(bool(found)))
    return int(bool(found))


def _show(arguments: argparse.Namespace) -> int:
    from pipeline.lineage import text

    source = _source(arguments)
    lines = text.show_run(source, arguments.run) if arguments.run else text.show_runs(source)
    for line in lines:
        print(line)
    return 0


def _html(arguments: argparse.Namespace) -> int:
    from pipeline.lineage import graph, page

    source = _source(arguments)
    if arguments.run:
        found, title = graph.of_run(source, arguments.run), f"run {arguments.run}"
    else:
        id = int(arguments.artifact) if arguments.artifact.isdigit() else arguments.artifact
        if not source.artifacts([id]):
            raise StoreError(f"there is no artifact {id} in {source.uri}")
        found, title = graph.ancestry(source, id), f"artifact {id} and what it was made from"
    page.write(found, title, arguments.output)
    print(
        f"{arguments.output}: {len(found.executions)} executions, {len(found.artifacts)} artifacts"
    )
    return 0


def _source(arguments: argparse.Namespace):
    source = open_source(arguments.metadata)
    run = getattr(arguments, "run", None)
    if run and run not in (known := source.runs()):
        listed = ", ".join(known[-5:]) or "none"
        raise StoreError(f"there is no run {run!r} in {source.uri}; the latest: {listed}")
    return source


_COMMANDS = {"mirror": _mirror, "check": _check, "show": _show, "html": _html}
