"""Asks a model what photos show, and prints a table.

python -m pipeline.predict http://127.0.0.1:8501 cat.jpg dog.jpg
python -m pipeline.predict RUNS/serving cat.jpg
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore", category=FutureWarning, module="google")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.predict",
        description="Asks a model what photos show, and prints a table.",
        epilog="Exit status: 0; 1 where a photo has no prediction; 2 where the model cannot be "
        "asked. Google's servers are asked with the application default credentials.",
    )
    parser.add_argument(
        "model",
        help="URL of a server or of a model on it (TensorFlow Serving's, AI Platform's or Vertex "
        "AI's path), a serving folder, or a SavedModel",
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="a file that Pillow can read")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Predicts and prints; returns the exit status."""
    arguments = parse_arguments(argv)
    from pipeline.predict.answers import ModelError, Prediction
    from pipeline.predict.client import predict
    from pipeline.predict.table import table

    try:
        answers = predict(arguments.model, [Path(photo) for photo in arguments.photos])
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = list(zip(arguments.photos, answers, strict=True))
    sys.stdout.reconfigure(errors="backslashreplace")  # file names can hold what is no text
    print(table(rows))
    failed = sum(not isinstance(answer, Prediction) for answer in answers)
    if failed:
        print(f"error: {failed} of {len(rows)} photos have no prediction", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
