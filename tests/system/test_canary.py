"""A canary in every place where a secret passes: whatever is done with it, it is found nowhere in clear."""

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from flotilla import ports
from tests.support import servers
from tests.support.http_stub import Answer, HttpStub, Request, ok, serving
from tests.system.test_up import up

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

BEARER = "canary-b3arer-of-the-shop"
PASSWORD = "canary-pa55word-of-ada"
CLIENT_SECRET = "canary-cl1ent-secret"
ACCESS_TOKEN = "canary-acc3ss-token"
GITHUB = "canary-g1thub-token"
WEBHOOK = "canary-w3bhook-token"
SECRETS = (BEARER, PASSWORD, CLIENT_SECRET, ACCESS_TOKEN, GITHUB, WEBHOOK)
MARKER = "no-secret-but-a-marker"
"""Sent like the secrets, and found: so the search finds what is there."""


@pytest.fixture
def shop() -> Iterator[HttpStub]:
    """A service that says everything it hears, and collects spans."""
    stub = HttpStub()

    def echo(request: Request) -> Answer:
        heard = {"headers": dict(request.headers), "query": dict(request.query)}
        return ok(heard, 503 if request.path == "/busy" else 200)

    stub.on("GET", "/.*", echo)
    stub.on("POST", "/token", ok({"access_token": ACCESS_TOKEN, "expires_in": 600}))
    stub.on("POST", "/v1/traces", Answer(200))
    with serving(stub):
        yield stub


def workflow(shop: str) -> dict[str, Any]:
    """Return a document whose nodes use and give away every secret, one after the other."""

    def call(node_id: str, credential: str, path: str = "/ok") -> dict[str, Any]:
        return {
            "id": node_id,
            "type": "ACTION.HTTP_REQUEST",
            "parameters": {"url": f"{shop}{path}"},
            "credentials": {"http": credential},
        }

    def betray(how: str) -> dict[str, Any]:
        return {
            "id": how,
            "type": "CUSTOM.SECRETIVE",
            "parameters": {"how": how},
            "credentials": {"github": "hub"},
        }

    hook = {
        "id": "hook",
        "type": "TRIGGER.WEBHOOK",
        "parameters": {"path": "canary"},
        "credentials": {"webhook": "hook"},
    }
    nodes = [
        hook,
        call("bearer", "shop"),
        call("busy", "shop", "/busy"),
        call("basic", "ada"),
        call("key", "key"),
        call("oauth", "oauth"),
        betray("output"),
        betray("failure"),
        betray("crash"),
    ]
    for each in nodes[1:]:
        each |= {"retry_policy": None, "on_error": "CONTINUE_REGULAR_OUTPUT"}
    wires = [{"from": "hook", "to": each["id"]} for each in nodes[1:]]
    return {"name": "Canary", "nodes": nodes, "connections": wires}


def credentials(shop: str) -> list[dict[str, Any]]:
    """Return the credentials that the nodes name."""
    oauth = {"type": "OAUTH2", "token_url": f"{shop}/token", "client_id": "id"}
    key = {"type": "API_KEY", "api_key": BEARER, "key_name": "k", "key_location": "query"}
    return [
        {"name": "shop", "type": "http", "data": {"type": "BEARER", "token": BEARER}},
        {"name": "ada", "type": "http", "data": {"type": "BASIC", "username": "ada", "password": PASSWORD}},
        {"name": "key", "type": "http", "data": key},
        {"name": "oauth", "type": "http", "data": {**oauth, "client_secret": CLIENT_SECRET}},
        {"name": "hub", "type": "github", "data": {"token": GITHUB}},
        {"name": "hook", "type": "webhook", "data": {"secret": WEBHOOK}},
    ]  # fmt: skip


def spellings() -> Iterator[bytes]:
    """Yield the secrets as they stand in text, and what is the same of them wherever base64 has them inside."""
    for secret in SECRETS:
        yield secret.encode()
        for before in range(3):
            yield base64.b64encode(b"x" * before + secret.encode())[4:-4]


def told(text: str | bytes) -> list[bytes]:
    """Return the secrets that stand in something."""
    data = text.encode() if isinstance(text, str) else text
    return [each for each in spellings() if each in data]


