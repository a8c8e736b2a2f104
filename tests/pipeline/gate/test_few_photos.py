import pytest

from pipeline.config.gate import GateConfig
from pipeline.gate.few_photos import few_photos
from tests.pipeline.gate.measurements import measurements_from_counts

FIVE = ("daisy", "dandelion", "rose", "sunflower", "tulip")


def sentences(monkeypatch, counts, *bounds, labels=("cat", "dog"), **settings):
    gate = GateConfig(bounds=bounds, **settings)
    return few_photos(
        measurements_from_counts(monkeypatch, labels, counts), gate, tuple(labels), "test"
    )


def test_a_bound_that_a_guess_meets_gets_a_warning(monkeypatch):
    found = sentences(monkeypatch, [[5, 0], [1, 4]], {"metric": "accuracy", "min": 0.6})
    assert found == [
        "10 test photos: the 95 % interval of the accuracy 0.900 is 0.596 to 0.982",
        "accuracy >= 0.6 on 10 photos: a random guess meets it 38 times in 100",
    ]


def test_enough_photos_get_no_warning(monkeypatch):
    counts = [[199, 1], [1, 199]]
    bounds = {"metric": "accuracy", "min": 0.75}, {"metric": "recall", "min": 0.6}
    assert sentences(monkeypatch, counts, *bounds) == []


def test_the_accuracy_gets_a_warning_below_100_photos_or_if_its_interval_is_wide(monkeypatch):
    bound = {"metric": "accuracy", "min": 0}
    (warning,) = sentences(monkeypatch, [[19, 1], [1, 19]], bound)
    assert warning == "40 test photos: the 95 % interval of the accuracy 0.950 is 0.835 to 0.986"
    assert len(sentences(monkeypatch, [[50, 0], [0, 49]], bound)) == 1
    assert sentences(monkeypatch, [[50, 0], [0, 50]], bound) == []
    assert len(sentences(monkeypatch, [[40, 60], [60, 40]], bound)) == 1


def test_the_most_frequent_label_counts_as_a_guess(monkeypatch):
    _, warning = sentences(monkeypatch, [[30, 0], [2, 8]], {"metric": "accuracy", "min": 0.75})
    assert warning == "accuracy >= 0.75 on 40 photos: a random guess meets it 58 times in 100"


def test_a_guess_must_meet_every_label_of_a_bound(monkeypatch):
    one = [[6 if i == j else 0 for j in range(5)] for i in range(5)]
    alone = {"metric": "recall", "label": "rose", "min": 0.5}
    every = {"metric": "recall", "min": 0.5}
    accuracy = {"metric": "accuracy", "min": 0.9}
    _, warning = sentences(monkeypatch, one, accuracy, alone, every, labels=FIVE)
    assert warning == "recall of rose >= 0.5 on 6 photos: a random guess meets it 10 times in 100"


@pytest.mark.parametrize(
    ("counts", "bound", "warning"),
    [
        (
            [[3, 0], [0, 4]],
            {"metric": "recall", "min": 0.6},
            "recall >= 0.6 on 3 to 4 photos of each label: a random guess meets it 16 times in 100",
        ),
        (
            [[3, 0], [0, 3]],
            {"metric": "precision", "min": 0.6},
            "precision >= 0.6 on 3 predictions of each label: a random guess meets it 50 "
            "times in 100",
        ),
    ],
)
def test_the_labels_of_a_bound_share_one_warning(monkeypatch, counts, bound, warning):
    assert sentences(monkeypatch, counts, bound)[1:] == [warning]


def test_minima_below_chance_and_skipped_labels_get_no_warning(monkeypatch):
    floor = {"metric": "recall", "min": 0.3}
    assert len(sentences(monkeypatch, [[10, 0], [0, 10]], floor)) == 1
    bounds = {"metric": "recall", "min": 0.6}
    assert len(sentences(monkeypatch, [[3, 0], [0, 3]], bounds, min_slice_size=4)) == 1


def test_a_bound_that_no_model_can_meet_names_the_photos_it_needs(monkeypatch):
    bound = {"metric": "accuracy", "min": 0.99, "confident": True}
    _, warning = sentences(monkeypatch, [[20, 0], [0, 20]], bound)
    assert warning == (
        "accuracy lower end >= 0.99 on 40 photos: even a model without errors needs at least "
        "381 photos"
    )
