"""Ids that a program spoilt, that stand for nothing, or that only look as if they differed."""

import json
import unicodedata

from sessrec_pipeline.quality.rule import EXAMPLES, Evidence, Finding, part, shown
from sessrec_pipeline.text import N_, Said

SCIENTIFIC = r"[0-9](?:[.,][0-9]+)?[eE]\+[0-9]{1,3}"
"""What spreadsheets, R and Python make of long numbers. Product codes such as 15E2 have no plus sign."""
ROUNDED = "[1-9][0-9]{14}0+"
"""What spreadsheets make of whole numbers of more than 15 digits, and of one in ten of all that have 16."""
MOST_ROUNDED, ROUNDED_BY_CHANCE = 0.95, 20
"""Numbers were rounded where nearly all long ones look so, or so many times more than would by chance."""
THOUSANDS = "[1-9][0-9]{0,2}(?:[.,' \u00a0\u2019\u202f][0-9]{3})+"
"""Whole numbers as spreadsheets show them."""
NOTHING = (
    *(
        "",
        "#n/a",
        "#null!",
        "#ref!",
        "#value!",
        "-",
        "--",
        "?",
        "\\n",
        "anon",
        "anonymous",
        "empty",
        "guest",
        "missing",
    ),
    *("n.a.", "n/a", "na", "nan", "nat", "nil", "no session", "no_session", "none", "not available", "not provided"),
    *("not set", "not_set", "null", "object object", "undefined", "unknown"),
    *(uuid for digit in "0f" for uuid in (digit * 32, "-".join(digit * n for n in (8, 4, 4, 4, 12)))),
)
"""What stands for "no id" in exports, in small letters and without brackets around it."""
NUMBERS = ("0", "-1")
"""What may do so too: where ids are not numbered (1 and 2 do not occur)."""
SHAPELESS = {
    chr(code)
    for first, last in (
        *((0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2800, 0x2800), (0x3164, 0x3164)),
        *((0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xE0100, 0xE01EF)),
    )
    for code in range(first, last + 1)
}
"""Letters, marks and selectors that nobody sees, besides control and format characters."""
FEWEST_IDS = 5
"""Of fewer ids that are a session's and an item's nothing is said."""
CODES = "[a-z][0-9]*[A-Z]"
"""In most ids of a column where capitals are part of a code, as in base 64."""

SCIENTIFIC_IDS = {
    "session": N_("{part} have the session id in scientific notation"),
    "item": N_("{part} have the item id in scientific notation"),
    "": N_("{part} have an id in scientific notation"),
}
ROUNDED_IDS = {
    "session": N_("{part} have a session id of more than 15 digits that are zeros from the 16th on"),
    "item": N_("{part} have an item id of more than 15 digits that are zeros from the 16th on"),
}
SEPARATED_IDS = {
    "session": N_("{part} have a session id with a separator before each three digits"),
    "item": N_("{part} have an item id with a separator before each three digits"),
    "": N_("{part} have an id with a separator before each three digits"),
}
UNREADABLE_IDS = {
    "session": N_("{part} have a character that could not be read (U+FFFD) in the session id"),
    "item": N_("{part} have a character that could not be read (U+FFFD) in the item id"),
    "": N_("{part} have a character that could not be read (U+FFFD) in an id"),
}
NO_IDS = {
    "session": N_("{part} have a word for nothing as session id"),
    "item": N_("{part} have a word for nothing as item id"),
    "": N_("{part} have a word for nothing as an id"),
}
TAKEN_FOR_ONE = {
    "session": N_("all of them are taken for one session; leave such rows out, with {setting}"),
    "item": N_("all of them are taken for one item; leave such rows out, with {setting}"),
}
ALIKE = {
    "session": N_("{part} are on session ids that differ from another one by nothing that can be seen or is meant"),
    "item": N_("{part} are on item ids that differ from another one by nothing that can be seen or is meant"),
    "": N_("{part} are on ids that differ from another one by nothing that can be seen or is meant"),
}
"""What is found, by the kind of id."""


