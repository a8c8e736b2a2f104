import pytest

from pipeline.config.gate import GateConfig
from pipeline.gate.few_photos import few_photos
from tests.pipeline.gate.counted import counted

FIVE = ("daisy", "dandelion", "rose", "sunflower", "tulip")


def sentences(monkeypatch, counts, *bounds, labels=("cat", "dog"), **settings):
    gate = GateConfig(bounds=bounds, **settings)
    return few_photos(counted(monkeypatch, labels, counts), gate, tuple(labels), "test")


def test_a_bound_that_a_guess_meets_is_told_with_its_probability(monkeypatch):
    found = sentences(monkeypatch, [[5, 0], [1, 4]], {"metric": "accuracy", "min": 0.6})
    assert found == [
        "10 test photos: an accuracy of 0.900 stands for anything from 0.596 to 0.982",
        "accuracy >= 0.6 on 10 photos: a model that guesses meets it 38 times of 100",
    ]


def test_enough_photos_need_no_words(monkeypatch):
    counts = [[199, 1], [1, 199]]
    bounds = {"metric": "accuracy", "min": 0.75}, {"metric": "recall", "min": 0.6}
    assert sentences(monkeypatch, counts, *bounds) == []


def test_the_accuracy_is_told_with_under_100_photos_or_a_wide_interval(monkeypatch):
    bound = {"metric": "accuracy", "min": 0}
    (told,) = sentences(monkeypatch, [[19, 1], [1, 19]], bound)
    assert told == "40 test photos: an accuracy of 0.950 stands for anything from 0.835 to 0.986"
    assert len(sentences(monkeypatch, [[50, 0], [0, 49]], bound)) == 1
    assert sentences(monkeypatch, [[50, 0], [0, 50]], bound) == []
    assert len(sentences(monkeypatch, [[40, 60], [60, 40]], bound)) == 1


def test_the_most_frequent_label_counts_as_a_guess(monkeypatch):
    _, told = sentences(monkeypatch, [[30, 0], [2, 8]], {"metric": "accuracy", "min": 0.75})
    assert told == "accuracy >= 0.75 on 40 photos: a model that guesses meets it 58 times of 100"


def test_a_guess_must_meet_every_label_of_a_bound(monkeypatch):
    one = [[6 if i == j else 0 for j in range(5)] for i in range(5)]
    alone = {"metric": "recall", "label": "rose", "min": 0.5}
    every = {"metric": "recall", "min": 0.5}
    accuracy = {"metric": "accuracy", "min": 0.9}
    _, told = sentences(monkeypatch, one, accuracy, alone, every, labels=FIVE)
    assert (
        told == "recall of rose >= 0.5 on 6 photos: a model that guesses meets it 10 times of 100"
    )


@pytest.mark.parametrize(
    ("counts", "bound", "told"),
    [
        (
            [[3, 0], [0, 4]],
            {"metric": "recall", "min": 0.6},
            "recall >= 0.6 on 3 to 4 photos of each label: a model that guesses meets it 16 times "
            "of 100",
        ),
        (
            [[3, 0], [0, 3]],
            {"metric": "precision", "min": 0.6},
            "precision >= 0.6 on 3 predictions of each label: a model that guesses meets it 50 "
            "times of 100",
        ),
    ],
)
def test_bounds_of_labels_are_told_in_one_sentence(monkeypatch, counts, bound, told):
    assert sentences(monkeypatch, counts, bound)[1:] == [told]


def test_a_floor_below_chance_and_what_is_not_applied_need_no_words(monkeypatch):
    floor = {"metric": "recall", "min": 0.3}
    assert len(sentences(monkeypatch, [[10, 0], [0, 10]], floor)) == 1
    bounds = {"metric": "recall", "min": 0.6}
    assert len(sentences(monkeypatch, [[3, 0], [0, 3]], bounds, min_slice_size=4)) == 1


def test_a_confident_bound_that_no_model_meets_says_how_many_photos_it_needs(monkeypatch):
    bound = {"metric": "accuracy", "min": 0.99, "confident": True}
    _, told = sentences(monkeypatch, [[20, 0], [0, 20]], bound)
    assert told == (
        "accuracy lower end >= 0.99 on 40 photos: not even a model without an error meets it with "
        "fewer than 381"
    )
