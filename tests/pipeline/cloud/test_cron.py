"""Cron expressions, before a schedule is made of them."""

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
def test_what_vertex_ai_takes_is_taken(expression):
    assert cron.wrong_with(expression) is None


@pytest.mark.parametrize(
    "expression, told",
    [
        ("every monday", "2 fields; expected minute, hour"),
        ("", "0 fields"),
        ("0 0 3 * * 1", "6 fields"),
        ("60 3 * * 1", "60 is no minute, 0 to 59"),
        ("0 24 * * 1", "24 is no hour"),
        ("0 3 0 * *", "0 is no day of the month"),
        ("0 3 * 13 *", "13 is no month"),
        ("0 3 * * fri-mon", "fri-mon is no day of the week"),
        ("0 3 * * 1,,2", "1,,2 is no day of the week"),
        ("*/0 3 * * 1", r"\*/0 is no minute"),
        ("TZ=Mars/Olympus 0 3 * * 1", "no time zone Mars/Olympus"),
    ],
)
def test_anything_else_is_told(expression, told):
    assert re.search(told, cron.wrong_with(expression))
