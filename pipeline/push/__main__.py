"""Shows what was pushed, and changes which version is served.

    python -m pipeline.push status
    python -m pipeline.push promote|rollback [--version V]

Exit status: 0 success; 1 the target failed; 2 wrong arguments or config.
"""

import argparse
import dataclasses
import json
import sys
import warnings
from collections.abc import Sequence

from pipeline import placement
from pipeline.config.command_line import add_config, add_root
from pipeline.config.files import ConfigError, load_config
from pipeline.config.push import TARGETS
from pipeline.push.target import PushError, TargetStatus
from pipeline.push.targets import make_target

_COLUMNS = ("VERSION", "STATE", "SHARE", "MADE", "WHERE")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.push", description=(__doc__ or "").partition("\n")[0]
    )
    actions = parser.add_subparsers(dest="action", required=True)
    for action, description in {
        "status": "show the versions at the target",
        "promote": "serve all requests with a version (default: the one that waits)",
        "rollback": "serve an earlier version again (default: the one before)",
    }.items():
        command = actions.add_parser(action, help=description, description=description)
        command.add_argument("--target", choices=TARGETS, help="default: push.target of the config")
        add_config(command, example="push.target=vertex")
        add_root(command)
        if action == "status":
            command.add_argument("--json", action="store_true", help="print JSON")
        else:
            command.add_argument("--version", help="the version's name, as in status")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    warnings.simplefilter("ignore", FutureWarning)  # Google's libraries warn of the Python version
    arguments = parse_arguments(argv)
    overrides = [*arguments.set]
    overrides += [f"push.target={arguments.target}"] if arguments.target else []
    try:
        config = load_config(arguments.config, overrides, arguments.root)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        target = make_target(config.push, placement.serving(config))
        if arguments.action == "status":
            status = target.status()
            print(
                json.dumps(dataclasses.asdict(status), indent=2)
                if arguments.json
                else table(status)
            )
        else:
            act = target.promote if arguments.action == "promote" else target.rollback
            print(f"version {act(arguments.version)} is served by {target.status().destination}")
    except PushError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def table(status: TargetStatus) -> str:
    """The table that `status` prints."""
    rows = [_COLUMNS]
    rows += [(v.name, v.state, f"{v.share} %", v.made, v.destination) for v in status.versions]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    if not status.versions:
        lines = ["nothing was pushed yet"]
    return "\n".join([status.destination, *lines, *(f"note: {note}" for note in status.notes)])


if __name__ == "__main__":
    sys.exit(main())