def scientific(evidence: Evidence, threshold: float) -> Finding:
    """Events with an id such as 4.46E+07, or 8672365521191820000 where all have zeros from the 16th digit on."""
    advice = N_("a program has rounded the column {column}, and made one id of many; export it as text")
    _make_ids(evidence)
    kinds = evidence.rows(
        f"SELECT kind FROM (SELECT DISTINCT kind, id FROM ids) GROUP BY kind HAVING {are_rounded('id')} ORDER BY kind"
    )
    if kinds:
        condition = f"kind IN ({', '.join(repr(kind) for (kind,) in kinds)}) AND {is_rounded_id('id')}"
        found = _spoilt(evidence, threshold, ROUNDED_IDS, advice, condition)
        if found.broken:
            return found
    condition = "id LIKE '%+%' AND REGEXP_FULL_MATCH(id, $pattern)"
    return _spoilt(evidence, threshold, SCIENTIFIC_IDS, advice, condition, pattern=SCIENTIFIC)


def is_rounded_id(column: str) -> str:
    """SQL: whether an id may be a whole number of which 15 digits are left."""
    return f"REGEXP_FULL_MATCH({column}, '{ROUNDED}')"


def are_rounded(column: str) -> str:
    """SQL of an aggregate over different ids: whether a program has kept 15 digits of the longer ones alone.

    By chance one id of 16 digits in ten ends so, and one of 19 digits in 10,000. The 15th digit tells rounded numbers
    from those that have had zeros at their end all along, such as times: nine in ten of them have another one there.
    """
    rounded = is_rounded_id(column)
    long = f"REGEXP_FULL_MATCH({column}, '[1-9][0-9]{{15,}}')"
    n = f"COUNT(*) FILTER ({rounded})"
    return (
        f"COALESCE(SUM(LENGTH({column}) - 15) FILTER ({rounded}), 0) >= 4 "
        f"AND ({n} >= {MOST_ROUNDED} * COUNT(*) FILTER ({long}) "
        f"OR {n} >= 3 + {ROUNDED_BY_CHANCE} * SUM(POW(10.0, 15 - LENGTH({column}))) FILTER ({long})) "
        f"AND COUNT(*) FILTER ({rounded} AND SUBSTR({column}, 15, 1) <> '0') >= {n} / 2"
    )


def separated(evidence: Evidence, threshold: float) -> Finding:
    """Events with an id such as 12.000: a whole number with its thousands apart, or one with three decimals."""
    advice = N_(
        "the column {column} was written with thousands apart (12.000 for 12000) or with three decimals; such an id is "
        "kept as it stands, and is another one than 12000 or 12; export whole numbers without a separator"
    )
    return _spoilt(evidence, threshold, SEPARATED_IDS, advice, "REGEXP_FULL_MATCH(id, $pattern)", pattern=THOUSANDS)


def unreadable(evidence: Evidence, threshold: float) -> Finding:
    """Events with an id in which a program has put U+FFFD for bytes that it could not read."""
    advice = N_(
        "a program has read the column {column} in the wrong encoding, and several ids may have become one; export the "
        "log again, in UTF-8"
    )
    return _spoilt(evidence, threshold, UNREADABLE_IDS, advice, "CONTAINS(id, $character)", character="\ufffd")


def _spoilt(
    evidence: Evidence, threshold: float, seen: dict[str, str], advice: str, condition: str, **values: str
) -> Finding:
    _make_ids(evidence)
    kind, count, total, examples = evidence.row(
        "SELECT kind, COALESCE(SUM(events) FILTER (wrong), 0) AS count, SUM(events), LIST(id ORDER BY id) "
        f"FILTER (wrong) FROM (SELECT *, {condition} AS wrong FROM ids) "
        "GROUP BY kind ORDER BY count DESC, kind LIMIT 1",
        **values,
    )
    return Finding(
        count > threshold * total,
        Said(seen[kind if count else ""], part=part(count, total)),
        [shown(text) for text in examples or ()],
        Said(advice, column=repr(_column(evidence, kind))),
    )


