from pipeline.gate.verdict_table import verdict_table


def row(passed, **changes):
    return {
        "metric": "accuracy",
        "slice": "overall",
        "kind": "value",
        "value": 0.5,
        "bound": ">= 0.6",
        "baseline": None,
        "passed": passed,
    } | changes


def test_failures_come_first_and_say_what_was_asked():
    text = verdict_table(
        {
            "quality": {
                "passed": False,
                "rows": [row(True, slice="label=cat"), row(None), row(False)],
            },
            "serving": {
                "passed": False,
                "checks": [
                    {"name": "loads", "passed": True, "value": 1, "bound": "no error"},
                    {"name": "signatures", "passed": False, "value": ["a"], "bound": ["a", "b"]},
                ],
            },
        }
    )
    lines = text.splitlines()
    assert lines[0] == "Quality gate: REFUSED"
    assert lines[2].split() == ["accuracy", "overall", "0.5000", ">=", "0.6", "-", "FAILED"]
    assert "no baseline yet" in text
    assert lines[-2] == "Serving gate: REFUSED"
    assert lines[-1].strip() == "signatures: ['a'], expected ['a', 'b']  FAILED"
