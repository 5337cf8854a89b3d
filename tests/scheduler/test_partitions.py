"""Shares of the partitions: they add up, and change for as few as can be."""

import pytest

from contracts.ids import PARTITIONS
from scheduler.partitions import share


@pytest.mark.parametrize("count", range(1, 20))
def test_shares_add_up_to_all_partitions_and_differ_by_one_at_most(count: int) -> None:
    live = [f"s{n}" for n in range(count)]

    shares = [share(live, each) for each in live]

    assert sum(shares) == PARTITIONS
    assert max(shares) - min(shares) <= 1


def test_a_newcomer_takes_from_others_and_gives_nobody_more() -> None:
    before = [share(["a", "b", "c"], each) for each in "abc"]

    after = [share(["a", "b", "c", "d"], each) for each in "abc"]

    assert all(new <= old for new, old in zip(after, before, strict=True))


def test_who_is_not_listed_yet_counts_itself() -> None:
    assert share([], "a") == PARTITIONS
    assert share(["b"], "a") == PARTITIONS // 2
