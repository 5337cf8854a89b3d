"""The workflows in `examples`, on one `flotilla up` and beside the shop that they call."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flotilla import documents, samples
from flotilla.client import ApiProblem, Client
from tests.support import clients, servers
from tests.system.test_up import Stack, flotilla, up

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

EXAMPLES = Path("examples")
SHOP = "http://127.0.0.1:8801"
NAMES = (
    "large-orders", "support-answer", "book-invoice", "invoice-received", "ten-thousand",
)  # fmt: skip
QUESTION = {"email": "ada@example.org", "question": "Where is my order?"}
LATE = {"interaction_id": "i", "due_at": "2026-01-01T04:00:00Z"}
NOBODY_REVIEWS = {"pin_data": {"review": {"ports": {"timeout": LATE}}}}


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    """The address of a running shop."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "shop.py"), "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        match = re.search(r"http://\S+", process.stdout.readline())
        assert match is not None
        yield match[0]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Everything, with nodes that may call the shop; it says little, for nobody reads what it says."""
    settings = {"ALLOWED_PRIVATE_HOSTS": "127.0.0.1", "LOG_LEVEL": "WARNING"}
    with servers.server_folder() as folder, up(folder / "data", **settings) as stack:
        yield stack


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    async with Client(stack.url, stack.installation.token()) as client:
        yield client


@pytest.fixture(scope="module")
def workflows(stack: Stack, shop: str) -> dict[str, str]:
    """The ids of the examples, all of them published."""

    async def publish_all() -> dict[str, str]:
        async with Client(stack.url, stack.installation.token()) as client:
            return {name: await clients.published(client, document(name, shop)) for name in NAMES}

    return asyncio.run(publish_all())


def document(name: str, shop: str) -> Any:
    """An example, with the address of the shop of these tests."""
    read = documents.read_file(EXAMPLES / f"{name}.yaml")
    return json.loads(json.dumps(read.value).replace(SHOP, shop))


def test_every_example_is_run_here_or_is_a_sample_of_up() -> None:
    elsewhere = {samples.TABLE_FILE, samples.EVENT_FILE}

    files = {file.name for file in EXAMPLES.glob("*.yaml")}

    assert files == {f"{name}.yaml" for name in (*NAMES, "site-report")} | elsewhere


class TestLargeOrders:
    @pytest.mark.parametrize(
        ("order_id", "answer"),
        [
            (7, {"channel": "#orders", "text": "Order A-7: 1400 EUR"}),
            (3, {"key": "small_orders", "by": 1, "order": "A-3"}),
        ],
        ids=["large", "small"],
    )
    def test_the_caller_gets_what_the_one_leaf_answered(
        self, stack: Stack, workflows: dict[str, str], order_id: int, answer: Any
    ) -> None:
        got = httpx.post(f"{stack.url}/v1/webhooks/orders", json={"order_id": order_id}, timeout=60)

        assert (got.status_code, got.json()) == (200, answer)

    async def test_the_caller_of_an_execution_that_fails_is_told_which(
        self, stack: Stack, client: Client, workflows: dict[str, str]
    ) -> None:
        async with httpx.AsyncClient(base_url=stack.url, timeout=60) as caller:
            got = await caller.post("/v1/webhooks/orders", json={"order_id": "unknown"})

        assert (got.status_code, got.json()["code"]) == (500, "execution_failed")
        failed = await clients.ended(client, got.json()["execution_id"])
        assert (failed["failure"]["code"], failed["failure"]["node_id"]) == ("not_found", "fetch")


async def test_the_night_starts_a_report_that_counts_sites_that_are_down(
    client: Client, shop: str
) -> None:
    report = document("site-report", shop)
    assert report["nodes"][0]["parameters"]["cron"] == "0 3 * * *"
    report["nodes"][0]["parameters"]["cron"] = "* * * * * *"  # a night every second

    workflow_id = await clients.published(client, report)
    started = await clients.first_execution(client, workflow_id)
    await client.post(f"/v1/workflows/{workflow_id}/deactivate", {})
    execution = await clients.ended(client, started)

    assert (execution["mode"], execution["status"]) == ("TRIGGER", "SUCCESS")
    assert execution["input"]["timezone"] == "Europe/Berlin"
    answer = execution["output"]["report"]
    assert answer["title"] == "2 of 7 down"
    assert answer["down"] == [
        {"site": f"{shop}/sites/broken", "code": "unavailable"},
        {"site": "http://127.0.0.1:9/nobody-listens-here", "code": "connection_failed"},
    ]
    names = ("books", "music", "films", "games", "news")
    assert answer["up"] == [f"{shop}/sites/{name}" for name in names]


class TestSupportAnswer:
    async def test_what_a_person_edited_is_sent(
        self, client: Client, workflows: dict[str, str]
    ) -> None:
        execution_id = await clients.execute(client, workflows["support-answer"], QUESTION)
        await clients.until(client, execution_id, "node_waiting")
        query = {"execution_id": execution_id}
        (asked,) = (await client.get("/v1/interactions", query))["items"]
        answer = {"approved": True, "value": {"text": "On its way"}}
        await client.post(f"/v1/interactions/{asked['id']}/respond", answer)

        execution = await clients.ended(client, execution_id)

        assert asked["title"] == "Answer to ada@example.org"
        sent = {"to": ["ada@example.org"], "subject": "Your question", "text": "On its way"}
        assert execution["output"] == {"send": sent}

    async def test_a_question_without_its_fields_is_refused(
        self, client: Client, workflows: dict[str, str]
    ) -> None:
        with pytest.raises(ApiProblem) as refused:
            await clients.execute(client, workflows["support-answer"], {"email": "a@example.org"})

        assert refused.value.status == 422
        assert [each.pointer for each in refused.value.problem.errors] == ["/input/question"]


class TestInvoices:
    @pytest.mark.parametrize(
        ("invoice", "children", "answer"),
        [
            ("INV-1", 1, {"book": {"invoice": "INV-1", "total": 80, "booking": "INV-1/1"}}),
            ("INV-2", 3, {"book": {"invoice": "INV-2", "total": 80, "booking": "INV-2/3"}}),
            ("INV-3", 4, None),
        ],
        ids=["at once", "after three tries", "never"],
    )
    async def test_an_invoice_is_booked_by_a_child_in_up_to_four_tries(
        self, stack: Stack, client: Client, workflows: dict[str, str],
        invoice: str, children: int, answer: Any,
    ) -> None:  # fmt: skip
        execution_id = send_invoice(stack, invoice)

        execution = await clients.ended(client, execution_id)
        query = {"parent_execution_id": execution_id}
        started = (await client.get("/v1/executions", query))["items"]

        assert (execution["mode"], execution["status"]) == ("TRIGGER", "SUCCESS")
        assert {each["workflow_id"] for each in started} == {workflows["book-invoice"]}
        assert len(started) == children
        if answer is not None:
            assert execution["output"] == answer
            return
        assert execution["continued_errors"] == 1
        alert = execution["output"]["alert"]
        assert alert["title"] == "Invoice INV-3 not booked"
        assert alert["message"].endswith("answered with status 503 (after 4 attempts)")


def send_invoice(stack: Stack, invoice: str) -> str:
    """Publish an invoice with plain NATS, follow it to its end, and return the execution that it started."""
    nats_url = next(line.split()[1] for line in stack.lines if line.startswith("  NATS "))
    data = {"id": invoice, "total": 80, "lines": [{"sku": "x1", "quantity": 4, "price": 20}]}
    sent = subprocess.run(
        [
            sys.executable, str(EXAMPLES / "send_event.py"), nats_url,
            "--subject", "flotilla.trigger.invoices.received", "--data", json.dumps(data),
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert sent.returncode == 0, sent.stdout + sent.stderr
    found = re.search(r'"execution_id": "([^"]+)"', sent.stdout)
    assert found is not None
    return found[1]


async def test_ten_thousand_iterations_give_exactly_their_results(
    client: Client, workflows: dict[str, str]
) -> None:
    answer = await clients.output(client, workflows["ten-thousand"])

    assert answer == {
        "check": {"count": 10_000, "failed": 0, "sum": 99_990_000, "exact": True},
    }


class TestByFlotillaRun:
    """The flows once more, as a user tries them: one command takes the file, runs it, and prints its output."""

    @pytest.mark.parametrize(
        ("order_id", "leaf"),
        [
            (6, {"notify": {"channel": "#orders", "text": "Order A-6: 1200 EUR"}}),
            (5, {"count": {"key": "small_orders", "by": 1, "order": "A-5"}}),
        ],
        ids=["large", "small"],
    )
    def test_an_order_goes_the_way_of_its_size(
        self, stack: Stack, shop: str, tmp_path: Path, order_id: int, leaf: Any
    ) -> None:
        file = written("large-orders", shop, tmp_path)

        done = flotilla_run(stack, file, {"body": {"order_id": order_id}})

        assert done == (0, leaf)

    def test_the_report_need_not_wait_for_the_night(
        self, stack: Stack, shop: str, tmp_path: Path
    ) -> None:
        code, output = flotilla_run(stack, written("site-report", shop, tmp_path), {})

        assert code == 0
        report = output["report"]
        assert report["title"] == "2 of 7 down"
        assert (report["metadata"]["sites"], report["metadata"]["down"]) == (7, 2)
        assert json.loads(report["content"]) == report["metadata"]

    async def test_an_answer_waits_for_a_person_and_is_sent_as_edited(
        self, stack: Stack, client: Client, shop: str, tmp_path: Path
    ) -> None:
        file = written("support-answer", shop, tmp_path)
        started = flotilla(stack.folder, "run", file, "--input", json.dumps(QUESTION))
        assert started.returncode == 0, started.stderr
        execution_id = json.loads(started.stdout)["id"]
        await clients.until(client, execution_id, "node_waiting")
        (asked,) = (await client.get("/v1/interactions", {"execution_id": execution_id}))["items"]
        answer = {"approved": True, "value": {"text": "It is here"}}
        await client.post(f"/v1/interactions/{asked['id']}/respond", answer)

        watched = flotilla(stack.folder, "executions", "watch", execution_id)

        assert watched.returncode == 0, watched.stderr
        sent = {"to": ["ada@example.org"], "subject": "Your question", "text": "It is here"}
        assert json.loads(watched.stdout) == {"send": sent}

    def test_an_answer_that_nobody_reviews_in_time_fails(
        self, stack: Stack, shop: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "late.json"
        file.write_text(json.dumps(document("support-answer", shop) | NOBODY_REVIEWS))

        done = flotilla(stack.folder, "run", str(file), "--wait", "--input", json.dumps(QUESTION))

        assert done.returncode == 1
        assert "no_review" in done.stderr
        assert "nobody reviewed the answer until 2026-01-01T04:00:00Z" in done.stderr

    @pytest.mark.parametrize("invoice", ["INV-4", "INV-3"], ids=["booked", "never booked"])
    def test_an_invoice_is_booked_by_the_other_workflow_or_a_person_is_told(
        self, stack: Stack, workflows: dict[str, str], shop: str, tmp_path: Path, invoice: str
    ) -> None:
        file = written("invoice-received", shop, tmp_path)
        lines = [{"sku": "x1", "quantity": 4, "price": 20}]

        code, output = flotilla_run(stack, file, {"data": {"id": invoice, "lines": lines}})

        assert code == 0
        if invoice == "INV-4":
            booked = {"invoice": "INV-4", "total": 80, "booking": "INV-4/1"}
            assert output == {"book": booked}
        else:
            assert output["alert"]["to"] == "finance@example.com"
            assert output["alert"]["message"].endswith("(after 4 attempts)")


def written(name: str, shop: str, folder: Path) -> str:
    """Write an example with the address of the shop of these tests, and return the file's path."""
    text = (EXAMPLES / f"{name}.yaml").read_text().replace(SHOP, shop)
    file = folder / f"{name}.yaml"
    file.write_text(text)
    return str(file)


def flotilla_run(stack: Stack, file: str, value: Any) -> tuple[int, Any]:
    """Run a file to its end with the command line, and return the exit code and the output."""
    done = flotilla(stack.folder, "run", file, "--wait", "--input", json.dumps(value))
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)
