"""Measures memory and time of the quality gate's evaluation by number of examples.

    python -m benchmarks.evaluation RUNS [COUNT ...]

RUNS is the root of a finished local run: the pipeline's Evaluator evaluates its newest model on its
test split, repeated up to COUNT examples (default: 400 4000), each time in its own process. Memory
is the peak of that process without its imports.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_SPLIT = "test"


def main(argv: list[str] | None = None) -> None:
    """Prints the table; in a child process, one row of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("counts", type=int, nargs="*", default=[400, 4000])
    parser.add_argument("--intervals", choices=["jackknife", "bootstrap"])
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.row:
        print(json.dumps(_measure(arguments.runs, arguments.counts[0], arguments.intervals)))
        return
    print("| examples | evaluation | examples/s | memory over the imports |\n|---|---|---|---|")
    for count in arguments.counts:
        command = [sys.executable, "-m", "benchmarks.evaluation", arguments.runs, str(count)]
        extra = ["--intervals", arguments.intervals] if arguments.intervals else []
        done = subprocess.run(
            [*command, "--row", *extra], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        row = json.loads(done.stdout.splitlines()[-1])
        rate = count / row["seconds"]
        print(f"| {count} | {row['seconds']:.1f} s | {rate:.0f} | {row['memory']:.0f} MiB |")


def evaluate(model: str, examples: str, output: str, gate, classes: int, split=_SPLIT) -> None:
    """Runs TFX's Evaluator as the pipeline configures it.

    Args:
        model: Model artifact, a folder with `Format-Serving` in it.
        examples: Examples artifact, a folder with `Split-<split>` in it.
        output: folder that receives the evaluation.
        gate: the `GateConfig`.
        classes: number of labels.
        split: the split that is read.
    """
    from tfx import v1 as tfx
    from tfx.components.evaluator.executor import Executor
    from tfx.utils import proto_utils

    from pipeline.gate import extractors
    from pipeline.gate.evaluation import eval_config

    kinds = tfx.types.standard_artifacts
    inputs = {"model": kinds.Model(), "examples": kinds.Examples()}
    inputs["model"].uri, inputs["examples"].uri = model, examples
    # Set by TFX; without it the model is read from its original location.
    inputs["model"].mlmd_artifact.custom_properties["tfx_version"].string_value = "1"
    inputs["examples"].split_names = json.dumps([split])
    evaluation, blessing = kinds.ModelEvaluation(), kinds.ModelBlessing()
    evaluation.uri = output
    context = Executor.Context(beam_pipeline_args=["--runner=FnApiRunner"], tmp_dir=output)
    Executor(context).Do(
        {key: [artifact] for key, artifact in inputs.items()},
        {"evaluation": [evaluation], "blessing": [blessing]},
        {
            "eval_config": proto_utils.proto_to_json(eval_config(gate, classes)),
            "example_splits": json.dumps([split]),
            "module_path": extractors.__name__,
        },
    )


def _measure(runs: Path, count: int, intervals: str | None) -> dict[str, float]:
    import tensorflow as tf
    from tfx import v1  # noqa: F401  (excludes its imports from the measurement)

    from pipeline.config.gate import GateConfig

    (*_, summary) = sorted(runs.glob("runs/*/summary.json"))
    labels = json.loads(summary.read_text())["dataset"]["labels"]
    model, source = _newest(runs, "Trainer/model"), _newest(runs, "ImportExampleGen/examples")
    gate = GateConfig(
        bounds=({"metric": "accuracy", "min": 0},),
        slice_by=("label", "image_size"),
        intervals=intervals,
    )
    with tempfile.TemporaryDirectory() as folder:
        split = Path(folder, f"Split-{_SPLIT}")
        split.mkdir()
        options = tf.io.TFRecordOptions("GZIP")
        files = tf.io.gfile.glob(f"{source}/Split-{_SPLIT}/*")
        records = tf.data.TFRecordDataset(files, "GZIP").repeat().take(count)
        with tf.io.TFRecordWriter(str(split / "data.gz"), options) as writer:
            for record in records:
                writer.write(record.numpy())
        before, started = _memory(), time.monotonic()
        evaluate(str(model), folder, f"{folder}/evaluation", gate, len(labels))
        return {"seconds": time.monotonic() - started, "memory": _memory() - before}


def _newest(runs: Path, output: str) -> Path:
    return max((runs / "pipeline" / output).iterdir(), key=lambda path: int(path.name))


def _memory() -> float:
    """Returns the peak memory so far in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
