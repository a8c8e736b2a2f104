"""README.md and docs/: every link leads to a file, every command has the options that are shown."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PAGES = [*REPOSITORY.glob("*.md"), *sorted((REPOSITORY / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:make|python) [^`\n]+)`")
PARTS = re.compile(r"--[a-z][a-z-]+")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page):
    text = BLOCK.sub("", page.read_text())
    links = {link for link in LINK.findall(text) if "://" not in link and "mailto:" not in link}
    assert not [link for link in links if not (page.parent / link).exists()]


def _commands(page: Path) -> list[str]:
    """The commands of a page that start with make or python, one line each."""
    text = page.read_text()
    lines = [
        line.removeprefix("$ ").partition(" # ")[0]
        for block in BLOCK.findall(text)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [
        line for line in [*lines, *INLINE.findall(text)] if line.startswith(("make ", "python "))
    ]


@cache
def _help(*command: str) -> str:
    """What a command prints with `--help`."""
    done = subprocess.run(
        [sys.executable, *command, "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


COMMANDS = sorted({(page.name, line) for page in PAGES for line in _commands(page)})


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda part: part[:60])
def test_every_command_has_the_options_that_are_shown(page, line):
    if line.startswith("make "):
        targets = [word for word in shlex.split(line)[1:] if "=" not in word]
        known = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        assert targets and set(targets) <= set(known)
        return
    words = line.partition(" | ")[0].split()[1:]
    program = words[:2] if words[0] == "-m" else words[:1]
    rest = words[len(program) :]
    text = _help(*program)
    if rest and rest[0].isalpha() and re.search(rf"[{{ ,]{re.escape(rest[0])}[,}} \n]", text):
        text += _help(*program, rest[0])
    assert not [option for option in PARTS.findall(" ".join(rest)) if option not in text]
