"""Runs the whole pipeline on this machine.

    python runner_local.py --images PHOTOS

Exit status: 0 the model was pushed; 3 the run finished and a gate refused the model; 2 wrong
arguments, config or data; 1 anything else.
"""

import argparse
import os
import sys

# Keras 3 cannot train under MultiWorkerMirroredStrategy; read when TensorFlow is imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
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
        help="Image CSV with split, image_uri, label",
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
        help="unlabelled photos: the model that the root serves labels them, in a CSV",
    )
    add_root(parser)
    add_config(parser)
    add_bless(parser)
    parser.add_argument("--verbose", action="store_true", help="show the libraries' output too")
    arguments = parser.parse_args(argv)
    if arguments.predict and arguments.bless:
        parser.error("--bless is for a model that is trained; --predict takes the served one")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Runs once; returns the exit status."""
    arguments = parse_arguments(argv)
    from pipeline.components import tfserving
    from pipeline.config.command_line import read_bless
    from pipeline.config.files import ConfigError, load_config
    from pipeline.run import lazy_imports
    from pipeline.run.ingest import DataSource

    try:
        config = load_config(arguments.config, arguments.set, arguments.root)
        # A cloud's config serves here too, all of it but the place.
        config = config.model_copy(update={"cloud": None})
        tfserving.preflight(config)
        blessing = read_bless(arguments.bless)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    lazy_imports.install()
    if arguments.predict:
        from pipeline.predict.bulk import predict_folder

        return predict_folder(arguments.predict, config, arguments.verbose)
    from pipeline.run.model_preflight import preflight

    try:
        preflight(config)  # May import TensorFlow, so the deferred imports come before it.
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    kind = next(kind for kind in ("images", "csv", "tfrecords") if getattr(arguments, kind))
    from pipeline.run.local_run import run

    source = DataSource(kind, getattr(arguments, kind))
    return run(source, config, arguments.verbose, blessing)


if __name__ == "__main__":
    sys.exit(main())
