"""A proposed ``[logs]`` from the look of a file: which column is what, the unit of time, the preset that fits."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

from sessrec_pipeline.logs.sniff import EVENT_TYPES, ISO, NAMES, SURE, Look, fits, number, parsed, plain, time_formats
from sessrec_pipeline.settings import LogSettings, log_presets
from sessrec_pipeline.text import counted

UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
QUANTITIES = {
    *("quantity", "qty", "quantityordered", "orderedquantity", "itemquantity", "units", "pieces", "pcs", "count"),
    *("amount", "menge", "anzahl", "stueck", "cantidad", "unidades", "quantite", "qte"),
}
DAYS_1955, DAYS_2118 = 20_000, 80_000
"""As spreadsheets count them."""
YEAR_1990, YEAR_2000, YEAR_2050, YEAR_2100 = 631_152_000, 946_684_800, 2_524_608_000, 4_102_444_800
OLD = 0.01
"""Share of times before 2000 from which on they are no slips of a clock."""


def propose(look: Look) -> dict[str, Any] | None:
    """``[logs]`` without its defaults, None where a column is wanting; sets the roles and adds to the notes."""
    _assign_roles(look)
    missing = [role for role in ("session", "item", "time") if role not in look.roles]
    if missing:
        look.notes.append(f"No column looks like the {' or the '.join(missing)}: name it in [logs].")
        return None
    moment = _time_or_note(look)
    if moment is None:
        return None
    found: dict[str, Any] = {
        "format": look.format,
        "delimiter": look.delimiter or None,
        "columns": None if look.header else look.columns,
        **moment,
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
    """The ``time_format`` that most of a column's values agree on; several where nothing decides between them."""
    looks = dict.fromkeys(form for value in values[:100] for form in time_formats(value))
    fitting = {form: sum(fits(value, form) for value in values) for form in looks}
    for form in list(fitting):  # the day before the month is only read where nothing else fits
        if fitting[form] <= fitting.get(form.replace("%d", "%0").replace("%m", "%d").replace("%0", "%m"), 0) and (
            "%Y" in form and form.index("%Y") < form.index("%d") < form.index("%m")
        ):
            del fitting[form]
    best = max(fitting.values(), default=0)
    return [form for form, count in fitting.items() if count == best >= max(1, SURE * len(values))]


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
        look.roles["time"] = max(times, key=lambda column: _likelihood_of_time(look.values(column)))
    kinds = [column for column in others if _is_event_type(look.values(column))]
    if kinds:
        look.roles.setdefault("event type", kinds[0])
    if not look.header:
        _roles_without_names(look)


def _likelihood_of_time(values: Sequence[str]) -> tuple[bool, bool, int]:
    """Of columns that could be the time: text is one, numbers may be ids; of these the one that is more varied."""
    unit = time_unit(values)
    text = unit is None or unit == "iso8601"
    recent = not text and any(YEAR_2000 <= (number(value) or 0) / UNITS[unit or "s"] < YEAR_2050 for value in values)
    return text, recent, len(set(values))


def _is_event_type(values: Sequence[str]) -> bool:
    """Whether a column holds few different values, two of them usual names of events at least."""
    held = {value.strip().lower() for value in values}
    return len(held) <= 20 and len(held & EVENT_TYPES) > 1


def _roles_without_names(look: Look) -> None:
    """A session stays the same from row to row, an item less so; both are guesses."""
    others = [column for column in look.columns if column not in (look.roles.get("time"), look.roles.get("event type"))]
    ids = [column for column in others if time_unit(look.values(column)) != "iso8601"]
    others = ids if len(ids) > 1 else others
    varied = [column for column in others if len(set(look.values(column))) > 1]
    others = varied if len(varied) > 1 else others
    look.roles["session"] = max(others, key=lambda column: sum(a == b for a, b in pairwise(look.values(column))))
    others.remove(look.roles["session"])
    look.roles["item"] = max(others, key=lambda column: len(set(look.values(column))))


def _time_or_note(look: Look) -> dict[str, str] | None:
    """``time_unit`` or ``time_format`` of the time column, with a note where it is a guess; None where none works."""
    values = look.values(look.roles["time"])
    _note_other_spellings(look, values)
    unit = time_unit(values)
    if unit is not None or not values:
        return {"time_unit": unit or "s"}
    formats = time_formats_of(values)
    if len(formats) > 1:
        # Events lie close together: of several readings the one that spans least is likeliest.
        formats.sort(key=lambda form: _span(values, form))
        look.notes.append(
            f"The time {values[0]!r} can be read in several ways, and nothing decides which: {formats[0]} is proposed, "
            f"{' or '.join(formats[1:])} would fit as well."
        )
    if formats:
        return {"time_format": formats[0]}
    if len(_spellings(values)) > 1 and any(number(value) is None for value in values):
        return None
    note, works = _no_moment(look, values)
    look.notes.append(f"The time {values[0]!r} {note}.")
    return works


