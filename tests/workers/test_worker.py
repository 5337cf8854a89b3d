"""What a worker process decides before it talks to anybody."""

import pytest

from contracts import subjects
from contracts.subjects import TaskAddress
from nodes.catalogue import builtin_handlers
from tests.support.tasks import EXECUTION_ID
from workers.reports import read_address
from workers.worker import new_worker_id, serving


def types_of(family: str) -> set[str]:
    return {handler.spec.type for handler in builtin_handlers() if handler.spec.family == family}


@pytest.mark.parametrize(
    ("node_types", "expected"),
    [
        (("FLOW.IF",), {"FLOW.IF"}),
        (("flow.if ", "TRIGGER"), {"FLOW.IF", *types_of("TRIGGER")}),
        (("ACTION",), types_of("ACTION")),
        ((), {handler.spec.type for handler in builtin_handlers()}),
    ],
)
def test_a_worker_serves_types_and_families(
    node_types: tuple[str, ...], expected: set[str]
) -> None:
    assert {each.spec.type for each in serving(builtin_handlers(), node_types)} == expected


@pytest.mark.parametrize("others", [(), ("FLOW", "ACTION.HTTP_REQUEST")])
def test_a_worker_does_not_start_with_a_type_that_it_cannot_serve(others: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"AI_AGENT\.OPENAI$"):
        serving(builtin_handlers(), ("AI_AGENT.OPENAI", *others))


def test_ids_of_workers_differ_and_are_tokens_of_a_subject() -> None:
    first, second = new_worker_id(), new_worker_id()

    assert first != second
    assert len(subjects.heartbeat(first).split(".")) == 3


def test_an_address_is_read_where_a_report_can_be_attributed_to_it() -> None:
    address = TaskAddress("FLOW.NOOP", "acme", EXECUTION_ID, "n1", (4, 17), 2)

    assert read_address(subjects.task(address)) == address
    assert read_address(subjects.task(address._replace(execution_id="nobody"))) is None
    assert read_address("something.else") is None
