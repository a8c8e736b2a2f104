"""What Weights & Biases costs a training, with its server in every bad state.

    python -m benchmarks.tracking PHOTOS

Trains the same photos with W&B offline, and online against a server that refuses, one that takes
connections and never answers, and one that answers 500 to everything; each time in one process with
a training without W&B, the two an epoch each in turn, so that what else the machine does meets both
alike. The first row compares two trainings without W&B: what it differs from 100 % by is noise.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.prepared import prepare
from benchmarks.training import finish, speeds, start, with_trainer
from tests.standins.wandb.broken import broken_server

CASES = {
    "disabled": "none: noise",
    "offline": "offline",
    "refused": "online, server refuses",
    "silent": "online, server never answers",
    "500": "online, server answers 500",
}


def main() -> None:
    """Prints one row a case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", help="a folder with one folder of photos a label")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--prepared", type=Path, help="keep, or find, the transformed examples")
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
            with broken_server(case) as address:
                login = {"WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40}
                process = start("against untracked", changed, Path(folder, case), None, login)
                wall, processor = speeds(finish(process))
            print(f"| {name} | {wall:.1%} | {processor:.1%} |", flush=True)


if __name__ == "__main__":
    main()
