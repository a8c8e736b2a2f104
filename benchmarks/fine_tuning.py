"""Measures the time per image of fine-tuning and of features, to estimate a run beforehand.

    python -m benchmarks.fine_tuning [--photos 256] [--model efficientnet_lite0] [--mixed-precision]

Uses random pixels, and GPUs if available.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np


def main() -> None:
    """Prints milliseconds per image, by wall clock and processor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--mixed-precision", action="store_true")
    parser.add_argument("--xla", action="store_true")
    arguments = parser.parse_args()

    import tensorflow as tf

    from models import autograph, extraction, optimization, options, registry
    from models.distributed import devices

    autograph.skip_keras()
    given = {"mixed_precision": arguments.mixed_precision, "xla": arguments.xla}
    trainer = devices.prepare(options.TrainerOptions(**given))
    architecture = registry.find(arguments.model)
    size, settings = architecture.IMAGE_SIZE, architecture.FINE_TUNING
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope(), devices.precision(trainer):
        model = architecture.build(size, 2)
        extractor = extraction.FeatureExtractor(model.backbone, strategy)
    images = np.random.default_rng(0).integers(0, 256, [arguments.photos, size, size, 3], np.uint8)
    packed = [image.tobytes() for image in images]
    extractor.compute(packed[:1], extraction.PHOTO)
    features = _timed(lambda: extractor.compute(packed, extraction.PHOTO))

    with strategy.scope(), devices.precision(trainer):
        model.unfreeze()
        optimization.compile_model(
            model, ["a", "b"], trainer, settings, total_steps=1000, replicas=1
        )
    batch = settings.batch_size * strategy.num_replicas_in_sync
    examples = tf.data.Dataset.from_tensor_slices((images, np.eye(2)[np.arange(len(images)) % 2]))
    examples = examples.repeat().batch(batch, drop_remainder=True).prefetch(2)
    steps = len(images) // batch
    model.fit(examples, steps_per_epoch=steps, verbose=0)
    tuning = _timed(lambda: model.fit(examples, steps_per_epoch=steps, verbose=0))

    print("| ms a photo | wall clock | processor |\n|---|---:|---:|")
    for name, seconds in (("features", features), ("fine-tuning", tuning)):
        wall, processor = (1000 * each / len(images) for each in seconds)
        print(f"| {name} | {wall:.1f} | {processor:.1f} |")
    print(f"\nratio: {tuning[0] / features[0]:.1f}")


def _timed(work) -> tuple[float, float]:
    began = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began[0], time.process_time() - began[1]


if __name__ == "__main__":
    main()
