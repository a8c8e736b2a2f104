"""Confidence intervals and binomial probabilities for metrics that are a share of photos."""

import bisect
import math

Z_95 = 1.959964
"""Standard deviations around the mean that hold 95 % of a normal distribution."""
ROUNDING = 1e-9
"""Values that differ by less are equal, so that rounding never decides about a model."""


def wilson(right: int, n: int) -> tuple[float, float]:
    """Computes the 95 % Wilson score interval of the share `right / n`.

    Unlike the normal approximation, it stays within 0..1 and has a width even if all or none are
    right. Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical
    Inference", Journal of the American Statistical Association 22 (1927), 209-212.

    Args:
        right: number of photos that are right.
        n: number of photos, at least 1.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: `n` is less than 1.

    Example:
        >>> low, high = wilson(38, 40)
        >>> f"{low:.4f} to {high:.4f}"
        '0.8350 to 0.9862'
    """
    if n < 1:
        raise ValueError(f"An interval needs at least one photo. Received: n={n}")
    share, z2 = right / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def at_least(value: float, limit: float) -> bool:
    """Returns whether `value >= limit`, up to `ROUNDING`."""
    return value >= limit - ROUNDING


def fewest_right(minimum: float, n: int, confident: bool = False) -> int | None:
    """Returns the fewest right photos of `n` that meet a minimum; None if all `n` do not.

    Args:
        minimum: lower bound of the share or, with `confident`, of the lower end of its interval.
        n: number of photos, at least 1.
        confident: whether the lower end of the interval must meet the minimum.
    """

    def meets(right: int) -> bool:
        return at_least(wilson(right, n)[0] if confident else right / n, minimum)

    right = bisect.bisect_left(range(n + 1), True, key=meets)
    return right if right <= n else None


def photos_needed(minimum: float, errors: int) -> int:
    """Returns the fewest photos on which a model with `errors` errors meets a confident minimum.

    Args:
        minimum: lower bound of the lower end of the interval, below 1.
        errors: number of photos that are wrong.
    """

    def meets(n: int) -> bool:
        return at_least(wilson(n - errors, n)[0], minimum)

    enough = errors + 1
    while not meets(enough):
        enough *= 2
    return errors + 1 + bisect.bisect_left(range(errors + 1, enough), True, key=meets)


def binomial_tail(right: int, n: int, p: float) -> float:
    """Returns the probability that at least `right` of `n` photos are right.

    Args:
        right: minimum number of right photos.
        n: number of photos.
        p: probability that a single photo is right.
    """
    if right <= 0 or p >= 1:
        return 1.0
    if right > n or p <= 0:
        return 0.0

    def probability(k: int) -> float:
        # In logarithms: the binomial coefficients of 2,000 photos overflow a float.
        ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))

    return min(1.0, math.fsum(map(probability, range(right, n + 1))))
