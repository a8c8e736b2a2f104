"""Formats the verdicts of both gates as text, failed rows first."""

from typing import Any

_HEADER = ("metric", "slice", "photos", "value", "95 % interval", "bound", "baseline", "")


def verdict_table(gates: dict[str, Any]) -> str:
    """Formats the rows and warnings of gate 1 and the failed checks of gate 2.

    Args:
        gates: `gates` of `summary.json`: the verdicts `quality` and `serving`.
    """
    quality, serving = gates["quality"], gates["serving"]
    rows = sorted(quality["rows"], key=lambda row: row["passed"] is not False)
    table = [_HEADER, *map(_line, rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = [f"Quality gate: {outcome_word(quality)}"]
    if quality["forced"]:
        lines.append(f"  FORCED by {quality['forced']['by']}: {quality['forced']['reason']}")
    if all(row["passed"] is None for row in rows):
        lines.append("  no bound could be applied; a model passes only if at least one is")
    if quality["baseline"] is None:
        lines.append("  first model: value bounds only, no baseline to compare with")
    elif set(quality["baseline_labels"] or quality["labels"]) != set(quality["labels"]):
        old, new = quality["baseline_labels"], quality["labels"]
        lines.append(f"  the baseline has other labels: {old}, not {new}")
    lines += [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    lines += [f"  {sentence}" for sentence in quality.get("few_photos", ())]
    if validated := quality.get("cross_validation"):
        lines.append(f"  {_cross_validated(validated)}")
    lines.append(f"Serving gate: {outcome_word(serving)}")
    lines += [
        f"  {check['name']}: {check['value']}, expected {check['bound']}  FAILED"
        for check in serving["checks"]
        if not check["passed"]
    ]
    return "\n".join(lines)


def outcome_word(gate: dict[str, Any]) -> str:
    """Returns `passed`, `FORCED` (gate 1 only) or `REFUSED`."""
    if gate["passed"]:
        return "passed"
    return "FORCED" if gate.get("forced") else "REFUSED"


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["metric"],
        row["slice"],
        str(row.get("photos", row.get("examples", "-"))),
        _format_value(row["value"]),
        _interval(row),
        row["bound"],
        _format_value(row["baseline"]),
        _result(row),
    )


def _cross_validated(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return (
        f"Cross-validated accuracy: {found['accuracy']:.4f} over all {found['photos']} photos "
        f"({found['folds']} folds, heads on the features of the pretrained network), 95 % interval "
        f"{low:.3f} to {high:.3f}. It does not measure the pushed model itself."
    )


def _result(row: dict[str, Any]) -> str:
    word = {True: "passed", False: "FAILED", None: "not applied"}[row["passed"]]
    return f"{word}: {row['note']}" if row["note"] else word


def _interval(row: dict[str, Any]) -> str:
    if not row["interval"]:
        return "-"
    low, high = row["interval"]
    if row["kind"] == "value" and row["metric"] != "loss":
        low, high = max(low, 0.0), min(high, 1.0)
    sign = "+" if row["kind"] == "change" else ""
    return f"{low:{sign}.4f} to {high:{sign}.4f}"


def _format_value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
