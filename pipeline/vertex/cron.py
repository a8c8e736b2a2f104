"""Cron expressions as Vertex AI takes them: five fields, if wanted with a time zone before them."""

import re
import zoneinfo

_FIELDS = {
    "minute": (0, 59, ""),
    "hour": (0, 23, ""),
    "day of the month": (1, 31, ""),
    "month": (1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    "day of the week": (0, 7, "sun mon tue wed thu fri sat"),
}
_PART = re.compile(r"(\*|(?P<first>\w+)(-(?P<last>\w+))?)(/(?P<step>\d+))?")
_EXAMPLE = "e.g. '0 3 * * 1' or 'TZ=Europe/Berlin 0 3 * * 1'"


def wrong_with(expression: str) -> str | None:
    """What is wrong with a cron expression; None if nothing is."""
    words = expression.split()
    if words and (match := re.fullmatch(r"(CRON_)?TZ=(.+)", words[0])):
        if match[2] not in zoneinfo.available_timezones():
            return f"there is no time zone {match[2]}, {_EXAMPLE}"
        words = words[1:]
    if len(words) != len(_FIELDS):
        return f"{len(words)} fields; expected {', '.join(_FIELDS)}, {_EXAMPLE}"
    for word, (field, (low, high, names)) in zip(words, _FIELDS.items(), strict=True):
        if not all(_fits(part, low, high, names) for part in word.split(",")):
            return f"{word} is no {field}, {low} to {high}, {_EXAMPLE}"
    return None


def _fits(part: str, low: int, high: int, names: str) -> bool:
    match = _PART.fullmatch(part)
    if not match or match["step"] == "0":
        return False
    numbers = [_number(text, low, names) for text in (match["first"], match["last"]) if text]
    return all(n is not None and low <= n <= high for n in numbers) and numbers == sorted(numbers)


def _number(text: str, low: int, names: str) -> int | None:
    if text.isdecimal():
        return int(text)
    known = names.split()
    return low + known.index(text.lower()) if text.lower() in known else None
