"""Fair admission: nobody waits behind the backlog of another namespace."""

from contracts.ids import RunKey
from scheduler.admission import LEAST_WINDOW, Admission, Waiting

KEY: RunKey = ("n", ())


class Clock:
    """Seconds that tests move."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def task(namespace: str, number: int, priority: int = 0, fleet: str = "A.B") -> Waiting:
    return Waiting((f"{namespace}-{number:04}", KEY, 1), fleet, namespace, priority)


def admission(slots: int = 0, clock: Clock | None = None) -> Admission:
    return Admission(slots=lambda _: slots, now=clock or Clock())


def test_a_window_is_queued_and_the_rest_waits() -> None:
    fair = admission()

    queued = [fair.offer(task("a", number)) for number in range(LEAST_WINDOW + 10)]

    assert queued == [True] * LEAST_WINDOW + [False] * 10
    assert fair.waiting == {"A.B": 10}
    assert list(fair.next()) == []


def test_a_second_namespace_has_every_other_turn() -> None:
    fair = admission()
    for number in range(LEAST_WINDOW + 100):
        fair.offer(task("a", number))
    for number in range(3):
        fair.offer(task("b", number))

    for number in range(6):
        fair.ended(task("a", number).attempt)
    turns = [each.namespace for each in fair.next()]

    assert sorted(turns[:6]) == ["a", "a", "a", "b", "b", "b"]


def test_priority_goes_first_within_its_namespace_only() -> None:
    fair = admission()
    for number in range(LEAST_WINDOW):
        fair.offer(task("a", number))
    fair.offer(task("b", 1))
    fair.offer(task("a", 1001, priority=0))
    fair.offer(task("a", 1002, priority=5))

    for number in range(3):
        fair.ended(task("a", number).attempt)
    turns = [each.attempt[0] for each in fair.next()][:3]

    assert turns.index("a-1002") < turns.index("a-1001")
    assert "b-0001" in turns


def test_the_window_grows_with_slots_and_with_what_gets_done() -> None:
    clock = Clock()
    fair = admission(slots=100, clock=clock)
    before = fair.window("A.B")
    for number in range(40):
        fair.offer(task("a", number))
        fair.ended(task("a", number).attempt)

    assert before == 150
    assert fair.window("A.B") == 190
    clock.seconds += 1
    assert fair.window("A.B") == 190
    clock.seconds += 2
    assert fair.window("A.B") == 150


def test_slots_are_asked_for_once_a_second() -> None:
    clock = Clock()
    asked: list[str] = []

    def slots(fleet: str) -> int:
        asked.append(fleet)
        return 100 * len(asked)

    fair = Admission(slots=slots, now=clock)
    for number in range(5):
        fair.offer(task("a", number))
    assert (asked, fair.window("A.B")) == (["A.B"], 150)

    clock.seconds += 1

    assert (fair.window("A.B"), asked) == (300, ["A.B", "A.B"])


def test_what_is_queued_may_be_queued_again_and_what_waits_goes_on_waiting() -> None:
    fair = admission()
    for number in range(LEAST_WINDOW + 1):
        fair.offer(task("a", number))

    assert fair.offer(task("a", 0))
    assert not fair.offer(task("a", LEAST_WINDOW))
    assert fair.waiting == {"A.B": 1}


def test_an_execution_that_is_over_frees_its_places_and_leaves_the_line() -> None:
    fair = admission()
    for number in range(LEAST_WINDOW + 2):
        fair.offer(task("a", number))

    fair.forget("a-0000")
    fair.forget(f"a-{LEAST_WINDOW:04}")

    assert [each.attempt[0] for each in fair.next()] == [f"a-{LEAST_WINDOW + 1:04}"]
    assert fair.waiting == {}


def test_partitions_of_another_scheduler_are_forgotten() -> None:
    fair = admission()
    for number in range(LEAST_WINDOW):
        fair.offer(task("a", number))
    assert not fair.offer(task("a", 1000))

    fair.forget_partitions([1])

    assert [each.attempt[0] for each in fair.next()] == ["a-1000"]


def test_attempts_that_end_without_a_result_free_their_places() -> None:
    fair = admission()
    lost, kept = (Waiting(("a", (each, ()), 1), "A.B", "a") for each in ("lost", "kept"))
    for each in (lost, kept):
        fair.offer(each)
    for number in range(LEAST_WINDOW - 1):
        fair.offer(task("b", number))

    fair.settle("a", lambda key, attempt: (key, attempt) == (("kept", ()), 1))

    assert [each.attempt for each in fair.next()] == [task("b", LEAST_WINDOW - 2).attempt]
    assert fair.offer(kept), "it is queued as before"


def test_what_somebody_else_leads_takes_no_place() -> None:
    fair = Admission(slots=lambda _: 0, now=Clock(), leads=lambda each: each.startswith("a"))

    assert all(fair.offer(task("b", number)) for number in range(2 * LEAST_WINDOW))
    assert all(fair.offer(task("a", number)) for number in range(LEAST_WINDOW))
    assert fair.waiting == {}


def test_where_tasks_stand_is_told_in_the_order_of_turns() -> None:
    fair = admission()
    for number in range(LEAST_WINDOW + 3):
        fair.offer(task("a", number))
    for number in range(2):
        fair.offer(task("b", number))
    urgent = task("a", 9_999, priority=5)
    fair.offer(urgent)

    def ahead(namespace: str, number: int) -> list[int]:
        standing = fair.standing(f"{namespace}-{number:04}", namespace, 10)
        return [each.ahead for each in standing.values()]

    turns = [("a", 9_999), ("b", 0), ("a", LEAST_WINDOW), ("b", 1), ("a", LEAST_WINDOW + 1)]
    assert [ahead(*each) for each in turns] == [[0], [1], [2], [3], [4]]
    assert ahead("a", 0) == [], "it is queued"
    assert ahead("c", 0) == []
    (standing,) = fair.standing("b-0001", "b", 10).values()
    assert (standing.fleet, standing.queued, standing.window) == ("A.B", LEAST_WINDOW, LEAST_WINDOW)

    told = []
    for number in range(5):
        fair.ended(task("a", number).attempt)
        told += [each.attempt[0] for each in fair.next()]
    assert told == [f"{namespace}-{number:04}" for namespace, number in turns]


def test_what_ended_while_it_waited_is_not_counted() -> None:
    fair = admission()
    for number in range(LEAST_WINDOW + 2):
        fair.offer(task("a", number))

    fair.ended(task("a", LEAST_WINDOW).attempt)

    (standing,) = fair.standing(f"a-{LEAST_WINDOW + 1:04}", "a", 1).values()
    assert standing.ahead == 0


def test_no_more_tasks_are_told_than_asked_for() -> None:
    fair = admission()
    for number in range(LEAST_WINDOW):
        fair.offer(task("a", number))
    for number in range(5):
        fair.offer(Waiting(("mine", ("n", (number,)), 1), "A.B", "a"))

    assert [each[1] for each in fair.standing("mine", "a", 2)] == [("n", (0,)), ("n", (1,))]
