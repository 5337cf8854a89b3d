"""Masking: a secret is found however it is spelled, and nothing else is touched."""

import base64
from urllib.parse import quote, quote_plus

import msgspec
import pytest

from contracts.failures import Failure, FailureKind
from contracts.messages import InteractionOrder, WaitOrder
from contracts.statuses import WaitKind
from nodes.masking import MASKED, Masker

SECRET = 'can"ary/+ of\\é'


def masker(*secrets: str) -> Masker:
    made = Masker()
    made.add(secrets)
    return made


@pytest.mark.parametrize(
    "spelled",
    [
        pytest.param(SECRET, id="as it is"),
        pytest.param(quote(SECRET, safe=""), id="in an address"),
        pytest.param(quote_plus(SECRET), id="in a form"),
        pytest.param(msgspec.json.encode(SECRET).decode()[1:-1], id="in JSON"),
        pytest.param(base64.b64encode(SECRET.encode()).decode(), id="base64"),
        pytest.param(base64.urlsafe_b64encode(SECRET.encode()).decode(), id="base64 for addresses"),
    ],
)
def test_a_secret_is_found_however_it_is_spelled(spelled: str) -> None:
    assert masker(SECRET).text(f"before {spelled} after") == f"before {MASKED} after"


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "user:"])
def test_a_secret_is_found_inside_of_base64(before: str) -> None:
    encoded = base64.b64encode(f"{before}{SECRET} and after".encode()).decode()

    masked = masker(SECRET).text(encoded)

    assert MASKED in masked
    assert len(masked.replace(MASKED, "")) < len(encoded) - len(SECRET)


def test_what_holds_no_secret_stays_the_same_object() -> None:
    data = msgspec.json.encode({"a": ["b", 1.5, None, True]})

    assert masker(SECRET).json(data) is data
    assert Masker().json(data) is data
    assert Masker().value({"a": 1}) == {"a": 1}


def test_json_is_masked_in_values_and_keys_and_stays_json() -> None:
    data = msgspec.json.encode(
        {"a": [f"x{SECRET}y", {"b": SECRET}], SECRET: 1, "n": 1.0, "big": 9007199254740991}
    )

    found = msgspec.json.decode(masker(SECRET).json(data))

    assert found == {
        "a": [f"x{MASKED}y", {"b": MASKED}],
        MASKED: 1,
        "n": 1.0,
        "big": 9007199254740991,
    }


def test_a_number_that_is_the_secret_becomes_text_and_a_longer_one_stays() -> None:
    data = msgspec.json.encode([48151623, 481516230, "48151623"])

    assert msgspec.json.decode(masker("48151623").json(data)) == [MASKED, 481516230, MASKED]


def test_short_texts_are_no_secrets() -> None:
    made = masker("", "abc")

    assert made.text("abc abc") == "abc abc"


def test_the_longest_of_several_secrets_counts() -> None:
    assert masker("canary", "canary-of-more").text("canary-of-more canary") == f"{MASKED} {MASKED}"


def test_the_password_in_an_address_is_a_secret_of_its_own() -> None:
    made = masker("postgresql://ada:p%40ssword@h/d")

    assert made.text("p@ssword p%40ssword for ada") == f"{MASKED} {MASKED} for ada"


def test_the_keys_in_a_secret_of_json_are_secrets_of_their_own() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\n"
    account = msgspec.json.encode({"project_id": "shop", "private_key": key}).decode()
    made = masker(account)

    assert made.text(f"shop with {key}") == f"shop with {MASKED}"
    assert made.json(msgspec.json.encode(key)) == b'"***"'
    assert made.text(account) == MASKED
    assert masker("{no json at all}").text("{no json at all}") == MASKED


def test_a_failure_is_masked_in_what_it_tells_and_keeps_its_names() -> None:
    failure = Failure(
        FailureKind.ERROR, "canary", "of canary", {"body": "canary", "n": 5}, retryable=True
    )

    masked = masker("canary").failure(failure)

    assert masked == Failure(
        FailureKind.ERROR, "canary", f"of {MASKED}", {"body": MASKED, "n": 5}, retryable=True
    )


def test_a_question_is_masked_in_its_texts_and_values_and_keeps_its_words() -> None:
    order = WaitOrder(
        kind=WaitKind.INTERACTION,
        signal="canary",
        interaction=InteractionOrder(
            kind="approval",
            title="canary?",
            message="Send canary?",
            value=msgspec.Raw(b'{"token":"canary"}'),
        ),
        state=msgspec.Raw(b'["canary"]'),
    )

    masked = masker("canary").answer(order)

    assert masked.signal == "canary"
    assert masked.interaction.title == f"{MASKED}?"
    assert masked.interaction.message == f"Send {MASKED}?"
    assert bytes(masked.interaction.value) == b'{"token":"***"}'
    assert bytes(masked.state) == b'["***"]'
