#!/bin/sh
# Makes tests/storage/old_home.zip: a small home as commit 6fa17d6 left it, before versions were kept.
# Run it at the root of the repository, with an environment that has the dependencies of that commit.
set -e
root=$PWD work=$(mktemp -d)
git archive 6fa17d6 | tar -x -C "$work" --one-top-level=code
mkdir -p "$work/home/landing"
cat > "$work/home/sessrec.toml" <<'TOML'
models = ["popularity", "markov", "gru4rec"]

[gru4rec]
layers = [4]
n_epochs = 1
n_sample = 4
batch_size = 4
TOML
cd "$work/code"
export PYTHONPATH="$work/code" SESSREC_HOME="$work/home"
python - <<'PYTHON'
import os
from pathlib import Path

for day in range(2):
    times = [(s, k, 1767225600 + day * 86_400 + 300 * s + k) for s in range(20) for k in range(1, 5)]
    rows = [f"{day}-{s}\t{(s * k) % 9}\t{time}\n" for s, k, time in times]
    Path(os.environ["SESSREC_HOME"], "landing", f"day{day}.tsv").write_text("SessionId\tItemId\tTime\n" + "".join(rows))
PYTHON
python -c 'from sessrec_pipeline.cli import main; main()' materialize leaderboard
python - <<'PYTHON'
"""A further seed's checkpoint, as `sessrec reproduce` keeps it, and a page."""
from sessrec_pipeline.reproduce import SeedStore
from sessrec_pipeline.settings import load_settings
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import Store

settings = load_settings()
store = Store(settings)
first = store.find("gru4rec_checkpoint")
seed = settings.gru4rec.model_copy(update={"seed": 43})
SeedStore(settings.model_copy(update={"gru4rec": seed})).publish(
    "gru4rec_checkpoint", first.checkpoint(), parents=[first.lineage]
)
store.publish("report", Page("<html></html>"), parents=[store.find("leaderboard").lineage])
PYTHON
cd "$work/home"
rm -rf dagster scratch training warehouse.duckdb*
rm -f "$root/tests/storage/old_home.zip"
python -m zipfile -c "$root/tests/storage/old_home.zip" *
rm -r "$work"
