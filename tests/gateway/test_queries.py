"""Query strings: every parameter belongs to the contract, or the request is refused."""

import pytest

from gateway.executions import AllExecutionsQuery, WaitQuery
from gateway.problems import Refused
from gateway.queries import NoQuery, read_query


def test_parameters_are_read_as_their_types() -> None:
    query = read_query(
        b"status=SUCCESS&status=failed&limit=7&paused=true&created_after=2026-01-01T00%3A00%3A00Z",
        AllExecutionsQuery,
    )

    assert query.status == ("SUCCESS", "failed")
    assert query.limit == 7
    assert query.paused is True
    assert query.created_after is not None
    assert query.created_after.isoformat() == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("query", "contract", "pointer"),
    [
        pytest.param(b"waitt=1", WaitQuery, "/waitt", id="unknown"),
        pytest.param(b"a=1", NoQuery, "/a", id="none taken"),
        pytest.param(b"wait=1&wait=2", WaitQuery, "/wait", id="repeated"),
        pytest.param(b"wait=61", WaitQuery, "/wait", id="too long"),
        pytest.param(b"wait=nan", WaitQuery, "/wait", id="no number"),
        pytest.param(b"wait=", WaitQuery, "/wait", id="empty"),
        pytest.param(b"limit=0", AllExecutionsQuery, "/limit", id="limit too small"),
        pytest.param(b"limit=501", AllExecutionsQuery, "/limit", id="limit too large"),
        pytest.param(b"version=99999999999", AllExecutionsQuery, "/version/0", id="past the column"),
        pytest.param(b"workflow_id=x", AllExecutionsQuery, "/workflow_id/0", id="no id"),
        pytest.param(b"created_after=2026-01-01T00:00:00", AllExecutionsQuery, "/created_after", id="no zone"),
        pytest.param(b"mode=manual", AllExecutionsQuery, "/mode/0", id="unknown word"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_a_pointer(
    query: bytes, contract: type, pointer: str
) -> None:
    with pytest.raises(Refused) as caught:
        read_query(query, contract)

    assert caught.value.code == "invalid_request"
    assert caught.value.errors[0].pointer == pointer


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(b"wait=%ff", id="no UTF-8"),
        pytest.param(b"wait=%00", id="NUL"),
        pytest.param(b"\xff", id="no ASCII"),
        pytest.param(b"wait", id="no value"),
        pytest.param(b"&".join([b"wait=1"] * 2000), id="too many"),
    ],
)
def test_what_cannot_be_read_is_refused(query: bytes) -> None:
    with pytest.raises(Refused) as caught:
        read_query(query, WaitQuery)

    assert caught.value.code == "malformed_request"
