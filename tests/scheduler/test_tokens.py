"""A token fits the attempt it was made for, and no other."""

import pytest

from scheduler.tokens import Tokens

TOKENS = Tokens(b"s" * 32)
KEY = ("node", (1, 2))


def test_a_token_fits_its_attempt() -> None:
    token = TOKENS.make("execution", KEY, 3)

    assert len(token) == 24
    assert TOKENS.fits(token, "execution", KEY, 3)


@pytest.mark.parametrize(
    ("execution_id", "key", "attempt"),
    [
        pytest.param("other", KEY, 3, id="another execution"),
        pytest.param("execution", ("other", (1, 2)), 3, id="another node"),
        pytest.param("execution", ("node", (12,)), 3, id="another iteration"),
        pytest.param("execution", KEY, 4, id="another attempt"),
    ],
)
def test_a_token_fits_nothing_else(
    execution_id: str, key: tuple[str, tuple[int, ...]], attempt: int
) -> None:
    token = TOKENS.make("execution", KEY, 3)

    assert not TOKENS.fits(token, execution_id, key, attempt)


def test_another_secret_makes_other_tokens() -> None:
    other = Tokens(b"t" * 32)

    assert not other.fits(TOKENS.make("execution", KEY, 3), "execution", KEY, 3)


@pytest.mark.parametrize("token", ["", "é" * 12, "0" * 24])
def test_any_text_can_be_checked(token: str) -> None:
    assert not TOKENS.fits(token, "execution", KEY, 3)
