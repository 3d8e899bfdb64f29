"""What is installed is what was looked at: pinned by hash, audited for real, and run in CI with the least rights."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
MAKEFILE = (PROJECT / "Makefile").read_text()
LOCKS = ["constraints.txt", "requirements/run.txt", "requirements/audit.txt"]


def entries(text: str) -> dict[str, tuple[str, int]]:
    """Name to version and number of hashes."""
    found = {}
    for entry in re.split(r"(?<!\\)\n", text.strip()):
        if not entry.startswith("#"):
            match = re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", entry)
            assert match, entry
            found[match[1].lower().replace("_", "-").replace(".", "-")] = match[2], entry.count("--hash=sha256:")
    return found


def locked(name: str) -> dict[str, tuple[str, int]]:
    return entries((PROJECT / name).read_text())


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_by_its_hashes(name: str) -> None:
    assert len(locked(name)) > 40 and all(hashes for _, hashes in locked(name).values())


def test_all_that_the_project_asks_for_is_locked_in_one_version() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    everything, run = locked("constraints.txt"), locked("requirements/run.txt")
    assert run.items() <= everything.items()
    for names, lock in (
        (project["project"]["dependencies"], run),
        (project["project"]["optional-dependencies"]["dev"], everything),
        (project["dependency-groups"]["audit"], locked("requirements/audit.txt")),
    ):
        asked = {re.split(r"[><=\[]", name)[0].lower().replace("_", "-") for name in names} - {"sessrec-pipeline"}
        assert asked <= set(lock)


def test_make_installs_by_hash_and_audits_for_real() -> None:
    installs = re.findall(r"^\t.*\$\((?:INSTALL|AUDIT)\)(?:/pip install)? (.*)$", MAKEFILE, re.MULTILINE)
    assert sum("--require-hashes" in install for install in installs if "requirement" in install) >= 2
    audits = re.findall(r"^\t.*/pip-audit (.*)$", MAKEFILE, re.MULTILINE)
    # Without it a package that could not be looked up is told of, and the exit code is 0.
    assert len(audits) == 2 and all("--strict" in audit and "--require-hashes" in audit for audit in audits)


@pytest.mark.parametrize("file", ["Makefile", "deploy/Dockerfile"])
def test_where_torch_is_built_elsewhere_nothing_but_it_and_cuda_is_left_out(file: str) -> None:
    (script,) = re.findall(r"sed (?:-i )?'(/\^.*d)' ", (PROJECT / file).read_text())
    script = script.replace("$$", "$")
    done = subprocess.run(["sed", script, str(PROJECT / "constraints.txt")], capture_output=True, text=True, check=True)
    left, all_of_them = entries(done.stdout), locked("constraints.txt")
    assert left.items() <= all_of_them.items()
    out = {name.partition("-")[0] for name in set(all_of_them) - set(left)}
    assert out == {"torch", "triton", "nvidia", "cuda"}


def test_the_workflow_has_the_least_rights() -> None:
    page = (PROJECT / "docs" / "ci.md").read_text()
    (workflow,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert "permissions:\n  contents: read\n" in workflow and workflow.count("permissions:") == 1
    assert "secrets" not in workflow and "write" not in workflow and "persist-credentials: false" in workflow
    actions = re.findall(r"uses: (.*)", workflow)
    assert len(actions) >= 3 and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action) for action in actions)
    assert "--require-hashes" in workflow
