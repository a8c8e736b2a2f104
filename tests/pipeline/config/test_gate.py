import pytest
from pydantic import ValidationError

from benchmarks import bounds
from pipeline.config.files import load_config
from pipeline.config.gate import GateConfig

ACCURACY = {"metric": "accuracy", "min": 0}


@pytest.mark.parametrize(
    ("bound", "told"),
    [
        ({"metric": "accuracy", "min": float("-inf")}, "finite number"),
        ({"metric": "accuracy", "max": 1}, "max=1 of accuracy refuses no model"),
        ({**ACCURACY, "min_change": -1}, "min_change=-1 of accuracy refuses no model"),
        ({**ACCURACY, "max_change": 1}, "max_change=1 of accuracy refuses no model"),
        ({"metric": "loss", "max": float("nan")}, "finite number"),
        ({"metric": "recall", "min": -0.1}, "min of recall must be within 0..1"),
        ({"metric": "accuracy", "max": 1.5}, "max of accuracy must be within 0..1"),
        ({"metric": "auc", "min": 95}, "Received: min=95"),
        ({"metric": "accuracy", "min_change": -2}, "min_change of accuracy must be within -1..1"),
        ({"metric": "cross_validated_accuracy", "max": 0.9}, "takes min and confident"),
        (
            {"metric": "cross_validated_accuracy", "min": 1, "slice_by": "label"},
            "takes min and confident",
        ),
        ({"metric": "cross_validated_accuracy", "min": 1, "label": "cat"}, "label is for"),
    ],
)
def test_a_bound_without_effect_is_an_error(bound, told):
    with pytest.raises(ValidationError) as error:
        GateConfig(bounds=[ACCURACY | {"slice_by": "label"}, bound])
    assert told in str(error.value)


@pytest.mark.parametrize("metric", ["accuracy", "precision", "recall", "cross_validated_accuracy"])
def test_confident_works_without_intervals_for_shares(metric):
    bound = {"metric": metric, "min": 0.5, "confident": True}
    assert GateConfig(bounds=[ACCURACY, bound]).intervals is None


@pytest.mark.parametrize(
    "bound",
    [
        {"metric": "auc", "min": 0.5},
        {"metric": "loss", "max": 1},
        {"metric": "calibration_error", "max": 0.1},
        {"metric": "accuracy", "min": 0.5, "min_change": 0},
        {"metric": "recall", "max_change": 0},
    ],
)
def test_confident_about_anything_else_needs_intervals(bound):
    both = [ACCURACY, bound | {"confident": True}]
    with pytest.raises(ValidationError, match=r"gate\.intervals is not set"):
        GateConfig(bounds=both)
    assert GateConfig(bounds=both, intervals="bootstrap")


@pytest.mark.parametrize("further", [[], [{"metric": "accuracy", "min_change": 0}]])
def test_the_cross_validated_accuracy_alone_lets_the_pushed_model_through(further):
    with pytest.raises(ValidationError, match=r"pushed model|first model"):
        GateConfig(bounds=[{"metric": "cross_validated_accuracy", "min": 0.9}, *further])


def test_the_bounds_that_cannot_refuse_stay_allowed_beside_others():
    assert GateConfig(bounds=[ACCURACY | {"slice_by": "label"}, {"metric": "loss", "max": 100}])


@pytest.mark.parametrize("case", bounds.CASES, ids=lambda case: f"{case.name}, {case.split}")
def test_the_shipped_bounds_let_good_models_through_and_stop_broken_ones(case):
    probability = bounds.passes(load_config(None, []).gate, case)
    if case.name.startswith(("right", "the same")):
        assert probability >= 0.95
    else:
        assert probability < 0.05


def test_the_probability_of_passing_is_that_of_the_binomial_distribution():
    gate = GateConfig(bounds=[{"metric": "accuracy", "min": 0.6}])
    case = bounds.Case("guesses", "2 labels, 5 photos each", ((5, 0.5),) * 2)
    assert bounds.passes(gate, case) == pytest.approx(386 / 1024)
    both = GateConfig(bounds=[{"metric": "recall", "min": 0.6}])
    assert bounds.passes(both, case) == pytest.approx(0.25)
    unreachable = GateConfig(bounds=[{"metric": "accuracy", "min": 0.99, "confident": True}])
    assert bounds.passes(unreachable, case) == 0
