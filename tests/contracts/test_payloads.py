"""References to large values: spelled in one way, found anywhere, and refused to users."""

import hashlib
import json
from typing import Any

import msgspec
import pytest

from contracts import payloads
from contracts.failures import FailureKind
from contracts.messages import Result, Upstream
from contracts.payloads import (
    BadReference,
    PayloadLimits,
    Reference,
    ValuesTooLarge,
    holds_reserved_key,
    missing,
    moved,
    raw_of,
    reference_to,
    references_in,
    resolved,
)
from contracts.statuses import NodeRunStatus
from tests.support import tasks

BIG = json.dumps({"text": "x" * 300}).encode()
OTHER = json.dumps(["y" * 300]).encode()
LIMITS = PayloadLimits(inline=2_000, message=4_000, value=10_000)


def pasted(**fields: bytes) -> bytes:
    """Return a JSON object of values, as the engine puts them together."""
    return msgspec.json.encode({name: msgspec.Raw(value) for name, value in fields.items()})


def test_a_reference_is_the_hash_and_the_size_of_a_value() -> None:
    reference = reference_to(BIG)

    assert reference == Reference(f"sha256:{hashlib.sha256(BIG).hexdigest()}", len(BIG))
    assert json.loads(bytes(raw_of(reference))) == {
        "$payload": {"id": reference.id, "size": len(BIG)}
    }
    assert reference.digest == hashlib.sha256(BIG).digest()


def test_references_are_found_wherever_they_stand() -> None:
    one, other = reference_to(BIG), reference_to(OTHER)
    inside = pasted(a=raw_of(one), b=b"[1,%s,%s]" % (bytes(raw_of(other)), bytes(raw_of(one))))

    assert references_in(bytes(raw_of(one))) == (one,)
    assert sorted(references_in(inside), key=lambda each: each.id) == sorted(
        [one, other, one], key=lambda each: each.id
    )


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("$payload", id="a text"),
        pytest.param({"$payload": {"id": "sha256:1", "size": 1}}, id="no hash"),
        pytest.param({"$payload": {"id": f"sha256:{'0' * 64}", "size": 0}}, id="no size"),
        pytest.param({"$payload": {"id": f"md5:{'0' * 64}", "size": 1}}, id="another hash"),
        pytest.param({"$payload": {"id": f"sha256:{'0' * 64}", "size": 1}, "b": 1}, id="not alone"),
        pytest.param(['{"$payload":1}'], id="in a text"),
    ],
)
def test_what_has_another_form_is_a_value_like_any(value: Any) -> None:
    data = msgspec.json.encode(value)

    assert references_in(data) == ()
    assert json.loads(resolved(data, {})) == value


def test_a_value_is_resolved_with_all_that_it_refers_to() -> None:
    big, middle = reference_to(BIG), pasted(big=raw_of(reference_to(BIG)), own=b"1")
    data = pasted(a=raw_of(reference_to(middle)), b=raw_of(big))
    values: dict[str, bytes] = {}

    assert missing([data], values, limit=10_000).keys() == {big.id, reference_to(middle).id}
    values[reference_to(middle).id] = middle
    assert missing([data], values, limit=10_000) == {big.id: big}
    values[big.id] = BIG
    assert missing([data], values, limit=10_000) == {}

    assert json.loads(resolved(data, values)) == {
        "a": {"big": json.loads(BIG), "own": 1},
        "b": json.loads(BIG),
    }
    assert resolved(bytes(raw_of(big)), values) is BIG


def test_a_value_that_unfolds_beyond_the_limit_is_refused_before_it_does() -> None:
    level, values = BIG, {reference_to(BIG).id: BIG}
    for _ in range(6):  # ten times as large each time
        reference = bytes(raw_of(reference_to(level)))
        level = b"[" + b",".join([reference] * 10) + b"]"
        values[reference_to(level).id] = level

    with pytest.raises(ValuesTooLarge) as caught:
        missing([level], values, limit=64 * 1024 * 1024)

    failure = caught.value.failure("n1")
    assert (failure.kind, failure.code) == (FailureKind.PAYLOAD_TOO_LARGE, "input_too_large")
    assert (failure.details["node_id"], failure.retryable) == ("n1", False)


