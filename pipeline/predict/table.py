"""Formats predictions as a table."""

from collections.abc import Sequence

from pipeline.predict.prediction import Failure, Prediction

_HEAD = ("label", "probability", "photo")


def table(rows: Sequence[tuple[str, Prediction | Failure]]) -> str:
    """Formats one line per photo: label, probability and path; a failed photo has the reason."""
    labels = [result.label for _, result in rows if isinstance(result, Prediction)]
    width = max(map(len, [_HEAD[0], *labels]))
    lines = [f"{_HEAD[0]:<{width}}  {_HEAD[1]}  {_HEAD[2]}"]
    for photo, result in rows:
        if isinstance(result, Prediction):
            lines.append(f"{result.label:<{width}}  {result.probability:>11.3f}  {photo}")
        else:
            lines.append(f"{'error':<{width}}  {'-':>11}  {photo}: {result.reason}")
    return "\n".join(lines)
