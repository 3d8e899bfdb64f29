"""What is stored through files that are kept open is there for everybody."""

from collections.abc import Callable

import dagster as dg

from assets.instance import open_instance
from sessrec_pipeline.feed import FeedSettings


@dg.asset
def written() -> int:
    return 1


def test_others_read_what_a_process_stores_and_it_what_they_store(feed: Callable[..., FeedSettings]) -> None:
    settings = feed()
    with open_instance(settings) as instance:
        first = dg.materialize([written], instance=instance)
        with dg.DagsterInstance.from_config(str(settings.dagster_home)) as other:
            assert type(other.event_log_storage) is not type(instance.event_log_storage)
            told = [entry.dagster_event for entry in other.all_logs(first.run_id)]
            assert [event for event in told if event in first.all_events] == first.all_events
            second = dg.materialize([written], instance=other)
        latest = instance.get_latest_materialization_event(written.key)
        assert latest and latest.run_id == second.run_id
        instance.delete_run(first.run_id)
        assert instance.all_logs(second.run_id) and not instance.get_run_by_id(first.run_id)
