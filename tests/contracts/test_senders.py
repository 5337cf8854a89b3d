"""Who sent a delivery: tokens, and signatures as Standard Webhooks describes them."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.senders import BadSecret, has_token, is_genuine, is_signed, signature
from contracts.webhooks import Authentication

# What the libraries of Standard Webhooks test with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
AT = datetime.fromtimestamp(1614265330, UTC)
OTHER = "v1," + base64.b64encode(bytes(32)).decode()

SIGNED = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": SIGNATURE,
}


def test_the_signature_is_that_of_the_standard() -> None:
    made = signature(SIGNED["webhook-id"], SIGNED["webhook-timestamp"], BODY, SECRET)

    assert made == SIGNATURE


@pytest.mark.parametrize(
    ("changed", "later"),
    [
        pytest.param({}, 0, id="as it was sent"),
        pytest.param({}, 300, id="five minutes later"),
        pytest.param({}, -300, id="a clock that is ahead"),
        pytest.param({"webhook-signature": f"{OTHER} {SIGNATURE}"}, 0, id="after another one"),
        pytest.param({"webhook-signature": f"{SIGNATURE} {OTHER}"}, 0, id="before another one"),
        pytest.param({"webhook-signature": f"v1a,AAAA {SIGNATURE}"}, 0, id="beside another scheme"),
        pytest.param({"x-other": "1"}, 0, id="among other headers"),
    ],
)
def test_a_delivery_that_is_signed(changed: dict[str, str], later: float) -> None:
    assert is_signed(SIGNED | changed, BODY, SECRET, AT + timedelta(seconds=later))


@pytest.mark.parametrize(
    "secret", [SECRET.removeprefix("whsec_"), "whsec_AAECAwQFBgcICQ", "whsec_AAECAwQFBgcICQ=="]
)
def test_a_secret_may_lack_its_prefix_and_its_padding(secret: str) -> None:
    made = signature("msg_1", "1614265330", b"", secret)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1614265330",
        "webhook-signature": made,
    }

    assert is_signed(headers, b"", secret, AT)


@pytest.mark.parametrize(
    ("changed", "later", "body"),
    [
        pytest.param({}, 301, BODY, id="too old"),
        pytest.param({}, -301, BODY, id="from the future"),
        pytest.param({}, 0, BODY + b" ", id="another body"),
        pytest.param({}, 0, b"", id="no body"),
        pytest.param({"webhook-id": "msg_x"}, 0, BODY, id="another id"),
        pytest.param({"webhook-id": ""}, 0, BODY, id="an empty id"),
        pytest.param({"webhook-timestamp": "1614265331"}, 0, BODY, id="another timestamp"),
        pytest.param({"webhook-timestamp": "1614265330.0"}, 0, BODY, id="no whole timestamp"),
        pytest.param({"webhook-timestamp": "+1614265330"}, 0, BODY, id="a timestamp with a sign"),
        pytest.param({"webhook-timestamp": "9" * 400}, 0, BODY, id="an endless timestamp"),
        pytest.param({"webhook-timestamp": "now"}, 0, BODY, id="no timestamp"),
        pytest.param({"webhook-signature": ""}, 0, BODY, id="an empty signature"),
        pytest.param({"webhook-signature": OTHER}, 0, BODY, id="another signature"),
        pytest.param({"webhook-signature": SIGNATURE[3:]}, 0, BODY, id="no version"),
        pytest.param({"webhook-signature": f"v2{SIGNATURE[2:]}"}, 0, BODY, id="another version"),
        pytest.param({"webhook-signature": SIGNATURE[:-2]}, 0, BODY, id="cut off"),
        pytest.param({"webhook-signature": f"{SIGNATURE},{OTHER}"}, 0, BODY, id="no blank between"),
        pytest.param({"webhook-signature": "v1,ü"}, 0, BODY, id="no ASCII"),
    ],
)
def test_a_delivery_that_is_not_signed(changed: dict[str, str], later: float, body: bytes) -> None:
    assert not is_signed(SIGNED | changed, body, SECRET, AT + timedelta(seconds=later))


@pytest.mark.parametrize("header", sorted(SIGNED))
def test_every_header_of_a_signature_is_needed(header: str) -> None:
    headers = {name: text for name, text in SIGNED.items() if name != header}

    assert not is_signed(headers, BODY, SECRET, AT)


def test_a_stop_in_the_id_cannot_move_what_is_signed() -> None:
    body = b"1614265330.{}"
    made = signature("msg", "1614265330", body, SECRET)
    moved = {
        "webhook-id": "msg.1614265330",
        "webhook-timestamp": "1614265330",
        "webhook-signature": made,
    }
    assert signature("msg.1614265330", "1614265330", b"{}", SECRET) == made

    assert not is_signed(moved, b"{}", SECRET, AT)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_no base64!", "", "whsec_ü", "whsec_A"])
def test_a_secret_that_cannot_sign_is_told_and_not_shown(secret: str) -> None:
    with pytest.raises(BadSecret) as caught:
        is_signed(SIGNED, BODY, secret, AT)

    assert not secret.removeprefix("whsec_") or secret.removeprefix("whsec_") not in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("given", "secret", "expected"),
    [
        pytest.param("open", "open", True, id="the secret"),
        pytest.param("öpen", "öpen", True, id="no ASCII"),
        pytest.param("Open", "open", False, id="another case"),
        pytest.param("ope", "open", False, id="a part"),
        pytest.param("open, open", "open", False, id="twice"),
        pytest.param("", "open", False, id="empty"),
        pytest.param(None, "open", False, id="none"),
        pytest.param("", "", False, id="an empty secret"),
    ],
)
def test_a_token_is_the_secret_itself(given: str | None, secret: str, *, expected: bool) -> None:
    assert has_token(given, secret) is expected


@pytest.mark.parametrize(
    ("authentication", "secret", "headers", "expected"),
    [
        pytest.param("NONE", None, {}, True, id="everybody"),
        pytest.param("HEADER_TOKEN", "open", {"x-key": "open"}, True, id="a token"),
        pytest.param("HEADER_TOKEN", "open", {"x-webhook-token": "open"}, False, id="elsewhere"),
        pytest.param("HEADER_TOKEN", None, {"x-key": ""}, False, id="a token without secret"),
        pytest.param("SIGNATURE", SECRET, SIGNED, True, id="a signature"),
        pytest.param("SIGNATURE", SECRET, {"x-key": SECRET}, False, id="the secret as token"),
        pytest.param("SIGNATURE", None, SIGNED, False, id="a signature without secret"),
    ],
)
def test_what_a_trigger_asks_for_is_what_counts(
    authentication: Authentication,
    secret: str | None,
    headers: dict[str, str],
    *,
    expected: bool,
) -> None:
    given: dict[str, Any] = {"header": "X-Key", "headers": headers, "body": BODY, "at": AT}

    assert is_genuine(authentication, secret=secret, **given) is expected