def _no_moment(look: Look, values: Sequence[str]) -> tuple[str, dict[str, str] | None]:
    """What is wrong with times of which neither a unit nor a format is known, and what may read them all the same."""
    numbers = [value for value in values if number(value) is not None]
    if len(numbers) < SURE * len(values):
        if all(re.fullmatch(r"\d{1,2}:\d\d(:\d\d.*)?", value.strip()) for value in values):
            return f"has no date: write date and time into one column (columns: {', '.join(look.columns)})", None
        return (
            "is written in no way that is known (2024-01-31T10:15:00Z is; so are seconds, milliseconds, microseconds "
            "and nanoseconds since 1970): convert it, or set time_format",
            {"time_unit": "iso8601"},
        )
    units: dict[str, str] = {}
    for value in numbers:
        if (unit := time_unit([value])) is not None:
            units.setdefault(unit, value)
    if len(units) > 1:
        several = ", ".join(f"{value} would be in {unit}" for unit, value in units.items())
        return f"is not in the unit of others ({several}): write all of them in one", None
    if all("." in value or "," in value for value in numbers) and all(
        DAYS_1955 < (number(value) or 0) < DAYS_2118 for value in numbers
    ):
        return "seems to count days since 1900, as spreadsheets do: export the column as date and time", None
    whole = all(value.strip().isdigit() for value in numbers)
    if whole and len(set(numbers)) > len(numbers) / 2:
        return (
            "is no time since 1970: it is taken for a running number that says what came first in the whole log "
            '(time_unit = "order"); if it starts anew in every session, or is a time, convert it',
            {"time_unit": "order"},
        )
    return (
        'is no time since 1970, and no running number through the whole log either (time_unit = "order"): write when '
        "the event was",
        None,
    )


def _spellings(values: Sequence[str]) -> dict[str, list[str]]:
    """Times by the way in which they are written, the commonest first; those that several ways fit are in the first."""
    ways: dict[str, list[str]] = {}
    unclear = []
    for value in values:
        found = ["iso8601"] if ISO.fullmatch(value.strip()) else [f for f in time_formats(value) if fits(value, f)]
        if not found and number(value) is not None:
            found = [time_unit([value]) or "a number"]
        found = found[:1] if found and found[0].startswith("%Y") else found
        if len(found) == 1:
            ways.setdefault(found[0], []).append(value)
        elif found:
            unclear.append((found, value))
    for found, value in unclear:
        ways.setdefault(next((way for way in ways if way in found), found[0]), []).append(value)
    return dict(sorted(ways.items(), key=lambda way: -len(way[1])))


def _note_other_spellings(look: Look, values: Sequence[str]) -> None:
    ways = _spellings(values)
    if len(ways) < 2:
        return
    read = next(iter(ways))
    some = [f"{len(times):,} as {times[0]!r}" for times in ways.values()]
    lost = len(values) - len(ways[read])
    look.notes.append(
        f"The times of {len(values):,} rows are written in {len(ways)} ways, {', '.join(some[:4])}: only one way can "
        f"be read, so {counted(lost, 'row')} at least would be lost; write all of them one way."
    )


def _span(values: Sequence[str], time_format: str) -> timedelta:
    times = [parsed(value, time_format) for value in values if fits(value, time_format)]
    return max(times) - min(times)


def _before_2000(look: Look, found: dict[str, Any]) -> bool:
    values = look.values(look.roles["time"])
    form, unit = found.get("time_format"), found.get("time_unit")
    if form is not None:
        old = [1990 <= parsed(value, form).year < 2000 for value in values if fits(value, form)]
    elif unit == "iso8601":
        old = [ISO.fullmatch(value.strip()) is not None and "1990" <= value.strip() < "2000" for value in values]
    else:
        times = [(number(value) or 0) / UNITS[unit] for value in values] if unit in UNITS else []
        old = [YEAR_1990 <= time < YEAR_2000 for time in times]
    return sum(old) > OLD * len(values)


def _rules(look: Look) -> list[dict[str, Any]]:
    """``keep`` for rows that are no sales: orders whose number begins with a letter, quantities below zero."""
    rules: list[dict[str, Any]] = []
    session = look.roles["session"]
    orders = look.values(session) if session in look.columns else []
    lettered = [value for value in orders if re.fullmatch("[A-Z][0-9]+", value)]
    first = {value[0] for value in lettered}
    numbers = sum(value.isdigit() for value in orders)
    below = {column: found for column in look.columns if (found := _below_zero(look, column))}
    if len(first) == 1 and numbers > len(lettered):
        letter = first.pop()
        about = f"{_with(lettered)} a {session} such as {lettered[0]}"
        if letter == "C":
            rules.append({"column": session, "not_prefix": letter})
            look.notes.append(f"{about}: `keep` takes them for cancelled.")
        else:
            look.notes.append(
                f'{about}: if they are no sales, leave them out with keep = [{{ column = "{session}", not_prefix = '
                f'"{letter}" }}].'
            )
    for column, values in below.items():
        whole = all((number(value) or 0) % 1 == 0 for value in look.values(column))
        rules.append({"column": column, "minimum": 1 if whole else 0})
        look.notes.append(f"{_with(values)} a {column} below zero: `keep` takes them for returns.")
    return rules


def _with(values: Sequence[str]) -> str:
    return f"{counted(len(values), 'row')} {'has' if len(values) == 1 else 'have'}"


def _below_zero(look: Look, column: str) -> list[str]:
    if plain(column) not in QUANTITIES:
        return []
    return [value for value in look.values(column) if (number(value) or 0) < 0]


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
