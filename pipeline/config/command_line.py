"""Options that several commands share: `--config`, `--set`, `--root` and `--bless`."""

import argparse
import getpass
import os

from pipeline.config.files import ConfigError
from pipeline.config.gate import Override


def add_config(
    parser: argparse.ArgumentParser,
    default: str = "conf/local.yaml",
    example: str = "trainer.epochs=3",
) -> None:
    """Adds `--config FILE` and `--set KEY=VALUE`, which may be repeated.

    Args:
        parser: parser of a command.
        default: path of the default config file.
        example: example of a setting for the help text.
    """
    parser.add_argument(
        "--config",
        type=os.path.expanduser,
        metavar="FILE",
        default=default,
        help=f"default: {default}",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"override a setting of the config file, e.g. {example}; may be repeated",
    )


def add_root(parser: argparse.ArgumentParser) -> None:
    """Adds `--root FOLDER`."""
    parser.add_argument(
        "--root", metavar="FOLDER", help="folder of all runs and their models (default: runs)"
    )


def add_bless(parser: argparse.ArgumentParser) -> None:
    """Adds `--bless REASON`."""
    parser.add_argument(
        "--bless",
        metavar="REASON",
        help="push this run's model even if it fails the quality gate; the reason and your name "
        "are recorded (the serving gate cannot be overridden)",
    )


def read_bless(reason: str | None) -> Override | None:
    """Returns the override of the current user; None without `--bless`.

    Raises:
        ConfigError: the reason is empty.
    """
    if reason is None:
        return None
    if not reason.strip():
        raise ConfigError("--bless needs a reason, which every report shows")
    return Override(by=getpass.getuser(), reason=reason.strip())
