"""What CI systems and pull requests are told, with names that try to break out of it."""

import re
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessrec_pipeline.monitoring.verdicts import Outcome, Verdict, as_junit, as_markdown, tally

HOSTILE = "a\x00b]]>&<script>\"'\r\n| `@team` #1 [x](http://evil) \x1b[31m\u202e"


def verdict(outcome: Outcome, check: str = "nothing_lost", seen: str = "rows_missing=3") -> Verdict:
    return Verdict("raw_sessions", check, outcome, "Rows in = rows out.", seen)


ALL = [
    verdict("passed", "a"),
    verdict("warning", "b"),
    verdict("FAILED", "c"),
    verdict("could not run", "d", "raw_sessions is not there yet"),
]

CASE_CHILDREN = {"passed": [], "warning": ["system-out"], "FAILED": ["failure"], "could not run": ["error"]}


def test_junit_has_a_test_case_per_check_in_the_form_that_ci_systems_read() -> None:
    root = ET.fromstring(as_junit(ALL))
    counts = {"tests": "4", "failures": "1", "errors": "1"}
    assert (root.tag, root.attrib) == ("testsuites", {"name": "sessrec", **counts})
    (suite,) = root
    assert (suite.tag, suite.attrib) == ("testsuite", {"name": "sessrec check", **counts})
    for case, told in zip(suite, ALL, strict=True):
        assert case.tag == "testcase"
        assert case.attrib == {"classname": "raw_sessions", "name": told.check}
        assert [child.tag for child in case] == CASE_CHILDREN[told.outcome]
    failure, error = suite[2][0], suite[3][0]
    assert failure.attrib == {"message": "Rows in = rows out. Seen: rows_missing=3", "type": "FAILED"}
    assert failure.text == failure.attrib["message"]
    assert error.attrib["message"] == "Rows in = rows out. Could not run: raw_sessions is not there yet"
    assert suite[1][0].text == "warning: Rows in = rows out. Seen: rows_missing=3"


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.text() | st.just(HOSTILE))
def test_junit_is_xml_whatever_the_logs_are_called(name: str) -> None:
    text = as_junit([Verdict(name, name, outcome, name, name) for outcome in ("warning", "FAILED", "could not run")])
    assert text.startswith(b"<?xml version='1.0' encoding='utf-8'?>\n")
    cases = list(ET.fromstring(text)[0])
    assert [len(case) for case in cases] == [1, 1, 1]
    assert not any(case[0].findall("*") for case in cases)


def test_markdown_tells_what_did_not_pass_red_ones_first() -> None:
    assert as_markdown(ALL).splitlines() == [
        "### sessrec check: 4 checks: 1 failed, 1 could not run, 1 with a warning, 1 passed",
        "",
        "- **FAILED** `raw_sessions c`: `Rows in = rows out. Seen: rows_missing=3`",
        "- **could not run** `raw_sessions d`: `Rows in = rows out. Could not run: raw_sessions is not there yet`",
        "- **warning** `raw_sessions b`: `Rows in = rows out. Seen: rows_missing=3`",
    ]
    assert as_markdown(ALL[:1]) == "### sessrec check: 1 check: 1 passed\n"


def test_nothing_in_a_name_is_markup() -> None:
    (line,) = as_markdown([verdict("FAILED", seen=HOSTILE + "x" * 2_000)]).splitlines()[2:]
    assert re.fullmatch(r"- \*\*FAILED\*\* `[^`]*`: `[^`\x00-\x1f\u202e]*`", line)
    assert len(line) < 600


def test_only_failed_checks_and_those_that_could_not_run_are_red() -> None:
    assert [v.red for v in ALL] == [False, False, True, True]
    assert tally(ALL[:2]) == "2 checks: 1 with a warning, 1 passed"
