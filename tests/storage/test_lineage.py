import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessrec_pipeline.storage.files import OtherVersionError
from sessrec_pipeline.storage.lineage import FORMAT, Lineage, Node, flat

NODE = Node("metrics", None, "c0ffee", "1-2", {"k": [5, 10]}, "duckdb 2", "run", "2026-11-01T00:00:00+00:00")


def node(asset: str, *parents: Lineage, **fields: Any) -> Lineage:
    ids = tuple(sorted(parent.node.id for parent in parents))
    return Lineage.of(replace(NODE, asset=asset, parents=ids, **fields), parents)


def test_the_id_is_stable() -> None:
    """A change of this value makes every stored artefact look new: do it knowingly."""
    assert NODE.id == replace(NODE).id == "2fa7d1b3e88d5bc6"
    assert len(NODE.id) == 16


@pytest.mark.parametrize(
    "change",
    [
        {"asset": "leaderboard"},
        {"partition": "a.tsv"},
        {"partition": ""},
        {"data_version": "c0ffef"},
        {"code_version": "1-3"},
        {"config": {"k": [5]}},
        {"config": {}},
        {"parents": ("0123456789abcdef",)},
    ],
)
def test_the_id_changes_with_content_and_origin(change: dict[str, Any]) -> None:
    assert replace(NODE, **change).id != NODE.id


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": "other"},
        {"created_at": "2027-01-01T00:00:00+00:00"},
        {"rows": 7},
        {"stats": {"n": 1}},
        {"engine": "x"},
    ],
)
def test_equal_work_has_the_same_id(change: dict[str, Any]) -> None:
    assert replace(NODE, **change).id == NODE.id


def test_the_order_of_settings_means_nothing() -> None:
    assert replace(NODE, config={"a": 1, "b": 2}).id == replace(NODE, config={"b": 2, "a": 1}).id


def test_fields_cannot_run_into_each_other() -> None:
    assert replace(NODE, asset="a\nb", partition="c").id != replace(NODE, asset="a", partition="b\nc").id
    assert replace(NODE, parents=("a", "b")).id != replace(NODE, parents=("ab",)).id


texts = st.text(max_size=12)
nodes = st.builds(
    Node,
    asset=texts,
    partition=st.none() | texts,
    data_version=texts,
    code_version=texts,
    config=st.dictionaries(texts, st.integers() | texts | st.lists(st.floats(allow_nan=False)) | st.none(), max_size=3),
    engine=texts,
    run_id=texts,
    created_at=texts,
    rows=st.none() | st.integers(0, 2**53),
    stats=st.dictionaries(texts, st.integers() | st.floats(allow_nan=False) | texts, max_size=3),
    parents=st.lists(texts, max_size=2).map(tuple),
)


@given(st.builds(Lineage, nodes, st.lists(nodes, max_size=2).map(tuple)))
def test_json_round_trip(lineage: Lineage) -> None:
    back = Lineage.from_json(lineage.to_json())
    assert back == lineage
    assert [n.id for n in back.nodes] == [n.id for n in lineage.nodes]


def test_settings_that_differ_in_the_order_of_their_keys_are_the_same() -> None:
    one, other = ({"keep": [{"column": "a", "minimum": 1}]}, {"keep": [{"minimum": 1, "column": "a"}]})
    assert list(flat(one)) == list(flat(other)) != list(flat({"keep": []}))


def test_a_lineage_carries_all_ancestors_once() -> None:
    logs = [node("landing", partition=name) for name in "ab"]
    raw = [node("raw", log, partition=log.node.partition) for log in logs]
    sessions = node("sessions", *raw, stats={"events_in": 9})
    train = node("train", sessions)
    test = node("test", sessions, train)

    assert sorted((n.asset, n.partition or "") for n in test.ancestors) == [
        ("landing", "a"),
        ("landing", "b"),
        ("raw", "a"),
        ("raw", "b"),
        ("sessions", ""),
        ("train", ""),
    ]
    assert test.nodes[-1] == test.node
    assert set(test.node.parents) == {sessions.node.id, train.node.id}
    known = {n.id for n in test.nodes}
    assert all(parent in known for n in test.nodes for parent in n.parents)


