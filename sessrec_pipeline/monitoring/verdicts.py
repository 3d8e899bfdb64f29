"""What the checks said, for CI systems (JUnit XML) and for pull requests (Markdown).

What a check saw contains names of logs and items, so all of it is hostile text.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET

from sessrec_pipeline.text import printable

Outcome = Literal["passed", "warning", "FAILED", "could not run"]
LONGEST = 500
"""Characters of one line of the Markdown summary."""


@dataclass(frozen=True)
class Verdict:
    """What one check said."""

    asset: str
    check: str
    outcome: Outcome
    """warning: did not pass and has severity WARN; FAILED: did not pass and has severity ERROR."""
    expected: str
    """What must hold, a sentence."""
    seen: str
    """What was seen, or why the check could not run."""

    @property
    def red(self) -> bool:
        """Whether a CI job must fail on it."""
        return self.outcome in ("FAILED", "could not run")

    @property
    def sentence(self) -> str:
        """What must hold and what was seen instead."""
        return f"{self.expected} {'Could not run' if self.outcome == 'could not run' else 'Seen'}: {self.seen}"


def tally(verdicts: Sequence[Verdict]) -> str:
    """How many there are of each outcome: ``22 checks: 1 failed, 21 passed``."""
    counts = Counter(v.outcome for v in verdicts)
    names: dict[Outcome, str] = {
        "FAILED": "failed",
        "could not run": "could not run",
        "warning": "with a warning",
        "passed": "passed",
    }
    parts = [f"{counts[outcome]} {name}" for outcome, name in names.items() if counts[outcome]]
    return f"{len(verdicts)} check{'s' if len(verdicts) != 1 else ''}: {', '.join(parts)}"


def as_junit(verdicts: Sequence[Verdict]) -> bytes:
    """JUnit XML: a test case per check. A warning is a passed test case that says so in its system-out."""
    counts = Counter(v.outcome for v in verdicts)
    totals = {
        "tests": str(len(verdicts)),
        "failures": str(counts["FAILED"]),
        "errors": str(counts["could not run"]),
    }
    root = ET.Element("testsuites", {"name": "sessrec", **totals})
    suite = ET.SubElement(root, "testsuite", {"name": "sessrec check", **totals})
    for verdict in verdicts:
        case = ET.SubElement(
            suite, "testcase", {"classname": printable(verdict.asset), "name": printable(verdict.check)}
        )
        sentence = printable(verdict.sentence)
        if verdict.red:
            kind = "failure" if verdict.outcome == "FAILED" else "error"
            ET.SubElement(case, kind, {"message": sentence, "type": verdict.outcome}).text = sentence
        elif verdict.outcome == "warning":
            ET.SubElement(case, "system-out").text = f"warning: {sentence}"
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """A heading with the counts, and a line for each check that did not pass, the red ones first."""
    lines = [
        f"- **{v.outcome}** {_code(f'{v.asset} {v.check}')}: {_code(v.sentence)}"
        for v in sorted(verdicts, key=lambda v: not v.red)
        if v.outcome != "passed"
    ]
    return "\n".join([f"### sessrec check: {tally(verdicts)}", *([""] if lines else []), *lines]) + "\n"


def _code(text: str) -> str:
    """A code span, in which nothing is markup, a link or a person's name."""
    flat = " ".join(printable(text).split()).replace("`", "'")
    return f"`{flat if len(flat) <= LONGEST else flat[: LONGEST - 1] + '…'}`"
