"""Rankings in shards: the same tables as in one piece, whatever ranks which shard and when."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from assets import runs
from assets.checks import result_checks
from assets.graph import build
from assets.io_manager import SECONDS
from assets.runs import execute, materialize_all, rebuild_of
from assets.staleness import out_of_date
from sessrec_pipeline.evaluation.memory import BYTES_HELD
from sessrec_pipeline.evaluation.shards import COUNTS
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.models.counts.markov import MarkovSettings
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.settings import SyntheticSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Store

pytestmark = pytest.mark.usefixtures("no_drawings")

SMALL = SyntheticSettings(sessions=150, items=50, days=2)
QUICK = GRU4RecSettings(layers=[8], n_epochs=1, n_sample=16, batch_size=16)
MODELS = ["markov", "gru4rec"]
RANKED = [*MODELS, "popularity"]
Whole = tuple[dict[str, str], list[dict[str, object]]]
"""Content hashes of the rankings, and the rows of the metrics."""


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def make(home: Path, shards: int, **evaluation: object) -> FeedSettings:
    evaluation = {"shards": shards, "bootstrap_samples": 100, "permutations": 1000} | evaluation
    return FeedSettings(home=home, models=MODELS, gru4rec=QUICK, evaluation=evaluation)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def whole(home: Path, instance: dg.DagsterInstance) -> Whole:
    """The feed ranked in one piece."""
    settings = make(home, 1)
    write_logs(SMALL, settings.landing)
    assert materialize_all(settings, instance).success
    return versions(settings), metrics(settings)


def versions(settings: FeedSettings) -> dict[str, str]:
    store = Store(settings)
    return {name: store.find(f"{name}_rankings").node.data_version for name in RANKED}


def metrics(settings: FeedSettings) -> list[dict[str, object]]:
    return Store(settings).find("metrics").arrow().drop_columns("rankings").to_pylist()


def files(settings: FeedSettings, asset: str) -> set[str]:
    return set(Store(settings).partitions(asset))


def rank_shard(settings: FeedSettings, shard: str) -> bool:
    """As another process would: with an instance and definitions of its own."""
    with dg.DagsterInstance.ephemeral() as instance:
        return execute(build(settings).resolve_job_def("rank"), instance, partition_key=shard).success


def rank(settings: FeedSettings, instance: dg.DagsterInstance) -> set[str]:
    """What is late of shards, rankings and metrics, made by the job that makes everything; their names."""
    names = {name for name in late(settings) if name.endswith(("_shards", "_counts", "_rankings")) or name == "metrics"}
    job = build(settings).resolve_job_def("rebuild")
    assert execute(job, instance, asset_selection=[dg.AssetKey(name) for name in names]).success
    return names


def late(settings: FeedSettings) -> set[str]:
    logs = [path.name for path in settings.landing.iterdir()]
    return {key.to_user_string() for key in out_of_date(build(settings).resolve_asset_graph(), Store(settings), logs)}


def test_shards_give_the_same_tables(home: Path, whole: Whole, instance: dg.DagsterInstance) -> None:
    settings = make(home, 3)
    outcome = materialize_all(settings, instance)
    assert outcome.success, outcome.failed
    assert (versions(settings), metrics(settings)) == whole
    assert materialize_all(settings, instance).rebuilt == []
    store = Store(settings)
    for model in RANKED:
        merged = store.find(f"{model}_rankings")
        parts = [store.find(f"{model}_ranking_shards", str(shard)) for shard in range(3)]
        assert set(merged.node.parents) == {part.node.id for part in parts}
        assert merged.stats[SECONDS] == sum(float(part.stats[SECONDS]) for part in parts)
        assert {part.stats[BYTES_HELD] for part in parts} == {merged.stats[BYTES_HELD]}
        assert {"test_split", "landing"} <= {node.asset for node in merged.lineage.ancestors}
        assert min(part.node.rows or 0 for part in parts) > 0


def test_shards_can_be_ranked_by_any_process_in_any_order(
    home: Path, whole: Whole, instance: dg.DagsterInstance
) -> None:
    settings = make(home, 4)
    assert all(rank_shard(settings, shard) for shard in ("2", "0", "3", "1"))
    assert not {name for name in late(settings) if name.endswith(("_shards", "_counts"))}
    assert "markov_ranking_shards" not in rank(settings, instance)
    assert (versions(settings), metrics(settings)) == whole


def test_a_cut_into_fewer_leaves_nothing_of_the_cut_into_more(
    home: Path, whole: Whole, instance: dg.DagsterInstance
) -> None:
    for shards in (3, 2):
        settings = make(home, shards)
        rank(settings, instance)
        for asset in ("markov_ranking_shards", "markov_rank_counts"):
            assert files(settings, asset) == {str(shard) for shard in range(shards)}
        assert (versions(settings), metrics(settings)) == whole
    settings = make(home, 1)
    rank(settings, instance)
    assert not files(settings, "markov_ranking_shards") and not files(settings, "markov_rank_counts")
    assert (versions(settings), metrics(settings)) == whole


def test_shards_of_another_cut_or_model_are_not_merged(home: Path, whole: Whole, instance: dg.DagsterInstance) -> None:
    merge = [dg.AssetKey("markov_rankings")]

    def refused(settings: FeedSettings) -> str:
        rebuild = build(settings).resolve_job_def("rebuild")
        result = execute(rebuild, instance, asset_selection=merge)
        return "" if result.success else runs._failures(result)["markov_rankings"]

    rank(make(home, 3), instance)
    assert "[0] is one of 3, not of 2 shards; materialize markov_ranking_shards again" in refused(make(home, 2))
    assert "markov_ranking_shards[3] is not there yet" in refused(make(home, 4))
    other = make(home, 3, top_items=30)
    assert rank_shard(other, "1")
    assert "markov_ranking_shards[1] was ranked with other inputs, settings or code" in refused(other)
    assert versions(make(home, 3)) == whole[0], "what was merged before stays"
    rank(make(home, 3), instance)


def test_lost_counts_are_made_with_their_shards(home: Path, whole: Whole, instance: dg.DagsterInstance) -> None:
    settings = make(home, 3)
    rank(settings, instance)
    Store(settings).find("markov_rank_counts", "1").path.unlink()
    assert rank(settings, instance) == {"markov_ranking_shards", "markov_rank_counts"}
    assert not late(settings) & {"markov_rankings", "metrics"}


def test_a_check_sums_the_counts(home: Path, whole: Whole, instance: dg.DagsterInstance) -> None:
    settings, store = make(home, 3), Store(make(home, 3))
    rank(settings, instance)
    (check,) = [checks for checks in result_checks(settings) if "shards_add_up" in str(checks.check_specs)]
    assert check(store=store).passed
    counts = store.find("markov_rank_counts", "1")
    rows = counts.arrow().to_pylist()
    rows[0]["predictions"] += 1
    store.publish("markov_rank_counts", Table(pa.Table.from_pylist(rows, COUNTS)), partition="1")
    assert not check(store=store).passed
    store.restore("markov_rank_counts", counts.node.data_version, "1")
    assert check(store=store).passed


def test_changed_shards_are_ranked_and_merged_in_one_run(
    home: Path, whole: Whole, instance: dg.DagsterInstance
) -> None:
    settings = make(home, 2)
    rank(settings, instance)
    other = settings.model_copy(update={"markov": MarkovSettings(alpha=0.5)})
    graph, store = build(other).resolve_asset_graph(), Store(other)
    late = out_of_date(graph, store, list(store.partitions("raw_sessions")))
    names = {key.to_user_string() for key in late}
    assert {"markov_checkpoint", "markov_ranking_shards", "markov_rank_counts", "markov_rankings"} <= names
    before = store.find("markov_ranking_shards", "1").node.id
    assert execute(rebuild_of(build(other), late), instance).success
    assert out_of_date(graph, store, list(store.partitions("raw_sessions"))) == []
    assert store.find("markov_ranking_shards", "1").node.id != before


def test_one_shard_is_the_graph_as_it_was(home: Path) -> None:
    def names(settings: FeedSettings) -> set[str]:
        return {node.key.to_user_string() for node in build(settings).resolve_asset_graph().asset_nodes}

    added = names(make(home, 2)) - names(make(home, 1))
    assert added == {f"{model}{suffix}" for model in RANKED for suffix in ("_ranking_shards", "_rank_counts")}
    assert [job.name for job in build(make(home, 1)).jobs or ()] == ["ingest", "rebuild", "studies", "checks"]
