"""The table of predictions."""

from collections.abc import Sequence

from pipeline.predict.answers import Failure, Prediction

_HEAD = ("label", "probability", "photo")


def table(rows: Sequence[tuple[str, Prediction | Failure]]) -> str:
    """One line a photo: label, probability, path; for a failed one the reason behind the path."""
    labels = [answer.label for _, answer in rows if isinstance(answer, Prediction)]
    width = max(map(len, [_HEAD[0], *labels]))
    lines = [f"{_HEAD[0]:<{width}}  {_HEAD[1]}  {_HEAD[2]}"]
    for photo, answer in rows:
        if isinstance(answer, Prediction):
            lines.append(f"{answer.label:<{width}}  {answer.probability:>11.3f}  {photo}")
        else:
            lines.append(f"{'error':<{width}}  {'-':>11}  {photo}: {answer.reason}")
    return "\n".join(lines)
