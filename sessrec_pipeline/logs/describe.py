"""``sessrec describe``: what a file looks like, the settings that would read it, and what would become of its rows."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from sessrec_pipeline.clock import moment
from sessrec_pipeline.logs.gate import LogRefusedError, check_name
from sessrec_pipeline.logs.ingest import ADVICE, Ingested, ingest_landed
from sessrec_pipeline.logs.parts import parts_of
from sessrec_pipeline.logs.propose import propose
from sessrec_pipeline.logs.readers import refuse_bomb
from sessrec_pipeline.logs.sniff import Look, look_at
from sessrec_pipeline.logs.unpack import PACKED, Compression, PackedDataError, compression_of_name, unpacked
from sessrec_pipeline.quality import Evidence, examine_log
from sessrec_pipeline.quality.rule import part as share_of
from sessrec_pipeline.settings import LogSettings, Settings, log_presets
from sessrec_pipeline.settings.base import in_words
from sessrec_pipeline.storage.files import passing_folder
from sessrec_pipeline.text import counted

MOST_BYTES = 64 << 20
"""Of unpacked text; of a longer file the first so many bytes are ingested, and of Parquet the first ``MOST_ROWS``."""
MOST_ROWS = 1_000_000
MUCH_LOST = 0.01
"""A larger share of rows in quarantine is warned of."""
PROPOSAL, READ_SO = "proposal for sessrec.toml:", "read so, "
"""What stands before and after the proposed settings."""
SHOWN = 72
"""Characters of a value or a line."""


def describe(path: Path) -> tuple[list[str], bool]:
    """The lines to print, and whether the proposed settings read the file; LogRefusedError where it is no file."""
    look = look_at(path)
    logs = propose(look) if look.columns else None
    lines = [_headline(path, look), ""]
    if look.columns:
        lines += [*_columns(look), ""]
    elif look.rows:
        lines += ["first lines:", *(f"  {_short(row[0])}" for row in look.rows), ""]
    lines += [f"note: {note}" for note in [*look.notes, _note_on_name(path)] if note is not None]
    readable = False
    if logs is None:
        lines.append("There is nothing to propose.")
    else:
        proposal, readable = _proposal(path, look, logs)
        lines += proposal
    return [_printable(line) for line in lines], readable


def proposed(lines: Sequence[str]) -> str | None:
    """The sessrec.toml among the lines of a description; None where nothing is proposed."""
    if PROPOSAL not in lines:
        return None
    rest = lines[lines.index(PROPOSAL) + 1 :]
    end = next((i for i, line in enumerate(rest) if line.startswith(READ_SO)), len(rest))
    return "\n".join(rest[:end]).strip() + "\n"


def _proposal(path: Path, look: Look, logs: dict[str, Any]) -> tuple[list[str], bool]:
    """The settings and what they would give; no settings where they would not read the file."""
    try:
        settings = LogSettings.model_validate(logs)
    except ValidationError as error:
        return [f"No settings are proposed: {in_words(error.errors()[0])}."], False
    trial, readable = _trial(path, look, settings)
    values = [f"{key} = {toml(value)}" for key, value in logs.items()]
    if not readable:
        return [f"No settings are proposed, for the likeliest ({', '.join(values)}) do not fit.", "", *trial], False
    lines = [PROPOSAL, "", "[logs]", *values, ""]
    if settings.preset is not None:
        lines.insert(0, f"preset {settings.preset}: {log_presets()[settings.preset]['source']}")
    return lines + trial, True


def _headline(path: Path, look: Look) -> str:
    form = {None: "unknown", "tsv": "TSV", "csv": "CSV", "jsonl": "JSON Lines", "parquet": "Parquet"}[look.format]
    about = [form if look.events is None else f"{form} with a session a line"]
    about += [look.compression] if look.compression != "none" else []
    about += [look.encoding] if look.encoding else []
    about += [f"delimiter {look.delimiter!r}"] if look.delimiter else []
    about += [f"{look.line_ends} line ends"] if look.line_ends else []
    if look.format in ("tsv", "csv"):
        about.append("a header line" if look.header else "no header line")
    return f"{path.name!r}: {', '.join(about)}; {look.size:,} bytes"


def _columns(look: Look) -> list[str]:
    roles = {column: role for role, column in look.roles.items()}
    rows = [("column", "seems to be", "first values")]
    if look.events is not None and "session" in look.roles:
        rows.append((look.roles["session"], "session", "(of the line)"))
    for column in look.columns:
        role = roles.get(column, "") if look.events is None or roles.get(column) != "session" else ""
        rows.append((_short(column), role, _short(" | ".join(look.values(column)[:3]))))
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return [f"{a:{widths[0]}}  {b:{widths[1]}}  {c}".rstrip() for a, b, c in rows]


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _printable(line: str) -> str:
    """A line that a terminal takes for nothing but text."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def toml(value: Any) -> str:
    """A setting's value as TOML: texts, numbers, lists and tables of them."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def _note_on_name(path: Path) -> str | None:
    try:
        check_name(path.name)
    except LogRefusedError as error:
        return str(error)
    return None


def _trial(path: Path, look: Look, settings: LogSettings) -> tuple[list[str], bool]:
    """Ingest the file, or the start of a long one, in a home that is gone afterwards."""
    with passing_folder("describe") as folder:
        sample = path
        try:
            lenient = settings.model_copy(update={"max_bad_share": 1})  # say all that is wrong before refusing
            home = Settings.model_validate({"home": folder, "logs": lenient})
            home.landing.mkdir()
            sample, part = _sample(path, look, home.landing, settings)
            ingested = ingest_landed(home, sample.name, lambda _: None)
            lines = [f"{READ_SO}{part}{path.name!r} would give:", *_outcome(home, ingested, sample, look)]
            counts = {name: int(ingested.events.stats[name]) for name in ("events", "quarantined")}
            left_out = sum(rows for rows, _ in ingested.left_out.values())
            if not counts["events"] and left_out:
                return [*lines, "and nothing would be left"], False
            if counts["quarantined"] <= settings.max_bad_share * sum(counts.values()):
                return lines, True
            share = f"more than max_bad_share = {settings.max_bad_share} of the rows"
            return [*lines, f"and would be refused: {share} cannot be read"], False
        except (ValueError, duckdb.Error, pa.ArrowException, OSError) as error:  # a refusal is a ValueError, too
            reason = str(error).partition("\n")[0].removeprefix(f"{sample.name}: ")
            return [f"{READ_SO}it would be refused: {reason}"], False


def _sample(path: Path, look: Look, landing: Path, settings: LogSettings) -> tuple[Path, str]:
    """The file as it would land, or the start of a long one, and words for how much of it that is."""
    suffix = PACKED[look.compression][0] if look.compression in PACKED else ""
    target = landing / (path.name if _note_on_name(path) is None else f"sample{suffix}")
    if look.format == "parquet":
        footers = [(part.path, pq.read_metadata(part.path)) for part in parts_of(path)]
        with duckdb.connect() as connection:  # of no home: the file is where it is
            refuse_bomb(path.name, footers, settings, lambda sql, file: _number(connection, sql, file))
        return _rows_of_parquet(path, target)
    head = landing / "sample.txt"
    with head.open("wb") as file:
        for chunk in _until_damaged(path, look.compression):
            file.write(chunk)
            if file.tell() >= MOST_BYTES:
                file.truncate(file.tell() - len(chunk) + chunk.rfind(b"\n") + 1)
                return head, f"the first {MOST_BYTES >> 20} MiB (unpacked) of "
    head.unlink()
    shutil.copyfile(path, target)
    return target, ""


def _number(connection: duckdb.DuckDBPyConnection, sql: str, file: str) -> int:
    (number,) = connection.execute(sql, {"file": file}).fetchall()[0]
    return int(number)


def _until_damaged(path: Path, compression: Compression) -> Iterator[bytes]:
    with suppress(PackedDataError):  # the gate will say it of the whole file
        yield from unpacked(path, compression)


def _rows_of_parquet(path: Path, target: Path) -> tuple[Path, str]:
    if path.is_dir():
        return _first_parts(path, target)
    file = pq.ParquetFile(path)
    if file.metadata.num_rows <= MOST_ROWS:
        shutil.copyfile(path, target)
        return target, ""
    with pq.ParquetWriter(target, file.schema_arrow) as writer:
        for batch in islice(file.iter_batches(MOST_ROWS // 10), 10):
            writer.write_batch(batch)
    return target, f"the first {MOST_ROWS:,} rows of "


def _first_parts(path: Path, target: Path) -> tuple[Path, str]:
    parts, rows = parts_of(path), 0
    for number, part in enumerate(parts, 1):
        copy = target / part.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part.path, copy)
        rows += pq.read_metadata(copy).num_rows
        if rows >= MOST_ROWS and number < len(parts):
            return target, f"the first {number:,} of {len(parts):,} parts of "
    return target, ""


def _outcome(home: Settings, ingested: Ingested, sample: Path, look: Look) -> list[str]:
    with duckdb.connect() as connection:
        for name, table in (("events", ingested.events), ("quarantine", ingested.quarantine)):
            connection.register(name, table.arrow())
        (rows, sessions, items, first, last), *_ = connection.execute(
            "SELECT COUNT(*), COUNT(DISTINCT session), COUNT(DISTINCT item), MIN(time), MAX(time) FROM events"
        ).fetchall()
        span = f", {moment(first)} to {moment(last)} UTC" if rows else ""
        lines = [f"  {counted(rows, 'event')} in {counted(sessions, 'session')} on {counted(items, 'item')}{span}"]
        shown = connection.execute("SELECT session, item, time FROM events ORDER BY line LIMIT 3").fetchall()
        lines += [f"    session {_short(s)}, item {_short(i)}, {moment(t)}" for s, i, t in shown]
        bad = connection.execute(
            "SELECT reason, COUNT(*), MIN(line), ARG_MIN(COALESCE(text, CONCAT_WS(' | ', session, item, time)), line) "
            "FROM quarantine GROUP BY reason ORDER BY COUNT(*) DESC, reason"
        ).fetchall()
        found = (
            [finding for _, finding in examine_log(Evidence(connection, home, {"events": ingested.events.stats}))]
            if rows
            else []
        )
    where = "in row" if look.format == "parquet" else "on line"
    texts = _lines_of(sample, look, {line for _, line in ingested.left_out.values()})
    lines.append(f"  {counted(sum(rows for rows, _ in ingested.left_out.values()), 'row')} left out by rule")
    for reason, (rows, line) in ingested.left_out.items():
        lines.append(f"    {rows:,} {reason}; the first {where} {line}: {_short(texts.get(line, ''))}")
    lines.append(f"  {counted(sum(rows for _, rows, *_ in bad), 'row')} quarantined")
    lines += [f"    {rows:,} {reason}; the first {where} {line}: {_short(text)}" for reason, rows, line, text in bad]
    lines += [f"    {reason}: {ADVICE[reason]}" for reason, *_ in bad if reason in ADVICE]
    lost = sum(n for _, n, *_ in bad)
    if lost > MUCH_LOST * (judged := int(ingested.events.stats["events"]) + lost):
        lines.append(f"warning: {share_of(lost, judged, 'rows')} would be lost, for they cannot be read")
    return lines + [f"warning: {finding.sentence}" for finding in found if finding.broken]


def _lines_of(sample: Path, look: Look, numbers: set[int]) -> dict[int, str]:
    """Lines of a text file by number; of a Parquet file, its rows."""
    if not numbers:
        return {}
    if look.format == "parquet":
        rows: dict[int, str] = {}
        before = 0
        for part in parts_of(sample):
            table = pq.ParquetFile(part.path).read()
            wanted = [n for n in sorted(numbers) if before < n <= before + len(table)]
            found_rows = table.take([n - 1 - before for n in wanted]).to_pylist()
            rows |= {n: " | ".join(map(str, row.values())) for n, row in zip(wanted, found_rows, strict=True)}
            before += len(table)
        return rows
    found: dict[int, str] = {}
    number, rest = 1, b""
    for chunk in unpacked(sample, compression_of_name(sample.name)):
        *lines, rest = (rest + chunk).split(b"\n")
        found |= {n: line.decode(errors="replace") for n, line in enumerate(lines, number) if n in numbers}
        number += len(lines)
    return found | ({number: rest.decode(errors="replace")} if number in numbers else {})
