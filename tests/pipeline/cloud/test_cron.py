"""Cron expressions, checked before a schedule is created."""

import re

import pytest

from pipeline.vertex import cron


@pytest.mark.parametrize(
    "expression",
    [
        "0 3 * * 1",
        "*/15 0-6/2 1,15 jan,DEC *",
        "TZ=Europe/Berlin 0 3 * * MON-FRI",
        "CRON_TZ=UTC 59 23 31 12 7",
    ],
)
def test_valid_expressions_have_no_error(expression):
    assert cron.find_error(expression) is None


@pytest.mark.parametrize(
    "expression, told",
    [
        ("every monday", "2 fields; expected 5: minute, hour"),
        ("", "0 fields"),
        ("0 0 3 * * 1", "6 fields"),
        ("60 3 * * 1", "60 is not a valid minute; expected 0 to 59"),
        ("0 24 * * 1", "24 is not a valid hour"),
        ("0 3 0 * *", "0 is not a valid day of the month"),
        ("0 3 * 13 *", "13 is not a valid month"),
        ("0 3 * * fri-mon", "fri-mon is not a valid day of the week"),
        ("0 3 * * 1,,2", "1,,2 is not a valid day of the week"),
        ("*/0 3 * * 1", r"\*/0 is not a valid minute"),
        ("TZ=Mars/Olympus 0 3 * * 1", "unknown time zone Mars/Olympus"),
    ],
)
def test_the_error_in_an_invalid_expression(expression, told):
    assert re.search(told, cron.find_error(expression))
