"""Runs the pipeline up to Transform once, to prepare photos for training.

    python -m benchmarks.prepared PHOTOS ROOT [--template] [--set model.name=article_cnn]

Writes `ROOT/fn_args.json`, the arguments of `models.trainer.run_fn`. Used by other benchmarks.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_FILE = "fn_args.json"


def prepare(photos: str, root: Path, *settings: str, template: bool = False) -> dict:
    """Returns the arguments of `run_fn`; prepares them in a child process if necessary.

    Args:
        photos: folder with one folder of photos a label.
        root: folder for records and transformed examples; a second call finds them there.
        settings: as of `--set`.
        template: the components of a plain TFX template, with float images, in place of ours.
    """
    if not (root / _FILE).exists():
        command = [sys.executable, "-m", "benchmarks.prepared", photos, str(root)]
        command += [f"--set={setting}" for setting in settings]
        command += ["--template"] if template else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr[-4000:])
    return json.loads((root / _FILE).read_text())


def main() -> None:
    """Prepares the examples and writes the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", help="folder with one folder of photos per label")
    parser.add_argument("root", type=Path)
    parser.add_argument("--template", action="store_true")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()

    from benchmarks.data_components import run_to_transform

    side = "template" if arguments.template else "ours"
    root = str(arguments.root.resolve())
    config, _ = run_to_transform(side, arguments.photos, root, *arguments.settings)

    from pipeline.pipeline import training_settings

    [examples] = arguments.root.resolve().glob("pipeline/Transform/transformed_examples/*")
    [graph] = arguments.root.resolve().glob("pipeline/Transform/transform_graph/*")
    fn_args = {
        "train_files": [f"{examples}/Split-train/*"],
        "eval_files": [f"{examples}/Split-validation/*"],
        "transform_output": str(graph),
        "train_steps": None,
        "eval_steps": None,
        "custom_config": training_settings(config),
        "records": config.records.model_dump(mode="json"),
    }
    (arguments.root / _FILE).write_text(json.dumps(fn_args, indent=1))


if __name__ == "__main__":
    main()
