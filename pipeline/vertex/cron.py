"""Cron expressions of Vertex AI: five fields, optionally after a time zone."""

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


def find_error(expression: str) -> str | None:
    """The error in a cron expression; None if it is valid.

    Example:
        >>> find_error("TZ=Europe/Berlin 0 3 * * 1")
        >>> find_error("60 3 * * 1").partition(",")[0]
        '60 is not a valid minute; expected 0 to 59'
    """
    words = expression.split()
    if words and (match := re.fullmatch(r"(CRON_)?TZ=(.+)", words[0])):
        if match[2] not in zoneinfo.available_timezones():
            return f"unknown time zone {match[2]}, {_EXAMPLE}"
        words = words[1:]
    if len(words) != len(_FIELDS):
        return f"{len(words)} fields; expected 5: {', '.join(_FIELDS)}, {_EXAMPLE}"
    for word, (field, (low, high, names)) in zip(words, _FIELDS.items(), strict=True):
        if not all(_is_valid(part, low, high, names) for part in word.split(",")):
            return f"{word} is not a valid {field}; expected {low} to {high}, {_EXAMPLE}"
    return None


def _is_valid(part: str, low: int, high: int, names: str) -> bool:
    match = _PART.fullmatch(part)
    if not match or match["step"] == "0":
        return False
    numbers = [_number(text, low, names) for text in (match["first"], match["last"]) if text]
    return all(low <= n <= high for n in numbers) and numbers == sorted(numbers)


def _number(text: str, low: int, names: str) -> int:
    """The number that a digit string or a name stands for; -1 for an unknown name."""
    if text.isdecimal():
        return int(text)
    known = names.split()
    return low + known.index(text.lower()) if text.lower() in known else -1
