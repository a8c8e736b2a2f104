"""Runs the pipeline on Google Cloud: Vertex AI Pipelines, Dataflow, Vertex AI training.

    python runner_dataflow.py plan   --config conf/production.yaml
    python runner_dataflow.py submit --config conf/production.yaml --images gs://BUCKET/photos

Exit status: 0 success; 3 a gate refused the model; 2 invalid arguments, config or data, or a cost
above the budget, before anything was sent; 1 any other error.
"""

import argparse
import contextlib
import math
import os
import sys
import warnings
from pathlib import Path

# Keras 3 cannot train under MultiWorkerMirroredStrategy. TensorFlow reads this on import.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

_SOURCES = {
    "images": "photos as FOLDER/<label>/*, local or on gs://; converted first",
    "csv": "Image CSV with the columns split, image_uri, label; converted first",
    "tfrecords": "records on gs://, written by `data` or by TFRecorder",
}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    from pipeline.config.command_line import add_bless, add_config

    parser = argparse.ArgumentParser(
        prog="runner_dataflow.py",
        description="From labelled photos to a gated, pushed and traced model, on Google Cloud.",
        epilog="example: python runner_dataflow.py plan --config conf/production.yaml",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    add_config(shared, "conf/production.yaml", "cloud.region=europe-west4")

    def command(name: str, text: str, source: bool | None = None) -> argparse.ArgumentParser:
        subparser = commands.add_parser(name, help=text, description=text, parents=[shared])
        if source is not None:
            group = subparser.add_mutually_exclusive_group(required=source)
            for kind, meaning in _SOURCES.items():
                group.add_argument(
                    f"--{kind}", type=os.path.expanduser, metavar="PATH", help=meaning
                )
        return subparser

    command(
        "plan", "print the resources and the maximum cost of a run; sends nothing", source=False
    )
    text = "write the Vertex AI pipeline spec; converts photos on gs:// first, which is billed"
    made = command("compile", text, source=True)
    made.add_argument("-o", "--output", default="pipeline.json", type=Path)
    made = command("submit", "start a run on Vertex AI, or a schedule of runs", source=True)
    made.add_argument("--schedule", metavar="CRON", help="e.g. 'TZ=Europe/Berlin 0 3 * * 1'")
    made.add_argument("--wait", action="store_true", help="wait until the run has ended")
    made = command(
        "beam", "orchestrate the pipeline on this machine, with Beam on Dataflow", source=True
    )
    made.add_argument("--verbose", action="store_true", help="show the libraries' output too")
    for name in ("submit", "beam"):
        commands.choices[name].add_argument(
            "--budget", type=_usd, metavar="USD", help="refuse a run that may cost more"
        )
    for name in ("compile", "submit", "beam"):
        add_bless(commands.choices[name])
    made = command("status", "print the state of each task of a run, its error and its log")
    made.add_argument("run", help="id of the run")
    made = command("cancel", "cancel a run and its jobs, or delete a schedule")
    made.add_argument("run", help="id of the run or of the schedule")
    arguments = parser.parse_args(argv)
    if getattr(arguments, "schedule", None) and arguments.wait:
        parser.error("--wait is for one run: it cannot be used with --schedule")
    return arguments


def _usd(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (amount := float(text)) < math.inf:
            return amount
    raise argparse.ArgumentTypeError(f"expected an amount above 0. Received: {text}")


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    arguments = parse_arguments(argv)
    warnings.simplefilter("ignore", FutureWarning)  # Google's clients warn about Python 3.10
    from pipeline.components import tfserving
    from pipeline.config.command_line import read_bless
    from pipeline.config.files import ConfigError, load_config
    from pipeline.run.ingest import SOURCE_KINDS, DataSource

    try:
        config = load_config(arguments.config, arguments.set)
        if arguments.command in ("plan", "compile", "submit"):
            tfserving.preflight(config)
        override = read_bless(getattr(arguments, "bless", None))
        if override and getattr(arguments, "schedule", None):
            raise ConfigError("--bless is for one run: it cannot be used with --schedule")
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if config.cloud is None:
        print(
            f"error: {arguments.config} has no section cloud; start from conf/production.yaml",
            file=sys.stderr,
        )
        return 2
    from pipeline import placement
    from pipeline.vertex import commands

    if arguments.command in ("plan", "compile", "submit", "beam"):
        from pipeline.run.model_preflight import preflight

        try:
            remote_training = arguments.command != "beam" or config.cloud.training is not None
            preflight(config, remote_training)
        except ConfigError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    config = placement.with_labels(config)
    kind = next((kind for kind in SOURCE_KINDS if getattr(arguments, kind, None)), None)
    source = DataSource(kind, getattr(arguments, kind)) if kind else None
    match arguments.command:
        case "plan":
            return commands.run_command(commands.show_plan, config, source)
        case "compile":
            return commands.run_command(
                commands.compile_spec, config, source, arguments.output, override
            )
        case "submit":
            return commands.run_command(
                commands.submit,
                config,
                source,
                budget=arguments.budget,
                expression=arguments.schedule,
                wait=arguments.wait,
                override=override,
            )
        case "beam":
            return commands.run_command(
                commands.beam, config, source, arguments.verbose, override, arguments.budget
            )
        case "status":
            return commands.run_command(commands.show_status, config, arguments.run)
        case _:
            return commands.run_command(commands.cancel, config, arguments.run)


if __name__ == "__main__":
    sys.exit(main())
