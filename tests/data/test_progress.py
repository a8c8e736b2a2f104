import io

import pytest

from data.conversion import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds, set by the test."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_lines_count_the_rate_from_where_they_began_and_end_once(clock, capsys):
    with progress.show_progress(None) as update:
        update(500, 1000)  # by an earlier attempt
        clock[0] = 10.0
        update(600, 1000)
        clock[0] = 11.0
        update(700, 1000)
        clock[0] = 20.0
        update(1000, 1000)
        update(1000, 1000)  # an empty shard
    assert capsys.readouterr().err.splitlines() == [
        "convert: 600/1000 images, 10 img/s, 40 s left",
        "convert: 1000/1000 images, 25 img/s",
    ]


def test_the_bar_counts_the_rate_from_where_it_began(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    made = []

    def keep(*arguments, **options):
        made.append(tqdm(*arguments, **options))
        return made[-1]

    import tqdm as library

    tqdm = library.tqdm
    monkeypatch.setattr("tqdm.tqdm", keep)
    with progress.show_progress(None) as update:
        update(600, 1000)
        update(700, 1000)
        (bar,) = made
        assert (bar.initial, bar.n, bar.total) == (600, 700, 1000)
    assert "700/1000" in shown.getvalue()