@pytest.mark.parametrize("is_refused", [False, True])
def test_values_inside_each_other_have_an_end(*, is_refused: bool) -> None:
    data, values = BIG, {}
    for _ in range(payloads.MOST_NESTED + is_refused):
        values[reference_to(data).id] = data
        data = pasted(inside=raw_of(reference_to(data)))

    if is_refused:
        with pytest.raises(BadReference) as caught:
            missing([data], values, limit=10**9)
        failure = caught.value.failure("n1")
        assert (failure.kind, failure.code) == (FailureKind.INVALID_INPUT, "payload_missing")
    else:
        assert missing([data], values, limit=10**9) == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param({"$payload": {"id": "sha256:0"}}, True, id="a reference"),
        pytest.param([{"a": [{"$payload": None}]}], True, id="inside"),
        pytest.param({"$payload": 1, "b": 2}, False, id="not alone"),
        pytest.param(["$payload", {"a": "$payload"}], False, id="a text"),
        pytest.param(None, False, id="null"),
    ],
)
def test_the_lone_key_is_reserved(value: Any, expected: bool) -> None:
    assert holds_reserved_key(value) is expected


def sized(size: int, letter: str = "x") -> msgspec.Raw:
    """Return a value of that many bytes."""
    return msgspec.Raw(b'"' + letter.encode() * (size - 2) + b'"')


def result(**ports: msgspec.Raw) -> Result:
    """Return a result with these outputs."""
    return Result(
        execution_id=tasks.EXECUTION_ID,
        node_id="n1",
        attempt=1,
        token="t",
        worker_id="w1",
        started_at="",
        finished_at="",
        ports=ports,
        logs=sized(50_000),
    )


@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        pytest.param([10, 2_000, 1_990], 3, id="all fit"),
        pytest.param([2_001, 10], 1, id="one above the limit of a value"),
        pytest.param([1_900, 1_800, 1_700], 2, id="the largest leaves a message that is too large"),
        pytest.param([1_500, 1_500, 1_500], 0, id="of equal ones all"),
        pytest.param([255] * 30, 30, id="small ones stay whatever their sum"),
    ],
)
def test_large_values_leave_a_message(sizes: list[int], left: int) -> None:
    before = result(**{f"p{n}": sized(size, chr(65 + n)) for n, size in enumerate(sizes)})

    after, values = moved(before, LIMITS)

    assert before.ports is not None
    assert after.ports is not None
    assert sum(before.ports[port] == after.ports[port] for port in after.ports) == left
    assert after.logs == before.logs
    for port, value in before.ports.items():
        assert resolved(bytes(after.ports[port]), values) == bytes(value)


def test_every_value_of_a_task_may_leave_and_nothing_else() -> None:
    node = tasks.task_node(parameters={"text": "p" * 5_000})
    before = tasks.task(
        node,
        deliveries=[tasks.delivered("a" * 3_000), tasks.delivered("b")],
        nodes={
            "up": Upstream(NodeRunStatus.SUCCESS, {"main": sized(3_000, "u")}, error=sized(9_000))
        },
    )
    before = msgspec.structs.replace(before, trigger=sized(3_000, "t"))

    after, values = moved(before, LIMITS)

    assert len(values) == 3
    assert (after.node, after.nodes["up"].error) == (before.node, before.nodes["up"].error)
    assert after.deliveries[1] == before.deliveries[1]
    filled = payloads.with_raws(after, lambda each: msgspec.Raw(resolved(bytes(each), values)))
    assert filled == before


def test_limits_shrink_with_the_room_of_a_message() -> None:
    assert LIMITS.within(100_000) == LIMITS
    assert LIMITS.within(1_000) == PayloadLimits(inline=1_000, message=1_000, value=10_000)
    assert LIMITS.within(-5) == PayloadLimits(inline=0, message=0, value=10_000)
