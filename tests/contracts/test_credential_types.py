"""Credential types: what each asks for, what of it is secret, and what the environment has instead."""

from typing import Any

import pytest

from contracts import credential_types
from contracts.credential_types import (
    HTTP,
    TYPE_NAMES,
    TYPES,
    flaws_of,
    from_environment,
    normalised,
    secrets_in,
)
from contracts.credentials import Credential


def flaws(name: str, **data: Any) -> list[tuple[str, str]]:
    return [(flaw.field, flaw.code) for flaw in flaws_of(*normalised(name, data))]


GOOD: list[tuple[str, dict[str, Any]]] = [
    ("openai", {"api_key": "k", "prices": {"m": {"input": 1, "output": 2}}}),
    ("openai", {"api_key": "", "base_url": "http://127.0.0.1:8000/v1"}),
    ("anthropic", {"api_key": "k", "default_model": "m"}),
    ("gemini", {"api_key": "k"}),
    ("http", {"type": "BEARER", "token": "t"}),
    ("http", {"type": "basic", "username": "u", "password": "p"}),
    ("http", {"type": "API_KEY", "api_key": "k", "key_name": "X-Key", "key_location": "query"}),
    ("http", {"type": "OAUTH2", "token_url": "https://a/t", "client_id": "i", "client_secret": "s", "scope": ""}),
    ("webhook", {"secret": "s"}),
    ("github", {"token": "t"}),
    ("github", {"webhook_secret": "s"}),
    ("google", {"access_token": "t"}),
    ("google", {"client_id": "i", "client_secret": "s", "refresh_token": "r"}),
    ("slack", {"bot_token": "t", "signing_secret": "s"}),
    ("discord", {"bot_token": "t", "public_key": "p", "webhook_url": "https://a"}),
    ("telegram", {"bot_token": "t", "webhook_secret": "s"}),
    ("trello", {"api_key": "k", "api_token": "t"}),
    ("notion", {"token": "t"}),
    ("email", {"smtp_url": "smtps://u:p@h", "from_address": "a@b"}),
    ("search", {"provider": "brave", "api_key": "k"}),
    ("search", {"provider": "searxng", "base_url": "https://s"}),
    ("postgresql", {"dsn": "postgresql://u:p@h/d"}),
    ("twilio", {"account_sid": "s", "auth_token": "t", "from_number": "+49"}),
    ("fcm", {"service_account": '{\n "type": "service_account"\n}'}),
    ("mcp", {"url": "https://m", "headers": {"x": "y"}}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data"), GOOD, ids=lambda each: str(each)[:60])
def test_what_a_type_asks_for_is_taken(name: str, data: dict[str, Any]) -> None:
    assert flaws(name, **data) == []


def test_every_type_was_tried() -> None:
    assert {name for name, _ in GOOD} == set(TYPE_NAMES)


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        pytest.param("webhook", {}, ("", "missing_field"), id="nothing"),
        pytest.param("webhook", {"secret": ""}, ("secret", "invalid_value"), id="an empty secret"),
        pytest.param("webhook", {"secret": 5}, ("secret", "invalid_value"), id="a number"),
        pytest.param("webhook", {"secret": "a\0"}, ("secret", "invalid_value"), id="a NUL"),
        pytest.param("github", {"token": "t\n"}, ("token", "invalid_value"), id="an end of line that was copied too"),
        pytest.param("fcm", {"service_account": "{\0}"}, ("service_account", "invalid_value"), id="a NUL between lines"),
        pytest.param("webhook", {"secret": "s", "x": "y"}, ("x", "unknown_field"), id="unknown"),
        pytest.param("google", {"client_id": "i", "client_secret": "s"}, ("", "missing_field"), id="half"),
        pytest.param("http", {"api_key": "k", "token": "t"}, ("type", "missing_field"), id="which scheme"),
        pytest.param("http", {"type": "DIGEST", "token": "t"}, ("type", "missing_field"), id="no such scheme"),
        pytest.param("http", {"type": ["BEARER"], "token": "t"}, ("type", "missing_field"), id="a list as scheme"),
        pytest.param("http", {"type": "BEARER", "password": "p", "token": "t"}, ("password", "unknown_field"), id="of another scheme"),
        pytest.param("http", {"type": "API_KEY", "api_key": "k", "key_location": "body"}, ("key_location", "invalid_value"), id="no place"),
        pytest.param("http", {"type": "API_KEY", "api_key": "k", "key_name": "a: b"}, ("key_name", "invalid_value"), id="no header"),
        pytest.param("openai", {"api_key": "k", "base_url": "ftp://x"}, ("base_url", "invalid_value"), id="no http"),
        pytest.param("search", {"provider": "google", "api_key": "k"}, ("provider", "invalid_value"), id="no provider"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    name: str, data: dict[str, Any], found: tuple[str, str]
) -> None:
    assert found in flaws(name, **data)


def test_a_flaw_tells_no_text_of_a_secret() -> None:
    data = {"type": "API_KEY", "api_key": ["canary"], "key_name": "canary canary"}

    assert "canary" not in str([*flaws_of("http", data)])


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("BEARER", {"token": "t"}, ("http", {"type": "BEARER", "token": "t"})),
        (" basic ", {"username": "u"}, ("http", {"type": "BASIC", "username": "u"})),
        ("http", {"token": "t"}, ("http", {"type": "BEARER", "token": "t"})),
        ("http", {"client_id": "i", "client_secret": "s", "token_url": "u"},
         ("http", {"type": "OAUTH2", "client_id": "i", "client_secret": "s", "token_url": "u"})),
        ("GitHub", {"token": "t", "webhook_secret": None}, ("github", {"token": "t"})),
    ],
)  # fmt: skip
def test_other_spellings_become_the_stored_one(
    name: str, data: dict[str, Any], expected: tuple[str, dict[str, Any]]
) -> None:
    assert normalised(name, data) == expected


