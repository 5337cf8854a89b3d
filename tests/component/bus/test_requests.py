"""What the server owes is never overestimated for long."""

from bus.requests import Requests


def test_deliveries_and_ends_reduce_what_is_owed() -> None:
    requests = Requests()
    first = requests.opened(10, lapses_at=30)
    requests.opened(5, lapses_at=31)

    for _ in range(4):
        requests.delivered()
    requests.ended(first, left=8)

    assert requests.owed == 3


def test_a_request_that_never_arrived_is_owed_no_more() -> None:
    requests = Requests()
    number = requests.opened(10, lapses_at=30)

    requests.ended(number)
    requests.ended(number)

    assert requests.owed == 0


def test_what_ended_before_a_reconnect_changes_nothing_after_it() -> None:
    requests = Requests()
    old = requests.opened(10, lapses_at=30)
    requests.forget()
    requests.opened(4, lapses_at=40)

    requests.ended(old, left=10)

    assert requests.owed == 4


def test_a_request_whose_end_was_never_told_lapses() -> None:
    requests = Requests()
    requests.opened(10, lapses_at=30)
    requests.opened(3, lapses_at=40)
    requests.delivered()

    requests.lapse(29)
    assert requests.owed == 12
    requests.lapse(30)
    assert requests.owed == 3
    requests.lapse(40)
    assert requests.owed == 0


def test_more_than_was_asked_for_is_no_debt_of_ours() -> None:
    requests = Requests()
    requests.delivered()

    assert requests.owed == 0
