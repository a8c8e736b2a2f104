"""The command line: `python -m data csv|convert|inspect|load-check|sample`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable

from data.errors import DataError
from data.record.records import ENCODINGS, SPLITS
from data.sources.splitting import CONFLICTS

_EXAMPLES = {
    "csv": "python -m data csv photos data.csv",
    "convert": "python -m data convert data.csv --output-dir tfrecords --encoding jpeg",
    "inspect": "python -m data inspect tfrecords/tfrecorder-20260102-030405-convert --records 3",
    "load-check": "python -m data load-check tfrecords/tfrecorder-20260102-030405-convert",
    "sample": "python -m data sample photos --classes cat dog rabbit --count 600",
}


def main(argv: list[str] | None = None) -> int:
    """Runs a command.

    Returns:
        The exit status: 0; 2 for an error in the arguments, the data or a file; 130 for Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("pawprint").setLevel(logging.INFO)
    try:
        arguments.run(arguments)
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data", description="From labelled photos to TFRecords and back."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=text, description=text, epilog=f"example: {_EXAMPLES[name]}"
        )
        added.set_defaults(run=run)
        return added

    def add_conflicts(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--conflicts",
            choices=CONFLICTS,
            default="error",
            help="how to treat the same photo under two labels (default: %(default)s)",
        )

    csv = command("csv", _csv, "list a folder of photos as an Image CSV: split, image_uri, label")
    csv.add_argument(
        "folder", help="<label>/* or <TRAIN|VALIDATION|TEST>/<label>/*, local or gs://"
    )
    csv.add_argument("output", help="the CSV file to write")
    csv.add_argument(
        "--split",
        nargs=3,
        type=float,
        default=(0.8, 0.1, 0.1),
        metavar=SPLITS,
        help="shares of the splits, unless the folder has split folders (default: 0.8 0.1 0.1)",
    )
    add_conflicts(csv)

    convert = command("convert", _convert, "write photos and labels as TFRecords")
    convert.add_argument("source", help="a CSV file or a folder of photos")
    convert.add_argument("--output-dir", default="./tfrecords", help="default: %(default)s")
    convert.add_argument(
        "--tfrecord-dir", help="the folder to write, instead of a new one in --output-dir"
    )
    add_conflicts(convert)
    convert.add_argument(
        "--encoding", choices=ENCODINGS, default="raw", help="default: %(default)s"
    )
    convert.add_argument("--runner", default="DirectRunner", help="default: %(default)s")
    convert.add_argument("--project", help="Google Cloud project, for Dataflow")
    convert.add_argument("--region", help="Google Cloud region, for Dataflow")
    convert.add_argument(
        "--dataflow-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a Beam pipeline option, such as num_workers=4 or labels=team=cats; repeatable",
    )
    convert.add_argument("--job-label", default="convert", help="default: %(default)s")
    convert.add_argument("--compression", default="gzip", choices=("gzip", "none"))
    convert.add_argument(
        "--num-shards", type=int, default=0, help="shards per split; 0 is automatic"
    )
    convert.add_argument("--max-bad-fraction", type=float, help="stop above this share")
    convert.add_argument(
        "--max-pixels", type=int, help="refuse photos with more pixels (default: 89478485)"
    )
    convert.add_argument(
        "--exif",
        action=argparse.BooleanOptionalAction,
        help="turn photos upright by their EXIF orientation (default: for jpeg only)",
    )
    convert.add_argument("--workers", type=int, help="number of processes (default: one per core)")
    convert.add_argument("--resume", action="store_true", help="resume an unfinished conversion")

    inspect = command("inspect", _inspect, "write records to a CSV file and image files")
    inspect.add_argument("folder", help="a folder of records, of pawprint or TFRecorder")
    inspect.add_argument("--split", choices=SPLITS, default="TRAIN", help="default: %(default)s")
    inspect.add_argument(
        "--records", type=int, default=1, help="maximum number (default: %(default)s)"
    )
    inspect.add_argument("--output-dir", default="output", help="default: %(default)s")

    check = command("load-check", _load_check, "verify the shards and decode every record")
    check.add_argument("folder", help="a folder of records, of pawprint or TFRecorder")

    sample = command("sample", _sample, "draw labelled sample photos (drawings, no photographs)")
    sample.add_argument("folder", help="a new or empty folder")
    sample.add_argument(
        "--count", type=int, default=400, help="total number (default: %(default)s)"
    )
    sample.add_argument("--size", type=int, default=160, help="pixels (default: %(default)s)")
    sample.add_argument("--classes", nargs="+", default=["cat", "dog"], help="default: cat dog")
    sample.add_argument(
        "--wrong-labels", type=float, default=0.0, metavar="SHARE", help="default: %(default)s"
    )
    sample.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    sample.add_argument(
        "--if-absent", action="store_true", help="do nothing if the folder holds these drawings"
    )
    return parser


def _csv(arguments: argparse.Namespace) -> None:
    from data.sources import folders
    from data.sources.table import image_csv
    from data.storage import files

    output = files.checked(arguments.output)
    if files.exists(output) and not files.is_file(output):
        raise DataError(f"{output} is a folder", "Expected the path of a CSV file to write.")
    found = folders.scan(
        arguments.folder, split=tuple(arguments.split), conflicts=arguments.conflicts
    )
    files.write(output, image_csv(found))
    counts = found.groupby("split").size()
    print(f"{len(found)} photos in {output}: {counts.to_dict()}")


def _convert(arguments: argparse.Namespace) -> None:
    from data.conversion.convert import convert
    from data.record.photos import MAX_PIXELS

    options: dict[str, list[str]] = {}
    for text in arguments.dataflow_option:
        name, equals, value = text.partition("=")
        if not equals:
            raise DataError(f"--dataflow-option must be NAME=VALUE. Received: {text!r}")
        options.setdefault(name, []).append(value)
    print(
        convert(
            arguments.source,
            arguments.output_dir,
            runner=arguments.runner,
            project=arguments.project,
            region=arguments.region,
            dataflow_options={
                name: values if len(values) > 1 else values[0] for name, values in options.items()
            },
            job_label=arguments.job_label,
            compression=arguments.compression,
            num_shards=arguments.num_shards,
            conflicts=arguments.conflicts,
            encoding=arguments.encoding,
            exif=arguments.exif,
            max_bad_fraction=arguments.max_bad_fraction,
            max_pixels=MAX_PIXELS if arguments.max_pixels is None else arguments.max_pixels,
            tfrecord_dir=arguments.tfrecord_dir,
            workers=arguments.workers,
            resume=arguments.resume,
        )
    )


def _inspect(arguments: argparse.Namespace) -> None:
    from data.inspection import inspect

    print(inspect(arguments.folder, arguments.split, arguments.records, arguments.output_dir))


def _load_check(arguments: argparse.Namespace) -> None:
    from data.inspection import check_records

    print(check_records(arguments.folder))


def _sample(arguments: argparse.Namespace) -> None:
    from data.sources import samples

    counts = samples.draw(
        arguments.folder,
        count=arguments.count,
        size=arguments.size,
        classes=arguments.classes,
        wrong_labels=arguments.wrong_labels,
        seed=arguments.seed,
        if_absent=arguments.if_absent,
    )
    shown = ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
    print(f"{sum(counts.values())} drawn sample photos in {arguments.folder} ({shown})")
