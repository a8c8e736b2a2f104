"""Both gates' verdicts as text: the failed rows first, so that a refusal explains itself."""

_HEADER = ("metric", "slice", "photos", "value", "95 % interval", "bound", "baseline", "")


def verdict_table(gates: dict) -> str:
    """A table of every bound of gate 1, what so few photos cannot show, and gate 2's failed checks.

    Args:
        gates: `quality` and `serving` of `summary.json`.
    """
    quality, serving = gates["quality"], gates["serving"]
    rows = sorted(quality["rows"], key=lambda row: row["passed"] is not False)
    table = [_HEADER, *map(_line, rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = [f"Quality gate: {outcome_word(quality)}"]
    if quality["forced"]:
        lines.append(f"  FORCED by {quality['forced']['by']}: {quality['forced']['reason']}")
    if all(row["passed"] is None for row in rows):
        lines.append("  no bound could be applied, so nothing says that this model is good")
    if quality["baseline"] is None:
        lines.append("  first model: value bounds only, no blessed model to compare with")
    elif set(quality["baseline_labels"] or quality["labels"]) != set(quality["labels"]):
        theirs, ours = quality["baseline_labels"], quality["labels"]
        lines.append(f"  the baseline knows other labels, {theirs} in place of {ours}")
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


def outcome_word(gate: dict) -> str:
    """`passed`, `FORCED` (gate 1 only) or `REFUSED`."""
    if gate["passed"]:
        return "passed"
    return "FORCED" if gate.get("forced") else "REFUSED"


def _line(row: dict) -> tuple[str, ...]:
    return (
        row["metric"],
        row["slice"],
        str(row.get("photos", row.get("examples", "-"))),
        _figure(row["value"]),
        _interval(row),
        row["bound"],
        _figure(row["baseline"]),
        _result(row),
    )


def _cross_validated(found: dict) -> str:
    low, high = found["interval"]
    return (
        f"Cross-validated: {found['accuracy']:.4f} over all {found['photos']} photos "
        f"({found['folds']} folds, heads on the features of the pretrained network), 95 % interval "
        f"{low:.3f} to {high:.3f}. The pushed model itself was not measured on them."
    )


def _result(row: dict) -> str:
    word = {True: "passed", False: "FAILED", None: "not applied"}[row["passed"]]
    return f"{word}: {row['note']}" if row["note"] else word


def _interval(row: dict) -> str:
    if not row["interval"]:
        return "-"
    low, high = row["interval"]
    if row["kind"] == "value" and row["metric"] != "loss":
        low, high = max(low, 0.0), min(high, 1.0)
    sign = "+" if row["kind"] == "change" else ""
    return f"{low:{sign}.4f} to {high:{sign}.4f}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
