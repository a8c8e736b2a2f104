"""Runs the pipeline on this machine.

    python runner_local.py --images PHOTOS

Exit status: 0 the model was pushed; 3 a gate refused the model; 2 invalid arguments, config or
data; 1 any other error.
"""

import argparse
import os
import sys

# Keras 3 cannot train under MultiWorkerMirroredStrategy. TensorFlow reads this on import.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    from pipeline.config.command_line import add_bless, add_config, add_root

    parser = argparse.ArgumentParser(
        prog="runner_local.py",
        description="From labelled photos to a gated, pushed and traced model, on this machine.",
        epilog="example: python runner_local.py --images photos --set trainer.epochs=3",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--images",
        type=os.path.expanduser,
        metavar="FOLDER",
        help="photos as FOLDER/<label>/* or FOLDER/<TRAIN|VALIDATION|TEST>/<label>/*",
    )
    source.add_argument(
        "--csv",
        type=os.path.expanduser,
        metavar="FILE",
        help="Image CSV with the columns split, image_uri, label",
    )
    source.add_argument(
        "--tfrecords",
        type=os.path.expanduser,
        metavar="FOLDER",
        help="TFRecords written by `data` or by TFRecorder",
    )
    source.add_argument(
        "--predict",
        type=os.path.expanduser,
        metavar="FOLDER",
        help="unlabelled photos: writes the predictions of the served model to a CSV",
    )
    add_root(parser)
    add_config(parser)
    add_bless(parser)
    parser.add_argument("--verbose", action="store_true", help="show the libraries' output too")
    arguments = parser.parse_args(argv)
    if arguments.predict and arguments.bless:
        parser.error("--bless is for a training run; --predict uses the served model")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    arguments = parse_arguments(argv)
    from pipeline.components import tfserving
    from pipeline.config.command_line import read_bless
    from pipeline.config.files import ConfigError, load_config
    from pipeline.run import lazy_imports
    from pipeline.run.ingest import SOURCE_KINDS, DataSource

    try:
        config = load_config(arguments.config, arguments.set, arguments.root)
        # Runs configs for Google Cloud on this machine too.
        config = config.model_copy(update={"cloud": None})
        tfserving.preflight(config)
        override = read_bless(arguments.bless)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    lazy_imports.install()
    if arguments.predict:
        from pipeline.predict.bulk import predict_folder

        return predict_folder(arguments.predict, config, arguments.verbose)
    from pipeline.run.model_preflight import preflight

    try:
        preflight(config)  # may import TensorFlow: only after lazy_imports.install
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    kind = next(kind for kind in SOURCE_KINDS if getattr(arguments, kind))
    from pipeline.run.local_run import run

    source = DataSource(kind, getattr(arguments, kind))
    return run(source, config, arguments.verbose, override)


if __name__ == "__main__":
    sys.exit(main())
