"""A proposed ``[logs]`` from the look of a file: which column is what, the unit of time, the preset that fits."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sessrec_pipeline.logs.sniff import ISO, SURE, Look, number, plain
from sessrec_pipeline.settings import LogSettings, log_presets

NAMES: dict[str, tuple[str, ...]] = {
    "session": (
        *("session", "sessionid", "usersession", "sess", "visit", "visitid", "basket", "basketid", "order", "orderid"),
        *("invoiceno", "invoice", "visitorid", "visitor", "userid", "user", "customerid", "customer", "clientid"),
    ),
    "item": (
        *("item", "itemid", "aid", "product", "productid", "stockcode", "sku", "article", "articleid", "movieid"),
        *("trackid", "songid", "newsid", "contentid", "asin"),
    ),
    "time": (
        *("time", "timestamp", "ts", "eventtime", "datetime", "createdat", "eventdate", "date", "invoicedate"),
        *("unixtime", "eventtimestamp"),
    ),
    "time_offset": ("timeframe",),
    "event type": ("eventtype", "event", "type", "behavior", "behaviour", "action"),
}
"""Usual column names by role, letters and digits only, the likeliest first."""
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000}
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
        "time_unit": _unit_or_note(look),
        "events": look.events,
        **{role: look.roles.get(role) for role in ("session", "item", "time", "time_offset")},
    }
    preset = _preset(look, found)
    if preset is None:
        defaults = LogSettings()
        _note_event_types(look)
        if not look.header:
            look.notes.append("There is no header: which column is the session and which the item is a guess.")
        if _before_2000(look, found["time_unit"]):
            found["earliest_year"] = 1990
    else:
        defaults = LogSettings(preset=preset)
        if defaults.columns is not None:
            found = {}  # the names are the preset's own
        spelled = {plain(column): column for column in look.columns}
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


def _assign_roles(look: Look) -> None:
    for role, names in NAMES.items():
        columns = look.outer_columns if role == "session" and look.events is not None else look.columns
        by_name = [column for name in names for column in columns if plain(column) == name]
        if by_name:
            look.roles[role] = by_name[0]
    others = [column for column in look.columns if column not in look.roles.values()]
    times = [column for column in others if time_unit(look.values(column)) is not None]
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


def _unit_or_note(look: Look) -> str:
    values = look.values(look.roles["time"])
    unit = time_unit(values)
    if unit is not None or not values:
        return unit or "s"
    look.notes.append(
        f"The time {values[0]!r} is neither ISO 8601 nor seconds, milliseconds or microseconds since 1970: convert it, "
        'or set time_unit = "order" if it only says what came first.'
    )
    return "iso8601" if number(values[0]) is None else "order"


def _before_2000(look: Look, unit: str) -> bool:
    values = look.values(look.roles["time"])
    if unit == "iso8601":
        return any(value.strip() < "2000" for value in values)
    return unit in UNITS and any((number(value) or YEAR_2000) / UNITS[unit] < YEAR_2000 for value in values)


def _note_event_types(look: Look) -> None:
    kind = look.roles.get("event type")
    held = Counter(look.values(kind) if kind is not None else [])
    if 1 < len(held) <= 20:
        some = ", ".join(f"{value} ({n})" for value, n in held.most_common(5))
        look.notes.append(f"{kind} holds {some}: say with `keep` which of them are events.")


def _preset(look: Look, found: dict[str, Any]) -> str | None:
    """The preset that reads this file, if its columns bear other spellings of the same names at most."""
    has = {plain(column) for column in (*look.columns, *look.outer_columns)}
    for name in log_presets():
        settings = LogSettings(preset=name)
        if settings.format != look.format or (look.delimiter and settings.separator != look.delimiter):
            continue
        if settings.columns is not None:
            place = settings.columns.index(settings.time)
            same = not look.header and len(look.columns) == len(settings.columns)
            if same and look.roles["time"] == look.columns[place] and found["time_unit"] == settings.time_unit:
                return name
            continue
        roles = {"events": settings.events, "session": settings.session, "item": settings.item, "time": settings.time}
        same = all(plain(found[role] or "") == plain(column or "") for role, column in roles.items())
        if same and look.header and {plain(column) for column in settings.needed_columns} <= has:
            return name
    return None
