"""Settings: defaults, what is read from an environment, and what is said about bad values."""

import base64
import re
from pathlib import Path

import msgspec
import pytest

from contracts import credential_types
from flotilla import settings
from flotilla.settings import (
    CREDENTIAL_VARIABLES,
    LIMIT_VARIABLES,
    NEEDS,
    VARIABLES,
    Limits,
    MissingSettings,
    Process,
    Settings,
    SettingsError,
)

SECRET = "s3cret-of-nobody"


def test_an_empty_environment_gives_the_defaults_of_the_contract() -> None:
    read = settings.read({})

    assert read == Settings()
    assert (read.host, read.port, read.environment) == ("127.0.0.1", 8002, "development")
    assert read.data_dir == Path(".flotilla")
    assert (read.worker_types, read.worker_concurrency, read.drain_seconds) == ((), 64, 30)
    assert (read.log_level, read.log_format) == ("INFO", None)


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        pytest.param("DATABASE_URL", "postgres://u:p@h/d", "postgres://u:p@h/d", id="postgres is postgresql"),
        pytest.param("NATS_URL", "nats://a:1, b:2", "nats://a:1, b:2", id="several servers"),
        pytest.param("REDIS_URL", "rediss://h:1/0", "rediss://h:1/0", id="redis over TLS"),
        pytest.param("NATS_CREDS", "/a/b.creds", Path("/a/b.creds"), id="path"),
        pytest.param("PORT", "65535", 65_535, id="highest port"),
        pytest.param("FLOTILLA_URL", "https://x.example/", "https://x.example", id="no slash at the end"),
        pytest.param("ENVIRONMENT", "Production", "production", id="any case"),
        pytest.param("ALLOWED_PRIVATE_HOSTS", "db, 10.0.0.0/8,h:8002", ("db", "10.0.0.0/8", "h:8002"), id="hosts"),
        pytest.param("WORKER_TYPES", "action, flow.if", ("ACTION", "FLOW.IF"), id="types in any case"),
        pytest.param("DRAIN_SECONDS", "0.5", 0.5, id="part of a second"),
        pytest.param("LOG_LEVEL", "debug", "DEBUG", id="level in any case"),
        pytest.param("LOG_FORMAT", "JSON", "json", id="format in any case"),
        pytest.param("OTEL_SDK_DISABLED", "TRUE", True, id="boolean in any case"),
        pytest.param("DEFAULT_NAMESPACE", "01900000-0000-7000-8000-00000000000A", "01900000-0000-7000-8000-00000000000a", id="uuid"),
    ],
)  # fmt: skip
def test_a_good_value_is_read(variable: str, text: str, value: object) -> None:
    read = settings.read({variable: f" {text} "})

    assert getattr(read, VARIABLES[variable].field) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        pytest.param("DATABASE_URL", "mysql://h/d", id="another database"),
        pytest.param("DATABASE_URL", "h:5432", id="no URL"),
        pytest.param("NATS_URL", "nats://a:1,http://b", id="one of several is wrong"),
        pytest.param("REDIS_URL", "redis://", id="no host"),
        pytest.param("PORT", "0", id="port too small"),
        pytest.param("PORT", "65536", id="port too large"),
        pytest.param("PORT", "80.5", id="port with a fraction"),
        pytest.param("PORT", "9" * 400, id="port of many digits"),
        pytest.param("FLOTILLA_URL", "flotilla.example", id="no scheme"),
        pytest.param("ENVIRONMENT", "staging", id="unknown environment"),
        pytest.param("ALLOWED_PRIVATE_HOSTS", "http://h", id="a URL is no host"),
        pytest.param("ALLOWED_PRIVATE_HOSTS", "10.0.0.0/99", id="no network"),
        pytest.param("WORKER_TYPES", "ACTION.HTTP.REQUEST", id="three parts"),
        pytest.param("WORKER_CONCURRENCY", "0", id="no slot"),
        pytest.param("DRAIN_SECONDS", "nan", id="not a number"),
        pytest.param("DRAIN_SECONDS", "-1", id="negative"),
        pytest.param("DEFAULT_NAMESPACE", "me", id="no uuid"),
        pytest.param("LOG_LEVEL", "LOUD", id="unknown level"),
        pytest.param("DEV_TOKEN", "a b", id="blank in a token"),
        pytest.param("FLOTILLA_TOKEN", "schlüssel", id="letter that no header carries"),
        pytest.param("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317", id="no scheme of OTLP/HTTP"),
        pytest.param("OTEL_SDK_DISABLED", "1", id="boolean as a number"),
        pytest.param("LIMIT_STREAMS", "0", id="limit of nothing"),
        pytest.param("LIMIT_BODY_BYTES", "16 MiB", id="limit with a unit"),
        pytest.param("LIMIT_TRIES", "2", id="fewer tries than nodes have by default"),
        pytest.param("LIMIT_TRIES", "101", id="more tries than pauses can be counted for"),
        pytest.param("LIMIT_EXPRESSION_CHARS", "4097", id="longer expressions than plans read"),
        pytest.param("LIMIT_NODE_TIMEOUT_S", "0.5", id="part of a second"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_its_name_and_what_is_allowed(variable: str, text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings.read({variable: text})

    (bad,) = refused.value.bad
    assert bad.variable == variable
    assert str(refused.value) == f"{variable}: {bad.problem}; allowed: {bad.allowed}"
    assert bad.allowed


def test_all_bad_values_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        settings.read({"PORT": "x", "HOST": "127.0.0.1", "LIMIT_STREAMS": "x", "LOG_FORMAT": "x"})

    assert [bad.variable for bad in refused.value.bad] == ["PORT", "LOG_FORMAT", "LIMIT_STREAMS"]


def test_an_empty_variable_counts_as_not_set_and_an_unknown_one_is_ignored() -> None:
    assert settings.read({"PORT": " ", "REDIS_URL": "", "FLOTILLA_COLOUR": "red"}) == Settings()


@pytest.mark.parametrize("variable", [name for name, each in VARIABLES.items() if each.is_secret])
def test_a_secret_shows_in_no_message_and_no_repr(variable: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings.read({variable: f"ftp://u:{SECRET} @h"})

    assert SECRET not in str(refused.value)
    assert SECRET not in repr(
        msgspec.structs.replace(Settings(), **{VARIABLES[variable].field: SECRET})
    )


def test_every_field_has_a_variable_of_its_name_and_every_limit_too() -> None:
    fields = set(Settings.__struct_fields__) - {"limits", "environment_credentials"}

    assert {name.lower() for name in VARIABLES} == fields
    assert {variable.field for variable in VARIABLES.values()} == fields
    assert set(LIMIT_VARIABLES) == {f"LIMIT_{name.upper()}" for name in Limits.__struct_fields__}


@pytest.mark.parametrize("variable", LIMIT_VARIABLES)
def test_a_limit_is_read_and_zero_is_none(variable: str) -> None:
    field = LIMIT_VARIABLES[variable].field

    assert settings.read({variable: "4000"} if field not in SMALL else {variable: "7"}).limits == (
        Limits(**{field: 7 if field in SMALL else 4000})
    )
    with pytest.raises(SettingsError, match=rf"{variable}: '0' is too small; allowed: a whole"):
        settings.read({variable: "0"})


SMALL = ("tries", "loop_depth", "child_depth")


def test_the_allowed_range_is_told() -> None:
    with pytest.raises(
        SettingsError, match=r"LIMIT_TRIES: '2' is too small; .*: a whole number, 3"
    ):
        settings.read({"LIMIT_TRIES": "2"})


def test_every_limit_that_an_error_names_is_a_setting() -> None:
    root = Path(settings.__file__).parent.parent
    packages = ("bus", "contracts", "db", "gateway", "nodes", "scheduler", "workers")
    named = re.compile(r"LIMIT_[A-Z_]*[A-Z]|(?<=limit=\")[A-Z_]+(?=\")")

    found = {
        name if name.startswith("LIMIT_") else f"LIMIT_{name}"
        for package in packages
        for file in (root / package).rglob("*.py")
        for name in named.findall(file.read_text())
    }

    assert found >= {"LIMIT_NODES", "LIMIT_TRIES", "LIMIT_NODE_TIMEOUT_S"}
    assert found - set(LIMIT_VARIABLES) == set()


@pytest.mark.parametrize("process", NEEDS)
def test_a_process_names_the_variables_that_it_misses(process: Process) -> None:
    needs = NEEDS[process]
    if not needs:
        settings.check(Settings(), process)
        return

    with pytest.raises(MissingSettings) as missing:
        settings.check(Settings(), process)

    assert missing.value.variables == needs
    assert all(name in str(missing.value) for name in needs)


@pytest.mark.parametrize(
    "unsafe",
    [
        pytest.param({"ENVIRONMENT": "production"}, id="production"),
        pytest.param({"HOST": "0.0.0.0"}, id="every address"),  # noqa: S104
        pytest.param({"HOST": "192.168.1.4"}, id="an address of the network"),
        pytest.param({"HOST": "flotilla.example"}, id="a name"),
    ],
)
def test_a_dev_token_is_refused_where_others_could_use_it(unsafe: dict[str, str]) -> None:
    read = settings.read({"DEV_TOKEN": SECRET, "NATS_URL": "nats://h", **unsafe})

    with pytest.raises(SettingsError, match="DEV_TOKEN: ") as refused:
        settings.check(read, "worker")

    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_a_dev_token_is_fine_on_loopback(host: str) -> None:
    settings.check(
        settings.read({"DEV_TOKEN": SECRET, "NATS_URL": "nats://h", "HOST": host}), "worker"
    )


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        pytest.param({}, None, id="nobody collects"),
        pytest.param({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318/"}, "http://h:4318/v1/traces", id="common"),
        pytest.param(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x"},
            "http://t/x",
            id="the one for traces wins, as it stands",
        ),
        pytest.param(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_SDK_DISABLED": "true"}, None, id="disabled"
        ),
    ],
)  # fmt: skip
def test_the_traces_endpoint_follows_opentelemetrys_variables(
    environ: dict[str, str], endpoint: str | None
) -> None:
    assert settings.read(environ).traces_endpoint == endpoint


def test_nothing_else_in_flotilla_reads_the_environment() -> None:
    root = Path(settings.__file__).parent.parent
    packages = ("bus", "contracts", "db", "flotilla", "gateway", "nodes", "scheduler", "workers")
    reading = re.compile(r"\bos\.environ\b|\bgetenv\b")

    readers = {
        file.relative_to(root).as_posix()
        for package in packages
        for file in (root / package).rglob("*.py")
        if reading.search(file.read_text())
    }

    assert readers == {"flotilla/settings.py"}


def test_settings_are_a_value() -> None:
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc]

    assert msgspec.structs.replace(Settings(), port=1).port == 1


KEY = base64.b64encode(b"k" * 32).decode()


def test_secret_keys_are_read_in_their_order() -> None:
    read = settings.read({"SECRET_KEYS": f"new:{KEY}, old:{base64.b64encode(b'o' * 32).decode()}"})

    assert read.secret_keys == (("new", b"k" * 32), ("old", b"o" * 32))
    assert repr(read) == "Settings(secret_keys)"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(KEY, "no id", id="no id"),
        pytest.param(f":{KEY}", "no id", id="an empty id"),
        pytest.param(f"a b:{KEY}", "no id", id="an id with a blank"),
        pytest.param(f"a:{KEY},a:{KEY}", "an id twice", id="an id twice"),
        pytest.param(f"a:{KEY},b:{KEY}%", "key 2 that is no base64", id="no base64"),
        pytest.param(f"a:{base64.b64encode(b'k' * 31).decode()}", "of 31 bytes", id="a short key"),
    ],
)
def test_keys_that_cannot_be_used_are_refused_untold(text: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as refused:
        settings.read({"SECRET_KEYS": text})

    assert KEY not in str(refused.value)


@pytest.mark.parametrize("process", ["gateway", "scheduler"])
def test_production_needs_keys(process: Process) -> None:
    given = settings.read(
        {"ENVIRONMENT": "production", "DATABASE_URL": "postgresql://h/d", "NATS_URL": "nats://h"}
    )

    with pytest.raises(SettingsError, match="SECRET_KEYS: is not set"):
        settings.check(given, process)
    settings.check(msgspec.structs.replace(given, secret_keys=(("a", b"k" * 32),)), process)
    settings.check(given, "worker")
    settings.check(msgspec.structs.replace(given, environment="development"), process)


def test_what_stands_in_for_credentials_is_read_and_not_shown() -> None:
    read = settings.read({"OPENAI_API_KEY": "canary", "SLACK_BOT_TOKEN": " t ", "NOTION_TOKEN": ""})

    assert read.environment_credentials == {"OPENAI_API_KEY": "canary", "SLACK_BOT_TOKEN": "t"}
    assert repr(read) == "Settings(environment_credentials)"
    assert set(CREDENTIAL_VARIABLES) == set(credential_types.VARIABLES)
