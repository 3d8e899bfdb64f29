"""Times and lengths of time, in microseconds (since 1970 UTC), and as text."""

from datetime import UTC, datetime

SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR


def moment(microseconds: int) -> str:
    """A time, UTC."""
    return datetime.fromtimestamp(microseconds // SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S")


def lasting(microseconds: float) -> str:
    """A duration in its largest unit: ``150 days``, ``59 minutes``."""
    for unit, size in (("day", DAY), ("hour", HOUR), ("minute", HOUR // 60), ("second", SECOND)):
        if microseconds >= 2 * size or unit == "second":
            number = f"{microseconds / size:,.0f}" if microseconds >= 10 * size else f"{microseconds / size:.3g}"
            return f"{number} {unit}{'' if number == '1' else 's'}"
    raise AssertionError