def nothing(evidence: Evidence, threshold: float) -> Finding:
    """Events whose session or item is a word for "none"."""
    _make_ids(evidence)
    marked = evidence.rows(
        "WITH marked AS (SELECT *, LOWER(TRIM(id, ' ()[]<>{}\"''')) AS plain FROM ids), "
        "numbered AS (SELECT kind FROM ids WHERE id IN ('1', '2') GROUP BY kind HAVING COUNT(DISTINCT id) = 2) "
        "SELECT kind, id, SUM(events) FROM marked WHERE plain IN (SELECT UNNEST($words)) OR "
        "(plain IN (SELECT UNNEST($numbers)) AND kind NOT IN (FROM numbered)) "
        "GROUP BY kind, id ORDER BY SUM(events) DESC, id",
        words=list(NOTHING),
        numbers=list(NUMBERS),
    )
    total = _events(evidence)
    counts = {kind: sum(n for k, _, n in marked if k == kind) for kind in ("session", "item")}
    kind = max(counts, key=lambda name: counts[name])
    words = [text for k, text, _ in marked if k == kind]
    column = json.dumps(_column(evidence, kind), ensure_ascii=False)
    rule = f"{{ column = {column}, not_one_of = {json.dumps(words[:EXAMPLES], ensure_ascii=False)} }}"
    return Finding(
        counts[kind] > threshold * total,
        Said(NO_IDS[kind if words else ""], part=part(counts[kind], total)),
        [shown(text) for text in words],
        Said(TAKEN_FOR_ONE[kind], setting=f"[logs] keep = [{rule}]"),
    )


def lookalikes(evidence: Evidence, threshold: float) -> Finding:
    """Events on the rarer spellings of ids that differ by nothing that a person would see or mean."""
    _make_ids(evidence)
    odd = [text for (text,) in evidence.rows("SELECT DISTINCT id FROM ids WHERE NOT REGEXP_FULL_MATCH(id, '[!-~]*')")]
    found = evidence.rows(
        "WITH folded AS (SELECT UNNEST($odd) AS odd, UNNEST($folded) AS folded), "
        "coded AS (SELECT kind FROM ids GROUP BY kind HAVING AVG(REGEXP_MATCHES(id, $codes)::INT) > 0.5), "
        "seen AS (SELECT kind, id, events, LTRIM(TRIM(COALESCE(folded, id), $around), '+=') AS seen FROM ids "
        "LEFT JOIN folded ON odd = id), "
        "folds AS (SELECT kind, id, events, CASE WHEN kind IN (FROM coded) THEN seen ELSE LOWER(seen) END AS fold "
        "FROM seen), "
        # 7.0 and 007 are 7
        "numbers AS (SELECT kind, id, SUM(events) AS events, COALESCE(NULLIF(LTRIM("
        "REGEXP_EXTRACT(fold, '^([0-9]+)([.](0|00|0000+))?$', 1), '0'), ''), fold) AS fold FROM folds "
        "GROUP BY kind, id, fold), "
        "alike AS (SELECT kind, SUM(events) - MAX(events) AS rarer, LIST(id ORDER BY events DESC, id) AS spelled "
        "FROM numbers GROUP BY kind, fold HAVING COUNT(*) > 1) "
        "SELECT kind, SUM(rarer), LIST(spelled[:2] ORDER BY rarer DESC, spelled)[:3] FROM alike GROUP BY kind",
        odd=odd,  # bound, for DuckDB would load pandas to read a table of Arrow's
        folded=[fold(text) for text in odd],
        codes=CODES,
        around="{}\"'",
    )
    total = _events(evidence)
    kind, rarer, pairs = max(found, key=lambda row: (row[1], row[0]), default=("item", 0, []))
    return Finding(
        rarer > threshold * total,
        Said(ALIKE[kind if rarer else ""], part=part(rarer, total)),
        [Said(N_("{one} and {other}"), one=shown(one), other=shown(other)) for one, other in pairs],
        Said(
            N_(
                "capitals, leading zeros, a trailing .0, quotes, braces, invisible or compatibility characters make "
                "several ids of one; write the column {column} one way in all logs"
            ),
            column=repr(_column(evidence, kind)),
        ),
    )


