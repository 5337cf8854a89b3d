"""Lists: pages by an opaque cursor."""

import base64

import pytest

from contracts.ids import is_uuid
from gateway.pages import is_number, page_of, read_cursor
from gateway.problems import Refused


def test_a_cursor_leads_to_the_place_where_its_page_ended() -> None:
    page = page_of([1, 2], "42")

    assert page.items == (1, 2)
    assert read_cursor(page.next_cursor, is_number) == "42"


def test_the_last_page_has_no_cursor() -> None:
    assert page_of([], None).next_cursor is None
    assert read_cursor(None, is_number) is None


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("", id="empty"),
        pytest.param("!", id="no base64"),
        pytest.param("a", id="half of it"),
        pytest.param(base64.b64encode(b"-1").decode(), id="negative"),
        pytest.param(base64.b64encode("٣".encode()).decode(), id="a digit of another script"),
        pytest.param(base64.b64encode(b"9" * 10).decode(), id="too large"),
    ],
)
def test_a_cursor_that_no_list_gave_out_is_refused(cursor: str) -> None:
    for is_place in (is_number, is_uuid):
        with pytest.raises(Refused) as caught:
            read_cursor(cursor, is_place)
        assert caught.value.errors[0].pointer == "/cursor"
