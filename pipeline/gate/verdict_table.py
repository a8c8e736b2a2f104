"""Both gates' verdicts as text: the failed rows first, so that a refusal explains itself."""


def verdict_table(gates: dict) -> str:
    """A table of every bound of gate 1, and gate 2's failed checks.

    Args:
      gates: `quality` and `serving` of `summary.json`.
    """
    rows = sorted(gates["quality"]["rows"], key=lambda row: row["passed"] is not False)
    table = [("metric", "slice", "value", "bound", "baseline", "")]
    table += [
        (
            row["metric"],
            row["slice"],
            _figure(row["value"]),
            row["bound"],
            _figure(row["baseline"]),
            {True: "passed", False: "FAILED", None: "no baseline yet"}[row["passed"]],
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    lines.insert(0, f"Quality gate: {_word(gates['quality'])}")
    lines.append(f"Serving gate: {_word(gates['serving'])}")
    lines += [
        f"  {check['name']}: {check['value']}, expected {check['bound']}  FAILED"
        for check in gates["serving"]["checks"]
        if not check["passed"]
    ]
    return "\n".join(lines)


def _word(gate: dict) -> str:
    return "passed" if gate["passed"] else "REFUSED"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
