"""The option `--bless REASON`, the same in every runner."""

import argparse
import getpass

from pipeline.config_files import ConfigError
from pipeline.gate.options import Forced


def add_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--bless`."""
    parser.add_argument(
        "--bless",
        metavar="REASON",
        help="push this run's model even if it fails the quality gate; the reason and your name "
        "are recorded (the serving gate cannot be overruled)",
    )


def read(reason: str | None) -> Forced | None:
    """What was asked for, by the user of this process; None where nothing was.

    Raises:
      ConfigError: there is no reason.
    """
    if reason is None:
        return None
    if not reason.strip():
        raise ConfigError("--bless needs a reason, which every report will show")
    return Forced(by=getpass.getuser(), reason=reason.strip())
