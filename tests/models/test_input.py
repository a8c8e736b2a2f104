"""The input pipeline reads every example, in order or shuffled, whole or in shards."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import tensorflow as tf

from models import input as examples

SIZE = 4


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """Writes examples whose pixels all equal their number; labels 0, 1, 0, 1, ..."""

    def write(*counts: int, compression="GZIP") -> examples.ExampleFiles:
        folder = tmp_path_factory.mktemp("examples")
        number = 0
        for shard, count in enumerate(counts):
            with tf.io.TFRecordWriter(f"{folder}/part-{shard}", compression) as writer:
                for _ in range(count):
                    image = tf.train.BytesList(value=[bytes([number]) * (SIZE * SIZE * 3)])
                    label = tf.train.Int64List(value=[number % 2])
                    feature = {
                        "image": tf.train.Feature(bytes_list=image),
                        "label": tf.train.Feature(int64_list=label),
                    }
                    example = tf.train.Example(features=tf.train.Features(feature=feature))
                    writer.write(example.SerializeToString())
                    number += 1
        return examples.ExampleFiles.of([f"{folder}/*"], SIZE, 2)

    return write


def numbers(batches) -> list[int]:
    return [int(n) for images, *_ in batches for n in images.numpy()[:, 0, 0, 0]]


def test_examples_are_counted_and_empty_files_are_an_error(write, tmp_path):
    assert write(5, 3).count == 8
    assert write(5, compression="").count == 5
    with pytest.raises(ValueError, match="No files of examples match"):
        examples.ExampleFiles.of([f"{tmp_path}/*"], SIZE, 2)
    with pytest.raises(ValueError, match="hold no example"):
        write(0)


def test_training_meets_every_example_each_pass(write):
    source = write(5, 7)
    batches = list(examples.training(source, 4, examples.Shard(), seed=1).take(6))
    assert {images.shape for images, _ in batches} == {(4, SIZE, SIZE, 3)}
    assert collections.Counter(numbers(batches[:3])) == dict.fromkeys(range(12), 1)
    assert numbers(batches[:3]) != numbers(batches[3:])
    for images, labels in batches:
        np.testing.assert_array_equal(labels.numpy().argmax(1), images.numpy()[:, 0, 0, 0] % 2)


def test_a_seed_fixes_the_order(write):
    source = write(30)
    first, again, other = (
        numbers(examples.training(source, 10, examples.Shard(), seed=seed).take(3))
        for seed in (1, 1, 2)
    )
    assert first == again != other


def parts(source: examples.ExampleFiles, workers: int) -> list[set[int]]:
    """The examples that each worker meets."""
    return [
        set(numbers(examples.training(source, 1, examples.Shard(w, workers), seed=0).take(60)))
        for w in range(workers)
    ]


@pytest.mark.parametrize("files", [(12,), (2,) * 8, (9, 1, 1, 1, 0, 0, 0, 0), (3, 0) * 4])
def test_shards_share_the_examples_out(write, files):
    total = sum(files)
    first, second = parts(write(*files), 2)
    assert first | second == set(range(total))
    assert not first & second
    assert len(first) == len(second) == total / 2


@pytest.mark.parametrize(("files", "whole"), [((2,) * 8, True), ((2,) * 7, False)])
def test_whole_files_are_dealt_out_where_there_are_enough(write, files, whole):
    first, _ = parts(write(*files), 2)
    of_each = {len(first & {2 * number, 2 * number + 1}) for number in range(len(files))}
    assert (of_each <= {0, 2}) == whole


@pytest.mark.parametrize(("count", "workers", "batch"), [(13, 1, 4), (13, 2, 4), (5, 3, 2)])
def test_evaluation_weighs_every_example_once(write, count, workers, batch):
    source = write(count)
    steps = examples.steps_of_one_pass(source, batch * workers)
    weights = collections.Counter()
    batches = 0
    for worker in range(workers):
        shard = examples.Shard(worker, workers)
        for images, _, weight in examples.evaluation(source, batch, steps, shard).take(steps):
            batches += 1
            assert images.shape[0] == batch
            for number, value in zip(images.numpy()[:, 0, 0, 0], weight.numpy(), strict=True):
                weights[int(number)] += float(value)
    assert batches == steps * workers
    mean = steps * workers * batch / count
    np.testing.assert_allclose([weights[n] for n in range(count)], mean, rtol=1e-6)
