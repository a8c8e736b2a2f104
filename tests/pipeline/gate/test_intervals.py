import pytest

from pipeline.gate.intervals import at_least, binomial_tail, fewest_right, photos_needed, wilson


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (38, 40, 0.8350, 0.9862),
        (40, 40, 0.9124, 1.0),
        (0, 10, 0.0, 0.2775),
        (1, 10, 0.0179, 0.4042),
        (81, 263, 0.2553, 0.3662),  # Newcombe (1998), table I
        (15, 148, 0.0624, 0.1605),  # the same
    ],
)
def test_wilson_matches_published_values(right, n, low, high):
    assert wilson(right, n) == pytest.approx((low, high), abs=5e-5)


def test_an_interval_needs_a_photo():
    with pytest.raises(ValueError, match="Received: n=0"):
        wilson(0, 0)


def test_the_binomial_tail_is_exact():
    assert binomial_tail(6, 10, 0.5) == pytest.approx(386 / 1024)
    assert binomial_tail(3, 6, 0.2) == pytest.approx(0.09888)
    assert binomial_tail(0, 6, 0.2) == 1 and binomial_tail(7, 6, 0.2) == 0
    assert binomial_tail(6, 6, 1) == 1 and binomial_tail(1, 6, 0) == 0
    assert 0.4 < binomial_tail(10_000, 20_000, 0.5) < 0.6


def test_fewest_right_is_the_smallest_number():
    assert fewest_right(0.95, 40) == 38
    assert fewest_right(0.8, 40, confident=True) == 37
    assert wilson(37, 40)[0] >= 0.8 > wilson(36, 40)[0]
    assert fewest_right(0.99, 40, confident=True) is None


@pytest.mark.parametrize(("minimum", "errors"), [(0.9, 0), (0.95, 2), (0.99, 5)])
def test_photos_needed_is_the_smallest_number(minimum, errors):
    n = photos_needed(minimum, errors)
    assert wilson(n - errors, n)[0] >= minimum > wilson(n - 1 - errors, n - 1)[0]


def test_at_least_ignores_rounding():
    assert at_least(0.1 + 0.2 - 0.3, 0) and at_least(0.48 - 0.5, -0.02)
    assert not at_least(0.5999, 0.6)
