"""A proposed ``[logs]`` from the look of a file: which column is what, the unit of time, the preset that fits."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

from sessrec_pipeline.logs.sniff import ISO, NAMES, SURE, Look, fits, number, parsed, plain, time_formats
from sessrec_pipeline.settings import LogSettings, log_presets

UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
QUANTITIES = {"quantity", "qty", "units", "count", "amount"}
YEAR_1990, YEAR_2000, YEAR_2100 = 631_152_000, 946_684_800, 4_102_444_800


def propose(look: Look) -> dict[str, Any] | None:
    """``[logs]`` without its defaults, None where a column is wanting; sets the roles and adds to the notes."""
    _assign_roles(look)
    missing = [role for role in ("session", "item", "time") if role not in look.roles]
    if missing:
        look.notes.append(f"No column looks like the {' or the '.join(missing)}: name it in [logs].")
        return None
    found: dict[str, Any] = {
        "format": look.format,
        "delimiter": look.delimiter or None,
        "columns": None if look.header else look.columns,
        **_time_or_note(look),
        "events": look.events,
        **{role: look.roles.get(role) for role in ("session", "item", "time", "time_offset")},
    }
    preset = _preset(look, found)
    defaults = LogSettings(preset=preset)
    if preset is None:
        found["keep"] = _rules(look) or None
        _note_event_types(look)
        if not look.header:
            look.notes.append("There is no header: which column is the session and which the item is a guess.")
        if _before_2000(look, found):
            found["earliest_year"] = 1990
    else:
        if defaults.columns is not None:
            found = {}  # the names are the preset's own
        spelled = _spelled(look, preset)
        rules = [rule.model_dump(exclude_none=True) for rule in defaults.keep]
        renamed = [rule | {"column": spelled[plain(rule["column"])]} for rule in rules]
        if renamed != rules:
            found["keep"] = renamed
    if found.get("delimiter") == ("," if found.get("format") == "csv" else "\t"):
        del found["delimiter"]
    given = {} if preset is None else {"preset": preset}
    return given | {k: v for k, v in found.items() if v is not None and v != getattr(defaults, k)}


def time_unit(values: Sequence[str]) -> str | None:
    """The unit that most of a column's values agree on, None where they agree on none."""
    if sum(ISO.fullmatch(value.strip()) is not None for value in values) >= max(1, SURE * len(values)):
        return "iso8601"
    numbers = [found for value in values if (found := number(value)) is not None]
    for unit, scale in UNITS.items():
        if sum(YEAR_1990 <= found / scale < YEAR_2100 for found in numbers) >= max(1, SURE * len(values)):
            return unit
    return None


def time_formats_of(values: Sequence[str]) -> list[str]:
    """The ``time_format`` that most of a column's values agree on; two where day and month could be either."""
    looks = dict.fromkeys(form for value in values[:100] for form in time_formats(value))
    fitting = {form: sum(fits(value, form) for value in values) for form in looks}
    best = max(fitting.values(), default=0)
    return [form for form, count in fitting.items() if count == best >= max(1, SURE * len(values))][:2]


def _is_time(values: Sequence[str]) -> bool:
    return time_unit(values) is not None or bool(time_formats_of(values))


def _assign_roles(look: Look) -> None:
    for role, names in NAMES.items():
        columns = look.outer_columns if role == "session" and look.events is not None else look.columns
        by_name = [column for name in names for column in columns if plain(column) == name]
        if by_name:
            look.roles[role] = by_name[0]
    others = [column for column in look.columns if column not in look.roles.values()]
    times = [column for column in others if _is_time(look.values(column))]
    if times and "time" not in look.roles:
        look.roles["time"] = times[0]
    if not look.header:
        _roles_without_names(look)


def _roles_without_names(look: Look) -> None:
    """A session stays the same from row to row, an item less so; both are guesses."""
    others = [column for column in look.columns if column != look.roles.get("time")]
    varied = [column for column in others if len(set(look.values(column))) > 1]
    others = varied if len(varied) > 1 else others
    look.roles["session"] = max(others, key=lambda column: sum(a == b for a, b in pairwise(look.values(column))))
    others.remove(look.roles["session"])
    look.roles["item"] = max(others, key=lambda column: len(set(look.values(column))))


