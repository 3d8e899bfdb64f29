from sessrec_pipeline.evaluation.estimates import Estimate


def test_an_estimate_is_written_for_pages_and_for_terminals() -> None:
    found = Estimate.from_row({"r": 0.64204, "r_low": 0.614, "r_high": 0.668, "other": 1}, "r")
    assert found == Estimate(0.64204, 0.614, 0.668)
    assert str(found) == "0.6420"
    assert found.interval == "0.6140–0.6680"  # noqa: RUF001 - a range is set with an en dash
    assert found.with_interval == "0.6420 (0.6140–0.6680)"  # noqa: RUF001 - a range is set with an en dash
    assert found.in_brackets() == "0.6420 [0.614 0.668]"
    assert Estimate(0.2, -0.18, 0.22).in_brackets(signed=True) == "+0.2000 [-0.180 +0.220]"
    assert found.in_brackets().isascii()
