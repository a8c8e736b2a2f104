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
        "photos": 20,
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
    assert " ".join(lines[2].split()) == "accuracy overall 20 0.5000 - >= 0.6 - FAILED"
    assert "not applied: no baseline yet" in text
    assert lines[-2] == "Serving gate: REFUSED"
    assert lines[-1].strip() == "signatures: ['a'], expected ['a', 'b']  FAILED"


def test_intervals_are_shown_where_there_are_some_within_what_is_possible():
    rows = [row(True, interval=[0.9, 1.2]), row(True, kind="change", interval=[-0.1, 0.2])]
    text = verdict_table({"quality": quality(*rows), "serving": SERVING})
    assert "0.9000 to 1.0000" in text and "-0.1000 to +0.2000" in text


def test_every_row_has_its_photos_and_its_interval():
    text = verdict_table(
        {"quality": quality(row(True, interval=[0.835, 0.9862])), "serving": SERVING}
    )
    header, line = text.splitlines()[1:3]
    assert header.split("  ")[1] == "metric" and "photos" in header and "95 % interval" in header
    at = header.index("photos")
    assert line[at : at + 2] == "20" and "0.8350 to 0.9862" in line


def test_what_few_photos_cannot_show_and_the_cross_validation_lie_below_the_table():
    few = "accuracy >= 0.6 on 10 photos: a model that guesses meets it 38 times of 100"
    validated = {
        "photos": 400,
        "right": 398,
        "accuracy": 0.995,
        "folds": 5,
        "by_label": {},
        "interval": [0.98197, 0.99863],
    }
    judged = quality(row(False), few_photos=[few], cross_validation=validated)
    lines = verdict_table({"quality": judged, "serving": SERVING}).splitlines()
    assert lines[3:5] == [
        f"  {few}",
        "  Cross-validated: 0.9950 over all 400 photos (5 folds, heads on the features of the "
        "pretrained network), 95 % interval 0.982 to 0.999. The pushed model itself was not "
        "measured on them.",
    ]
    assert lines[5] == "Serving gate: REFUSED"


def test_a_verdict_of_an_earlier_version_is_still_printed():
    old = row(True)
    del old["photos"]
    text = verdict_table({"quality": quality(old), "serving": SERVING})
    assert text.splitlines()[2].split()[2] == "40", "the examples of its slice"
    without = quality(row(True), few_photos=[], cross_validation=None)
    assert "Cross-validated" not in verdict_table({"quality": without, "serving": SERVING})


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
