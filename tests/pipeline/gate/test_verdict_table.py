from pipeline.gate.verdict_table import verdict_table


def row(passed, **changes):
    return {
        "metric": "accuracy",
        "slice": "overall",
        "kind": "value",
        "value": 0.5,
        "interval": None,
        "bound": ">= 0.6",
        "baseline": None,
        "examples": 40,
        "passed": passed,
        "note": None,
    } | changes


def quality(*rows, **changes):
    return {
        "passed": False,
        "forced": None,
        "baseline": "some/model",
        "baseline_labels": ["dog", "cat"],
        "labels": ["cat", "dog"],
        "rows": rows,
    } | changes


SERVING = {
    "passed": False,
    "checks": [
        {"name": "loads", "passed": True, "value": 1, "bound": "no error"},
        {"name": "signatures", "passed": False, "value": ["a"], "bound": ["a", "b"]},
    ],
}


def test_failures_come_first_and_say_what_was_asked():
    rows = [row(True, slice="label=cat"), row(None, note="no baseline yet"), row(False)]
    text = verdict_table({"quality": quality(*rows), "serving": SERVING})
    lines = text.splitlines()
    assert lines[0] == "Quality gate: REFUSED"
    assert lines[2].split() == ["accuracy", "overall", "0.5000", ">=", "0.6", "-", "FAILED"]
    assert "not applied: no baseline yet" in text and "interval" not in text
    assert lines[-2] == "Serving gate: REFUSED"
    assert lines[-1].strip() == "signatures: ['a'], expected ['a', 'b']  FAILED"


def test_intervals_are_shown_where_there_are_some_within_what_is_possible():
    rows = [row(True, interval=[0.9, 1.2]), row(True, kind="change", interval=[-0.1, 0.2])]
    text = verdict_table({"quality": quality(*rows), "serving": SERVING})
    assert "0.9000 to 1.0000" in text and "-0.1000 to +0.2000" in text


def test_a_forced_blessing_and_a_first_run_are_said():
    forced = {"by": "ada", "reason": "the test split is wrong"}
    text = verdict_table(
        {"quality": quality(row(False), forced=forced, baseline=None), "serving": SERVING}
    )
    assert text.startswith("Quality gate: FORCED\n  FORCED by ada: the test split is wrong\n")
    assert "value bounds only" in text
    assert "other labels" not in text


def test_a_baseline_of_other_labels_and_a_verdict_on_nothing_are_said():
    nothing = quality(row(None, note="2 examples, fewer than 30"), baseline_labels=["cat", "owl"])
    text = verdict_table({"quality": nothing, "serving": SERVING})
    assert "the baseline knows other labels, ['cat', 'owl'] in place of ['cat', 'dog']" in text
    assert "no bound could be applied" in text
    known = verdict_table({"quality": quality(row(True)), "serving": SERVING})
    assert "other labels" not in known and "no bound" not in known
