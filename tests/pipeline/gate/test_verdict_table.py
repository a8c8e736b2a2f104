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


def test_failed_rows_come_first_with_their_bound():
    rows = [row(True, slice="label=cat"), row(None, note="no baseline yet"), row(False)]
    text = verdict_table({"quality": quality(*rows), "serving": SERVING})
    lines = text.splitlines()
    assert lines[0] == "Quality gate: REFUSED"
    assert " ".join(lines[2].split()) == "accuracy overall 20 0.5000 - >= 0.6 - FAILED"
    assert "not applied: no baseline yet" in text
    assert lines[-2] == "Serving gate: REFUSED"
    assert lines[-1].strip() == "signatures: ['a'], expected ['a', 'b']  FAILED"


def test_intervals_are_clipped_to_the_range_of_the_metric():
    rows = [row(True, interval=[0.9, 1.2]), row(True, kind="change", interval=[-0.1, 0.2])]
    text = verdict_table({"quality": quality(*rows), "serving": SERVING})
    assert "0.9000 to 1.0000" in text and "-0.1000 to +0.2000" in text


def test_a_row_shows_its_photos_and_interval():
    text = verdict_table(
        {"quality": quality(row(True, interval=[0.835, 0.9862])), "serving": SERVING}
    )
    header, line = text.splitlines()[1:3]
    assert header.split("  ")[1] == "metric" and "photos" in header and "95 % interval" in header
    at = header.index("photos")
    assert line[at : at + 2] == "20" and "0.8350 to 0.9862" in line


def test_warnings_and_cross_validation_follow_the_table():
    few = "accuracy >= 0.6 on 10 photos: a random guess meets it 38 times in 100"
    validated = {
        "photos": 400,
        "right": 398,
        "accuracy": 0.995,
        "folds": 5,
        "by_label": {},
        "interval": [0.98197, 0.99863],
    }
    verdict = quality(row(False), few_photos=[few], cross_validation=validated)
    lines = verdict_table({"quality": verdict, "serving": SERVING}).splitlines()
    assert lines[3:5] == [
        f"  {few}",
        "  Cross-validated accuracy: 0.9950 over all 400 photos (5 folds, heads on the features of "
        "the pretrained network), 95 % interval 0.982 to 0.999. It does not measure the pushed "
        "model itself.",
    ]
    assert lines[5] == "Serving gate: REFUSED"


def test_a_verdict_of_an_earlier_version_is_formatted():
    old = row(True)
    del old["photos"]
    text = verdict_table({"quality": quality(old), "serving": SERVING})
    assert text.splitlines()[2].split()[2] == "40", "the number of examples in the slice"
    without = quality(row(True), few_photos=[], cross_validation=None)
    assert "Cross-validated" not in verdict_table({"quality": without, "serving": SERVING})


def test_an_override_and_a_first_run_are_shown():
    forced = {"by": "ada", "reason": "the test split is wrong"}
    text = verdict_table(
        {"quality": quality(row(False), forced=forced, baseline=None), "serving": SERVING}
    )
    assert text.startswith("Quality gate: FORCED\n  FORCED by ada: the test split is wrong\n")
    assert "value bounds only" in text
    assert "other labels" not in text


def test_other_labels_of_the_baseline_and_a_verdict_without_bounds_are_shown():
    nothing = quality(row(None, note="2 examples, fewer than 30"), baseline_labels=["cat", "owl"])
    text = verdict_table({"quality": nothing, "serving": SERVING})
    assert "the baseline has other labels: ['cat', 'owl'], not ['cat', 'dog']" in text
    assert "no bound could be applied" in text
    known = verdict_table({"quality": quality(row(True)), "serving": SERVING})
    assert "other labels" not in known and "no bound" not in known
