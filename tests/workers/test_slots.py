"""Sharing slots between node types."""

import random

from workers.slots import Slots


def running(slots: Slots[str], *names: str) -> None:
    """Let these types run one attempt each, one per mention."""
    for name in names:
        slots.put(name, name)
        assert slots.take() == name


def test_a_type_alone_may_fill_all_slots() -> None:
    slots: Slots[str] = Slots(4, ["a", "b"])

    assert slots.want("a") == 4
    running(slots, "a", "a", "a")
    assert slots.want("a") == 1


def test_free_slots_are_divided_among_active_types() -> None:
    slots: Slots[str] = Slots(10, ["a", "b", "c"])
    running(slots, "a", "b")

    assert (slots.want("a"), slots.want("b"), slots.want("c")) == (4, 4, 3)


def test_a_full_worker_wants_nothing() -> None:
    slots: Slots[str] = Slots(2, ["a", "b"])
    running(slots, "a", "a")

    assert (slots.want("a"), slots.want("b")) == (0, 0)


def test_a_refusal_is_taken_back_once_there_is_room() -> None:
    slots: Slots[str] = Slots(1, ["a", "b"])
    running(slots, "a")
    assert not slots.may_ask_again()

    assert slots.want("b") == 0
    assert not slots.may_ask_again()
    slots.release("a", seconds=1)

    assert slots.may_ask_again()
    assert not slots.may_ask_again()


def test_what_waits_counts_as_taken() -> None:
    slots: Slots[str] = Slots(4, ["a"])
    for _ in range(3):
        slots.put("a", "x")

    assert slots.free == 1
    assert slots.want("a") == 1


def test_short_attempts_may_wait_in_numbers() -> None:
    slots: Slots[str] = Slots(4, ["a"])
    for _ in range(50):
        running(slots, "a")
        slots.release("a", seconds=0.001)
    running(slots, "a", "a", "a", "a")

    assert slots.want("a") == 4


def test_the_type_with_the_fewest_running_is_next() -> None:
    slots: Slots[str] = Slots(4, ["slow", "quick"])
    running(slots, "slow", "slow", "slow", "slow")
    for _ in range(3):
        slots.put("slow", "slow")
    slots.put("quick", "quick")

    slots.release("slow", seconds=9)

    assert slots.take() == "quick"
    assert slots.take() is None


def test_within_a_type_the_first_is_next() -> None:
    slots: Slots[str] = Slots(3, ["a"])
    for item in ("1", "2", "3"):
        slots.put("a", item)

    assert [slots.take() for _ in range(4)] == ["1", "2", "3", None]


def test_what_waits_can_be_taken_back() -> None:
    slots: Slots[str] = Slots(1, ["a", "b"])
    for item in ("1", "2", "3"):
        slots.put("a", item)
    slots.put("b", "4")

    assert slots.remove("a", "2")
    assert not slots.remove("a", "2")
    assert slots.withdraw() == ["1", "3", "4"]
    assert slots.take() is None
    assert slots.free == 1


def test_slots_are_never_exceeded_and_never_lost() -> None:
    chance = random.Random(7)
    slots: Slots[str] = Slots(5, ["a", "b", "c"])
    under_way: list[str] = []

    for _ in range(5000):
        if chance.random() < 0.5:
            name = chance.choice("abc")
            slots.put(name, name)
        elif under_way:
            slots.release(under_way.pop(chance.randrange(len(under_way))), chance.random())
        while (item := slots.take()) is not None:
            under_way.append(item)
        assert slots.busy == len(under_way) <= 5
        assert slots.busy == 5 or not slots.waiting