def _time_or_note(look: Look) -> dict[str, str]:
    """``time_unit`` or ``time_format`` of the time column, and a note where it is a guess."""
    values = look.values(look.roles["time"])
    unit = time_unit(values)
    if unit is not None or not values:
        return {"time_unit": unit or "s"}
    formats = time_formats_of(values)
    if len(formats) > 1:
        # Events lie close together: of two readings the one that spans less is likelier.
        formats.sort(key=lambda form: _span(values, form))
        look.notes.append(
            f"The time {values[0]!r} could have the day first or the month first, and nothing decides it: {formats[0]} "
            f"is proposed, {formats[1]} would be the other."
        )
    if formats:
        return {"time_format": formats[0]}
    look.notes.append(
        f"The time {values[0]!r} is neither ISO 8601 nor seconds, milliseconds, microseconds or nanoseconds since "
        '1970: convert it, set time_format, or set time_unit = "order" if it only says what came first.'
    )
    return {"time_unit": "iso8601" if number(values[0]) is None else "order"}


def _span(values: Sequence[str], time_format: str) -> timedelta:
    times = [parsed(value, time_format) for value in values if fits(value, time_format)]
    return max(times) - min(times)


def _before_2000(look: Look, found: dict[str, Any]) -> bool:
    values = look.values(look.roles["time"])
    if (form := found.get("time_format")) is not None:
        return any(parsed(value, form).year < 2000 for value in values if fits(value, form))
    unit = found["time_unit"]
    if unit == "iso8601":
        return any(value.strip() < "2000" for value in values)
    return unit in UNITS and any((number(value) or YEAR_2000) / UNITS[unit] < YEAR_2000 for value in values)


def _rules(look: Look) -> list[dict[str, Any]]:
    """``keep`` for rows that are no sales: orders whose number begins with a letter, quantities below zero."""
    rules: list[dict[str, Any]] = []
    session = look.roles["session"]
    orders = look.values(session) if session in look.columns else []
    lettered = [value for value in orders if re.fullmatch("[A-Z][0-9]+", value)]
    first = {value[0] for value in lettered}
    numbers = sum(value.isdigit() for value in orders)
    if len(first) == 1 and numbers > len(lettered):
        rules.append({"column": session, "not_prefix": first.pop()})
        look.notes.append(
            f"{len(lettered):,} rows have a {session} such as {lettered[0]}: `keep` takes them for cancelled."
        )
    for column in look.columns:
        if plain(column) in QUANTITIES:
            below = [value for value in look.values(column) if (number(value) or 0) < 0]
            if below:
                rules.append({"column": column, "minimum": 1})
                look.notes.append(f"{len(below):,} rows have a {column} below zero: `keep` takes them for returns.")
    return rules


def _note_event_types(look: Look) -> None:
    kind = look.roles.get("event type")
    held = Counter(look.values(kind) if kind is not None else [])
    if 1 < len(held) <= 20:
        some = ", ".join(f"{value} ({n})" for value, n in held.most_common(5))
        look.notes.append(f"{kind} holds {some}: say with `keep` which of them are events.")


def _spelled(look: Look, preset: str) -> dict[str, str]:
    """The file's columns by their plain name in the preset, through other editions of it."""
    there = {plain(column): column for column in (*look.outer_columns, *look.columns)}
    editions = log_presets()[preset].get("editions", {})
    return there | {plain(name): there[plain(also)] for name, also in editions.items() if plain(also) in there}


def _preset(look: Look, found: dict[str, Any]) -> str | None:
    """The preset that reads this file, if its columns bear other spellings of the same names at most."""
    for name in log_presets():
        settings = LogSettings(preset=name)
        same_form = settings.format == look.format and (not look.delimiter or settings.separator == look.delimiter)
        if settings.columns is not None:
            place = settings.columns.index(settings.time)
            same = same_form and not look.header and len(look.columns) == len(settings.columns)
            if same and look.roles["time"] == look.columns[place] and found.get("time_unit") == settings.time_unit:
                return name
            continue
        if not same_form and not settings.keep:  # in another form it says nothing that is not seen
            continue
        spelled = _spelled(look, name)
        roles = {"events": settings.events, "session": settings.session, "item": settings.item, "time": settings.time}
        same = all((found[role] or "") == spelled.get(plain(column or ""), "") for role, column in roles.items())
        if same and look.header and {plain(column) for column in settings.needed_columns} <= set(spelled):
            return name
    return None