def swapped(evidence: Evidence, threshold: float) -> Finding:
    """Logs whose sessions are the items of the others: they have the two columns under each other's name."""
    _make_ids(evidence)
    ((both,),) = evidence.rows(
        "SELECT COUNT(*) FROM (SELECT id FROM ids WHERE kind = 'session' INTERSECT "
        "SELECT id FROM ids WHERE kind = 'item')"
    )
    found = []
    if both >= FEWEST_IDS:  # in most feeds none is both, and nothing is to be done
        found = evidence.rows(
            "WITH sessions AS (SELECT DISTINCT log, session AS id FROM events), "
            "items AS (SELECT DISTINCT log, item AS id FROM events), "
            "known AS (SELECT id, COUNT(*) AS logs, MIN(log) AS log FROM items GROUP BY id), "
            "taken AS (SELECT s.log, COUNT(*) AS n, COUNT(*) FILTER (logs > 1 OR k.log <> s.log) AS as_items "
            "FROM sessions AS s LEFT JOIN known AS k ON s.id = k.id GROUP BY s.log), "
            "own AS (SELECT i.log, AVG(CAST(logs > 1 AS INT)) AS share FROM items AS i JOIN known AS k "
            "ON i.id = k.id GROUP BY i.log) "
            "SELECT t.log, as_items, n FROM taken AS t JOIN own AS o ON t.log = o.log "
            "WHERE as_items >= $fewest AND as_items >= $threshold * n AND share < as_items / n / 2 "
            "ORDER BY as_items DESC, t.log",
            fewest=FEWEST_IDS,
            threshold=threshold,
        )
    if not found:
        return Finding(False, "no log has the items of the others as its sessions")
    log, as_items, sessions = found[0]
    return Finding(
        True,
        Said(
            N_("in {log} {part} are items of other logs, and its items are not")
            if len(found) == 1
            else N_("{n} logs have items of other logs as their sessions: in {log} it is {part}"),
            n=f"{len(found):,}",
            log=shown(log),
            part=part(as_items, sessions, N_("session ids")),
        ),
        [],
        Said(
            N_(
                "the columns {session} and {item} stand under each other's name there; swap them and land the log "
                "again, or take it out with `sessrec withdraw`"
            ),
            session=repr(_column(evidence, "session")),
            item=repr(_column(evidence, "item")),
        ),
    )


def fold(text: str) -> str:
    """What is left of an id without compatibility forms and characters that cannot be seen."""
    plain = unicodedata.normalize("NFKC", text)
    seen = "".join(c for c in plain if unicodedata.category(c) not in ("Cc", "Cf") and c not in SHAPELESS)
    return " ".join(seen.split())


def _make_ids(evidence: Evidence) -> None:
    """Make ``ids`` (kind, id, events): every item id once, every session id once for each session that has it."""
    session = "log, session" if evidence.settings.logs.session_scope == "log" else "session"
    evidence.connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS ids AS "
        f"SELECT 'session' AS kind, session AS id, COUNT(*) AS events FROM events GROUP BY {session} "
        "UNION ALL SELECT 'item', item, COUNT(*) FROM events GROUP BY item"
    )


def _events(evidence: Evidence) -> int:
    return int(evidence.row("SELECT COUNT(*) FROM events")[0])


def _column(evidence: Evidence, kind: str) -> str:
    return evidence.settings.logs.session if kind == "session" else evidence.settings.logs.item
