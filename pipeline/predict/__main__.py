"""Predicts photos and prints a table.

python -m pipeline.predict http://127.0.0.1:8501 cat.jpg dog.jpg
python -m pipeline.predict RUNS/serving cat.jpg
"""

import argparse
import io
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore", category=FutureWarning, module="google")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.predict",
        description="Predicts photos and prints a table.",
        epilog="Exit status: 0; 1 if a photo has no prediction; 2 if the model is not available. "
        "Google's servers need application default credentials.",
    )
    parser.add_argument(
        "model",
        help="URL of a server or a model (path of TensorFlow Serving, AI Platform or Vertex AI), a "
        "serving folder, or a SavedModel",
    )
    parser.add_argument(
        "photos", nargs="+", metavar="PHOTO", help="image file in any format that Pillow reads"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Predicts the photos and prints the table; returns the exit status."""
    arguments = parse_arguments(argv)
    from pipeline.predict.client import predict
    from pipeline.predict.prediction import ModelError, Prediction
    from pipeline.predict.table import table

    try:
        results = predict(arguments.model, [Path(photo) for photo in arguments.photos])
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = list(zip(arguments.photos, results, strict=True))
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may not be valid UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    print(table(rows))
    failed = sum(not isinstance(result, Prediction) for result in results)
    if failed:
        print(f"error: {failed} of {len(rows)} photos have no prediction", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
