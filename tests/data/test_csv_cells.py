"""Names that a spreadsheet would run as a formula, in CSV files for users."""

import csv

import pandas as pd
import pytest

import data
from data.storage.csv_cells import escape_formula
from tests.data.drawn import image_table
from tests.data.test_convert import convert

FORMULA = "=HYPERLINK(1)"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("-1+2", "'-1+2"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-5", "-5"),
        ("+1.5e3", "+1.5e3"),
        ("cat", "cat"),
        ("", ""),
        (-5, -5),
    ],
)
def test_only_text_that_would_run_is_marked(value, cell):
    assert escape_formula(value) == cell
    assert escape_formula(escape_formula(value)) == cell


def test_a_name_that_would_run_is_text_in_every_report(tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 2})
    table["site"] = FORMULA
    lost = pd.DataFrame([{"split": "TRAIN", "image_uri": FORMULA, "label": "cat", "site": "x"}])
    schema = {**data.IMAGE_CSV_SCHEMA, "site": data.StringInput}
    convert(pd.concat([table, lost]), tmp_path / "out", schema=schema)

    with (tmp_path / "out" / "discarded.csv").open(newline="") as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == [f"'{FORMULA}"]
    looked = data.inspect(tmp_path / "out", output_dir=tmp_path / "look")
    assert pd.read_csv(f"{looked}/data.csv")["site"].tolist() == [f"'{FORMULA}"]