def test_only_what_is_secret_is_secret() -> None:
    data = {"type": "BASIC", "username": "ada", "password": "p", "base_url": "https://x"}

    assert [*secrets_in("http", data)] == ["p"]
    assert [*secrets_in("mcp", {"url": "u", "headers": {"a": "b", "c": ["d"]}})] == ["b", "d"]
    assert [*secrets_in("custom", {"anything": "e"})] == ["e"], "what nobody knows may be a secret"


@pytest.mark.parametrize(
    ("name", "environment", "expected"),
    [
        pytest.param("openai", {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "u"}, {"api_key": "k", "base_url": "u"}, id="key and address"),
        pytest.param("gemini", {"GOOGLE_BASE_URL": "u"}, None, id="an address without a key"),
        pytest.param("google", {"GOOGLE_CLIENT_ID": "i", "GOOGLE_CLIENT_SECRET": "s"}, None, id="a part"),
        pytest.param("search", {"BRAVE_API_KEY": "k"}, {"provider": "brave", "api_key": "k"}, id="what follows from the variable"),
        pytest.param("search", {"SEARXNG_URL": "u"}, {"provider": "searxng", "base_url": "u"}, id="an address is enough"),
        pytest.param("notion", {}, None, id="nothing"),
        pytest.param("postgresql", {"DATABASE_URL": "x"}, None, id="never the engine's own"),
        pytest.param("webhook", {"WEBHOOK_SECRET": "x"}, None, id="a type without variables"),
    ],
)  # fmt: skip
def test_the_environment_stands_in_where_it_has_enough(
    name: str, environment: dict[str, str], expected: dict[str, str] | None
) -> None:
    assert from_environment(TYPES[name], environment) == expected


def test_what_the_environment_gives_is_a_valid_credential() -> None:
    for name, known in TYPES.items():
        for source in known.sources:
            given = dict.fromkeys(source.variables.values(), "https://x")
            data = from_environment(known, given)
            assert data is not None
            assert [*flaws_of(name, data)] == []


def test_every_variable_has_one_meaning() -> None:
    pairs = [
        (variable, field)
        for known in TYPES.values()
        for source in known.sources
        for field, variable in source.variables.items()
    ]

    assert sorted(variable for variable, _ in pairs) == sorted(credential_types.VARIABLES)


def test_a_credential_shows_none_of_its_data() -> None:
    credential = Credential(type="http", data={"type": "BEARER", "token": "canary"}, name="shop")

    assert repr(credential) == "Credential(http, shop)"
    assert [*credential.secrets] == ["canary"]


def test_the_base_url_is_the_credentials_own_before_that_of_its_type() -> None:
    own = Credential(type="github", data={"token": "t", "base_url": "https://ghe.example"})

    assert own.base_url == "https://ghe.example"
    assert Credential(type="github", data={"token": "t"}).base_url == "https://api.github.com"
    assert Credential(type="http", data={"type": "BEARER"}).base_url is None
    assert set(HTTP) == {"BEARER", "BASIC", "API_KEY", "OAUTH2"}
