"""What docs/add-a-model.md shows is run as it stands: its two models, installed as a package of somebody else."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.settings import SyntheticSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-a-model.md").read_text(encoding="utf-8")
SESSREC = "from sessrec_pipeline.cli import main; main()"
FEED = """
models = ["time_weight", "fism"]
[synthetic]
sessions = 150
items = 50
days = 3
[time_weight]
half_life = 3.0
[fism]
n_epochs = 2
[training]
tuning_trials = 2
validate_epochs = true
[evaluation]
cutoffs = [5]
bootstrap_samples = 100
permutations = 1000
"""


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


MODEL, REST = PAGE.split("## One line")
ADDING, TRAINED = REST.split("## A model that is trained")
FILES = {
    "sessrec_time_weight": "\n\n".join(blocks(MODEL, "python")),
    "sessrec_fism": "\n\n".join(blocks(TRAINED, "python")),
}


def module(name: str) -> ModuleType:
    found = ModuleType(name)
    exec(compile(FILES[name], f"{name}.py", "exec"), found.__dict__)
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the page's files and its entry point, as pip leaves them there."""
    folder = tmp_path_factory.mktemp("site")
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    (project,) = blocks(ADDING, "toml")
    about = tomllib.loads(project)["project"]
    (group, entries), *others = about["entry-points"].items()
    assert not others
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), "fism = sessrec_fism:CARD"]
    info = folder / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder


def python(site: Path, *arguments: str, folder: Path = ROOT) -> str:
    """What a Python with the page's package prints."""
    path = os.pathsep.join([str(site), str(ROOT), str(ROOT / "benchmarks"), *sys.path])
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def test_the_formula_by_hand() -> None:
    model = module("sessrec_time_weight")
    settings = model.TimeWeightSettings(half_life=1)
    arrays = {
        "offsets": np.array([0, 1, 3, 3]),
        "columns": np.array([2, 0, 2], dtype=np.int32),
        "similarities": np.array([0.5, 0.25, 0.75]),
    }  # 0 is like 2, 1 like 0 and 2, 2 like none
    loaded = model.load(arrays, settings, ["a", "b", "c"], "cpu")
    after = loaded.score_last(Sessions.from_lists([[0, 1]]))[0]
    np.testing.assert_allclose(after, [0.25, 0, 0.5 * 0.5 + 0.75], atol=1e-8)
    assert after[1] > 0, "the rest follows by popularity"
    unpadded = model.load(arrays, model.TimeWeightSettings(half_life=1, padding=False), ["a", "b", "c"], "cpu")
    assert unpadded.score_last(Sessions.from_lists([[2]])).tolist() == [[0, 0, 0]]


def test_the_models_are_fitted_tuned_ranked_and_compared(site: Path, tmp_path: Path) -> None:
    (tmp_path / "sessrec.toml").write_text(FEED)
    write_logs(SyntheticSettings(sessions=150, items=50, days=3), tmp_path / "landing")
    told = python(site, "-c", SESSREC, "--home", str(tmp_path), "materialize")
    rows = {line.split()[0]: line for line in told.splitlines() if line.strip()}
    assert {"oracle", "popularity", "time_weight", "fism"} < set(rows)
    (board,) = (tmp_path / "lake" / "leaderboard" / "versions").glob("*.parquet")
    tuned = pd.read_parquet(board).set_index("model")["tuned"]
    assert all("2 trials" in tuned[name] for name in ("time_weight", "fism"))
    assert {path.name for path in (tmp_path / "lake").iterdir()} > {
        "similar_items",
        "time_weight_tuning",
        "fism_tuning",
        "fism_validation",
        "time_weight_rankings",
        "fism_rankings",
    }
    assert "Time weight CF" in (tmp_path / "reports" / "report.html").read_text(encoding="utf-8")
    item = str(pd.read_csv(next((tmp_path / "landing").glob("*.tsv")), sep="\t")["ItemId"].iloc[0])
    for name in ("time_weight", "fism"):
        command = ["--home", str(tmp_path), "recommend", "--model", name, "--items", item, "-k", "3"]
        assert len(python(site, "-c", SESSREC, *command).strip().splitlines()) >= 3


def test_the_python_api_has_the_model(site: Path, tmp_path: Path) -> None:
    logs = write_logs(SyntheticSettings(sessions=150, items=50, days=3), tmp_path / "logs")
    log = pd.concat([pd.read_csv(path, sep="\t") for path in logs])
    log.columns = pd.Index(["session", "item", "time"])
    log.assign(time=pd.to_datetime(log["time"], unit="s")).to_parquet(tmp_path / "events.parquet")
    (script,) = blocks(ADDING, "python")
    told = python(site, "-c", f"{script}\nprint(board[['model', 'recall_at_20']])", folder=tmp_path)
    assert told.count("half_life=") == 2


def test_the_models_keep_the_contract(site: Path) -> None:
    """That of every registered model, the page's among them."""
    contract = ROOT / "tests" / "models" / "test_every_model.py"
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "-k", "time_weight or fism"]
    told = python(site, "-m", "pytest", *options, str(contract))
    assert int(re.findall(r"(\d+) passed", told)[0]) > 50


def test_the_file_needs_torch_only_to_train(site: Path) -> None:
    told = python(site, "-c", "import sys, sessrec_fism, sessrec_time_weight; print('torch' in sys.modules)")
    assert told.strip() == "False"
