"""Commands that show what was made: lineage, recommend."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sessrec_pipeline.cli.common import Failure, existing_feed, find_asset, print_table, shortened, store_of


@click.command()
@click.argument("asset")
@click.option("--all", "everything", is_flag=True, help="List every landed log, however many there are.")
@click.pass_obj
def lineage(home: Path | None, asset: str, everything: bool) -> None:
    """Which landed logs, splits, settings and code versions ASSET rests on; for metrics, row by row."""
    settings = existing_feed(home)
    store = store_of(settings)
    partitions = {f"{asset}[{key}]": stored for key, stored in store.partitions(asset).items()}
    found = partitions or {asset: find_asset(store, asset)}
    with store.warehouse.connect() as connection:
        targets = [(title, stored.node.id) for title, stored in found.items()]
        if asset in ("metrics", "leaderboard"):
            targets = [
                (f"{asset}: {count} rows of {model}", rankings)
                for model, rankings, count in zip(
                    *_columns_of(connection, f"SELECT model, rankings, COUNT(*) FROM {asset} GROUP BY ALL ORDER BY 1"),
                    strict=True,
                )
            ]
        for title, node in targets:
            click.echo(f"\n{title}")
            rows = connection.execute(
                "SELECT asset, partition_key, data_version, code_version, config, ancestor FROM lineage.origin "
                "WHERE id = $id ORDER BY asset = 'landing', asset, partition_key",
                {"id": node},
            ).fetchall()
            _print_origin(rows, everything)


def _columns_of(connection: Any, sql: str) -> list[tuple[Any, ...]]:
    return list(zip(*connection.execute(sql).fetchall(), strict=True)) or [(), (), ()]


def _print_origin(rows: Sequence[tuple[Any, ...]], everything: bool) -> None:
    logs = [r for r in rows if r[0] == "landing"]
    steps = [r for r in rows if r[0] != "landing" and (r[1] is None or everything)]
    print_table(
        ["  asset", "content", "code", "lineage id", "settings"],
        [
            [f"  {r[0]}{f'[{r[1]}]' if r[1] else ''}", r[2][:12], r[3], r[5], r[4] if everything else shortened(r[4])]
            for r in steps
        ],
    )
    shown = logs if everything or len(logs) <= 12 else [*logs[:5], *logs[-5:]]
    click.echo(f"  {len(logs)} landed logs" + ("" if len(shown) == len(logs) else " (--all lists them)"))
    print_table(["    log", "sha256"], [[f"    {r[1]}", r[2]] for r in shown])


@click.command()
@click.option("--items", required=True, help="Items of the session so far, oldest first, with commas between.")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many items to recommend.")
@click.option("--model", help="Model of this feed that answers; by default the best one on the leaderboard.")
@click.pass_obj
def recommend(home: Path | None, items: str, k: int, model: str | None) -> None:
    """The next items of an anonymous session."""
    settings = existing_feed(home)
    from sessrec_pipeline.feed import cards_of
    from sessrec_pipeline.logs.ids import id_text
    from sessrec_pipeline.training.fit import load_checkpoint

    store, cards = store_of(settings), {card.name: card for card in cards_of(settings)}
    if model is None:
        board = find_asset(store, "leaderboard").arrow(["model"])["model"].to_pylist()
        model = next(name for name in board if cards[name].kind == "model")
        click.echo(f"by {model}, the best on the leaderboard", err=True)
    if model not in cards:
        raise Failure(f"no model {model!r}; this feed has {', '.join(cards)}")
    card = cards[model]
    checkpoint = find_asset(store, card.checkpoint).checkpoint()
    recommender = load_checkpoint(card, checkpoint)  # on the CPU: one session is not worth waking a GPU for
    index = {item: i for i, item in enumerate(checkpoint.items)}
    session = [item for item in map(id_text, items.split(",")) if item]
    unknown = [item for item in session if item not in index]
    known = [index[item] for item in session if item in index]
    if unknown:
        click.echo(f"not in the catalogue, left out: {', '.join(unknown)}", err=True)
    if not known:
        raise Failure("none of these items occurs in the training sessions of this feed: nothing can be recommended")
    best, scores = recommender.top(known, k)
    rows = [
        [str(n), checkpoint.items[i], f"{score:.4f}"] for n, (i, score) in enumerate(zip(best, scores, strict=True), 1)
    ]
    print_table(["rank", "item", "score"], rows)