def everything_about(api: httpx.Client, execution: str) -> str:
    """Return all that the API answers about an execution and what it rests on."""
    runs = api.get(f"{execution}/node-runs").json()["items"]
    paths = [
        execution,
        f"{execution}/history?limit=500",
        f"{execution}/explain",
        *(f"{execution}/node-runs/{each['node_id']}" for each in runs),
        *("/v1/credentials", "/v1/integrations", "/v1/workflows", "/v1/dead-letters"),
        *("/metrics", "/openapi.json"),
    ]
    answers = [api.get(path) for path in paths]
    assert {each.status_code for each in answers} == {200}
    return "\n".join(each.text for each in answers)


def files_in(folder: Path) -> dict[str, bytes]:
    """Return all files of an installation that has stopped."""
    return {str(each): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_no_secret_is_found_anywhere_in_clear(shop: HttpStub) -> None:
    settings = {
        "ALLOWED_PRIVATE_HOSTS": "127.0.0.1",
        "NODE_MODULES": "tests.support.secretive",
        "OTEL_EXPORTER_OTLP_ENDPOINT": shop.url,
        "PORT": str(ports.free_port()),  # others look for one from 8002 on, at the same time
    }
    with servers.server_folder() as parent, up(parent / "data", **settings) as stack:
        with httpx.Client(
            base_url=stack.url,
            headers={"authorization": f"Bearer {stack.installation.token()}"},
            timeout=60,
            trust_env=False,
        ) as api:
            answers = [api.post("/v1/credentials", json=each) for each in credentials(shop.url)]
            assert [each.status_code for each in answers] == [201] * 6, answers[0].text
            made = api.post("/v1/workflows", json=workflow(shop.url))
            published = api.post(f"{made.headers['location']}/publish")
            assert published.status_code == 201, published.text
            accepted = httpx.post(
                f"{stack.url}/v1/webhooks/canary",
                json={"marker": MARKER},
                headers={"x-webhook-token": WEBHOOK},
            )
            assert accepted.status_code == 202, accepted.text
            execution = accepted.headers["location"]
            ended = api.get(f"{execution}?wait=60").json()
            shown = everything_about(api, execution)
        stack.signal(signal.SIGINT)
        assert stack.wait() == 0
        lines = "\n".join(stack.lines)
        files = files_in(stack.folder)
        keys_mode = stack.installation.secret_keys_file.stat().st_mode & 0o777

    assert ended["status"] == "SUCCESS", ended
    assert ended["continued_errors"] == 3
    _check_that_the_secrets_were_used(shop)
    assert MARKER in shown
    assert "token_seen" in lines
    assert "cannot go on with ***" in lines
    assert {"bearer": "Bearer ***"}.items() <= _authorizations(shown).items()
    assert told(shown) == []
    assert told(lines) == []
    assert told(b"\n".join(each.body for each in shop.asked("POST", "/v1/traces"))) == []
    assert any(MARKER.encode() in data for name, data in files.items() if "/postgres/" in name)
    assert any(MARKER.encode() in data for name, data in files.items() if "/nats/" in name)
    assert {name: told(data) for name, data in files.items() if told(data)} == {}
    assert keys_mode == 0o600


def _check_that_the_secrets_were_used(shop: HttpStub) -> None:
    """The search would find nothing either if nobody had used them."""
    sent = {each.headers.get("authorization") for each in shop.requests}
    basic = "Basic " + base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    client = "Basic " + base64.b64encode(f"id:{CLIENT_SECRET}".encode()).decode()
    assert {f"Bearer {BEARER}", f"Bearer {ACCESS_TOKEN}", basic, client} <= sent
    assert [BEARER] in [each.query.get("k") for each in shop.requests]
    assert shop.asked("POST", "/v1/traces"), "spans were sent"
    assert parse_qs(shop.asked("POST", "/token")[0].body.decode())["grant_type"]


def _authorizations(shown: str) -> dict[str, str]:
    """Return what each call was echoed as its Authorization header, by node."""
    found = {}
    for line in shown.splitlines():
        try:
            run = json.loads(line)
        except ValueError:
            continue
        if isinstance(run, dict) and run.get("node_id") and run.get("ports"):
            body = (run["ports"].get("main") or {}).get("body")
            if isinstance(body, dict) and "headers" in body:
                found[run["node_id"]] = body["headers"].get("authorization", "")
    return found