def test_counts_stay_in_their_own_artefact() -> None:
    parent = node("sessions", stats={"events_in": 9})
    child = node("train", parent, stats={"events": 5})
    assert child.node.stats == {"events": 5}
    assert child.ancestors == (replace(parent.node, stats={}),)


def rewritten(change: Callable[[dict[str, Any]], object], *, form: int = FORMAT) -> str:
    """The text of a lineage whose writer did something else, with a hash that is right."""
    value = json.loads(Lineage(NODE, (replace(NODE, asset="sessions"),)).to_json())
    del value["sha256"]
    change(value)
    if form == 1:
        del value["format"]
        return json.dumps(value)
    text = json.dumps(value, sort_keys=True)
    return json.dumps({**value, "sha256": hashlib.sha256(text.encode()).hexdigest()}, sort_keys=True)


@pytest.mark.parametrize("form", [1, FORMAT])
@pytest.mark.parametrize("where", [lambda value: value["node"], lambda value: value["ancestors"][0]])
def test_a_field_of_another_version_is_told_as_such(where: Callable[[Any], dict[str, Any]], form: int) -> None:
    text = rewritten(lambda value: where(value).update(tenant="a"), form=form)
    with pytest.raises(
        OtherVersionError, match="field 'tenant', which this version lacks; another sessrec_pipeline wrote"
    ):
        Lineage.from_json(text)


def test_a_newer_format_is_told_as_such_whatever_is_in_it() -> None:
    for change in (
        lambda value: value.update(format=FORMAT + 1),
        lambda value: value.update(format=9, node=[], more=1),
    ):
        with pytest.raises(OtherVersionError, match="of a newer sessrec_pipeline than this one: update it"):
            Lineage.from_json(rewritten(change))
    with pytest.raises(OtherVersionError, match="'signature'"):
        Lineage.from_json(rewritten(lambda value: value.update(signature="x")))


@pytest.mark.parametrize("form", [1, FORMAT])
@pytest.mark.parametrize("key", sorted(vars(NODE)))
def test_a_field_that_is_missing_is_damage(key: str, form: int) -> None:
    with pytest.raises(ValueError, match=f"a node of its lineage has no '{key}'"):
        Lineage.from_json(rewritten(lambda value: value["ancestors"][0].pop(key), form=form))


@pytest.mark.parametrize("value", [None, 7, 1.5, True, "x", ["x"], [7], {"a": 1}])
@pytest.mark.parametrize("key", sorted(vars(NODE)))
def test_a_field_of_another_type_is_damage_or_what_it_may_be(key: str, value: Any) -> None:
    text = rewritten(lambda whole: whole["node"].update({key: value}))
    may_be = {
        "partition": [None, "x"],
        "rows": [None, 7],
        "parents": [["x"]],
        "config": [{"a": 1}],
        "stats": [{"a": 1}],
    }
    if value in may_be.get(key, ["x"]) and not isinstance(value, bool):
        assert getattr(Lineage.from_json(text).node, key) == (("x",) if key == "parents" else value)
    else:
        with pytest.raises(ValueError, match="in its lineage"):
            Lineage.from_json(text)


@pytest.mark.parametrize("text", ["[]", "7", "null", '"text"', "{}", '{"format": "2"}', '{"format": null}', "", "{"])
def test_what_is_no_lineage_is_damage(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Lineage.from_json(text)


@pytest.mark.parametrize("change", [{"node": []}, {"ancestors": {}}, {"ancestors": [7]}, {"node": None}])
def test_parts_of_another_type_are_damage(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="its lineage"):
        Lineage.from_json(rewritten(lambda value: value.update(change)))
