from training_tables import fit, model_of

from sessrec_pipeline.models.counts.recent_popularity import CARD, MICROSECONDS_PER_DAY

SESSIONS = [["a", "a", "a"], ["b", "b"], ["c", "d", "c", "b"]]


def fitted(days: float, *times_in_days: list[float]) -> list[tuple[str, int, int]]:
    times = [[int(day * MICROSECONDS_PER_DAY) for day in session] for session in times_in_days]
    tables = fit(*CARD.tables, sessions=SESSIONS, times=times, recent_popularity={"days": days})
    table = tables[1]
    assert table["recent_rank"].to_pylist() == [1, 2, 3, 4]
    model, vocabulary = model_of(CARD, tables, days=days)
    assert model.n_items == 4
    assert vocabulary == table["item"].to_pylist()
    return [(row["item"], row["recent_events"], row["events"]) for row in table.to_pylist()]


def test_the_window_comes_first_and_the_rest_by_all_events() -> None:
    assert fitted(1, [1, 1, 1], [5, 5], [9, 9, 9.5, 9.5]) == [("c", 2, 2), ("b", 1, 3), ("d", 1, 1), ("a", 0, 3)]


def test_the_window_is_open_where_it_begins() -> None:
    """An event exactly one window before the last one is not in it."""
    found = fitted(0.5, [1, 1, 1], [9, 9], [9, 9, 9, 9.5])
    assert {item: recent for item, recent, _ in found} == {"a": 0, "b": 1, "c": 0, "d": 0}


def test_a_window_as_long_as_training_is_popularity() -> None:
    """Of the equals a and b, a was seen first."""
    assert [item for item, _, _ in fitted(100, [1, 1, 1], [5, 5], [9, 9, 9, 9])] == ["a", "b", "c", "d"]
