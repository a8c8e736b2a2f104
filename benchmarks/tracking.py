"""Measures the cost of Weights & Biases for a training, with a broken server.

    python -m benchmarks.tracking PHOTOS

Trains on the same photos with W&B offline, and online against a server that refuses connections,
one that never replies, and one that replies 500 to everything. Each training runs in one process
with a training without W&B, alternating by epoch, so that other load affects both equally. The
first row compares two trainings without W&B: its difference from 100 % is noise.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.prepared import prepare
from benchmarks.training import finish, speeds, start, with_trainer
from benchmarks.wandb_server import wandb_server

CASES = {
    "disabled": "none: noise",
    "offline": "offline",
    "refused": "online, server refuses connections",
    "silent": "online, server never replies",
    "500": "online, server replies 500",
}


def main() -> None:
    """Prints one row per case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", help="folder with one folder of photos per label")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--prepared", type=Path, help="folder that caches the transformed examples")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fn_args = prepare(
            arguments.photos,
            arguments.prepared or Path(folder, "prepared"),
            "model.name=pawnet",
            "trainer.batch_size=16",
        )
        fn_args = with_trainer(fn_args, epochs=arguments.epochs)
        print("| W&B | speed against no W&B | by processor time |\n|---|---:|---:|")
        for case, name in CASES.items():
            mode = case if case in ("disabled", "offline") else "online"
            config = fn_args["custom_config"] | {"wandb": {"mode": mode, "upload_timeout": 5}}
            changed = fn_args | {"custom_config": config}
            with wandb_server(case if mode == "online" else "refused") as server:
                process = start(
                    "against untracked", changed, Path(folder, case), None, server.environment
                )
                wall, processor = speeds(finish(process))
            print(f"| {name} | {wall:.1%} | {processor:.1%} |", flush=True)


if __name__ == "__main__":
    main()
