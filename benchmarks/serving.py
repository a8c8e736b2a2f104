"""Compares the server with in-process calls of the same SavedModel on the same cores.

    python -m benchmarks.serving RUNS/serving PHOTOS

PHOTOS is a folder of JPEG or PNG files. In process, the model predicts batches of 16 photos in one
and in two threads, and the faster counts. The load comes from wrk (a package of Debian), one photo
per request. Every figure is the median of the rounds.
"""

import argparse
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BATCH = 16
SCRIPT = Path(__file__).with_name("serving.lua")


def in_process(model: str, photos: list[bytes], seconds: float) -> dict[str, dict[str, float]]:
    """Measures the bare SavedModel: {form: (images per second, cores used)}."""
    import tensorflow as tf

    loaded = tf.saved_model.load(model)
    ask = loaded.signatures["serving_jpeg"]
    batches = [tf.constant(photos[n : n + BATCH]) for n in range(0, len(photos), BATCH)]
    single = tf.constant(photos[:1])
    for batch in (single, batches[0]):
        ask(image_bytes=batch)
    forms = {"1 photo": (1, [single]), "1 x 16": (1, batches), "2 x 16": (2, batches)}
    return {
        form: _rate(lambda batch: ask(image_bytes=batch), threads, batches, seconds)
        for form, (threads, batches) in forms.items()
    }


def _rate(ask, threads: int, batches: list, seconds: float) -> dict[str, float]:
    answered = [0] * threads
    before = time.process_time()
    started = time.monotonic()

    def work(thread: int):
        turn = thread
        while time.monotonic() - started < seconds:
            batch = batches[turn % len(batches)]
            ask(batch)
            answered[thread] += int(batch.shape[0])
            turn += 1

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took = time.monotonic() - started
    return {"rate": sum(answered) / took, "cores": (time.process_time() - before) / took}


class Server:
    """The server in a child process, on a free port."""

    def __init__(self, model: str, arguments: list[str]):
        command = [sys.executable, "-m", "pipeline.serve", "--model", model, "--port", "0"]
        self._process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.url = self._process.stdout.readline().rsplit(" at ", 1)[-1].strip()
        if not self.url:
            sys.exit("error: the server did not start")

    def load(self, clients: int, bodies: Path, seconds: float) -> dict[str, float]:
        """Returns the measurements of wrk with a number of clients."""
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "-s", str(SCRIPT)]
        where = f"{self.url}/v1/models/pawprint:predict"
        before = self._cpu()
        done = subprocess.run([*command, where, "--", bodies], capture_output=True, text=True)
        line = next((x for x in done.stdout.splitlines() if x.startswith("RESULT ")), None)
        if line is None:
            sys.exit(f"error: wrk failed: {done.stdout}{done.stderr}")
        found = json.loads(line.removeprefix("RESULT "))
        found["rate"] = found["requests"] / found["seconds"]
        found["cores"] = (self._cpu() - before) / found["seconds"]
        return found

    def stop(self):
        self._process.terminate()
        self._process.wait(60)

    def _cpu(self) -> float:
        """Returns the processor time of the server in seconds."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_bodies(photos: list[bytes], form: str, file: Path) -> None:
    """Writes one request body per photo and line."""
    with file.open("w") as out:
        for photo in photos:
            if form == "jpeg":
                instance = {"b64": base64.b64encode(photo).decode()}
            else:
                instance = _pixels(photo)
            body = {"signature_name": f"serving_{form}", "instances": [instance]}
            out.write(json.dumps(body, separators=(",", ":")) + "\n")


def _pixels(photo: bytes) -> list:
    import io

    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(photo)).convert("RGB").resize((150, 150))).tolist()


def newest(folder: Path) -> Path:
    """Returns the newest SavedModel of a folder of versions, or the folder itself."""
    numbers = [int(p.name) for p in folder.iterdir() if p.name.isdigit()]
    return folder / str(max(numbers)) if numbers else folder


def main() -> None:
    """Measures both sides alternately and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of versions, or a SavedModel")
    parser.add_argument("photos", type=Path, help="folder of JPEG or PNG files")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--form", choices=("jpeg", "pixels"), default="jpeg")
    parser.add_argument("--server", default="", help="further arguments of the server")
    parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    files = sorted(p for p in arguments.photos.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    photos = [path.read_bytes() for path in files[: 4 * BATCH]]
    model = str(newest(arguments.model))
    if arguments.in_process:
        print(json.dumps(in_process(model, photos, arguments.seconds)))
        return
    if not shutil.which("wrk"):
        sys.exit("error: wrk is needed to make the load: apt-get install wrk")
    bare: dict[str, list[dict]] = {}
    served: dict[int, list[dict]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bodies = Path(folder) / "bodies"
        write_bodies(photos, arguments.form, bodies)
        again = [sys.executable, "-m", "benchmarks.serving", *sys.argv[1:], "--in-process"]
        for _ in range(arguments.rounds):
            done = subprocess.run(again, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr[-4000:])
            for form, found in json.loads(done.stdout.splitlines()[-1]).items():
                bare.setdefault(form, []).append(found)
            server = Server(model, arguments.server.split())
            try:
                for clients in arguments.clients:
                    found = server.load(clients, bodies, arguments.seconds)
                    served.setdefault(clients, []).append(found)
            finally:
                server.stop()
    report(bare, served)


def report(bare: dict[str, list[dict]], served: dict[int, list[dict]]) -> None:
    """Prints the table."""
    print(
        f"{'':<18}{'images/s':>10}{'ratio':>8}{'p50 ms':>9}{'p99 ms':>9}{'cores':>7}{'ms each':>9}"
    )
    forms = {form: _middle(rounds) for form, rounds in bare.items()}
    for form, found in forms.items():
        print(f"{f'in process {form}':<18}{found['rate']:>10.0f}{'':>26}{_cost(found)}")
    best = max(found["rate"] for found in forms.values())
    for clients, rounds in served.items():
        found = _middle(rounds)
        print(
            f"{f'{clients} clients':<18}{found['rate']:>10.0f}{found['rate'] / best:>8.2f}"
            f"{found['p50']:>9.1f}{found['p99']:>9.1f}{_cost(found)}"
        )
        if failed := sum(r["failed"] for r in rounds):
            print(f"  {failed:.0f} requests failed")


def _cost(found: dict) -> str:
    return f"{found['cores']:>7.2f}{1000 * found['cores'] / found['rate']:>9.2f}"


def _middle(rounds: list[dict]) -> dict[str, float]:
    return {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}


if __name__ == "__main__":
    main()
