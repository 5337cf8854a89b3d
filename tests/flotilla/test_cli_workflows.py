"""`apply` and `validate`, against a gateway of a few lines that keeps workflows."""

import json
from pathlib import Path
from typing import Any

import pytest

from flotilla.cli.exits import Exit
from tests.support.command_line import CommandLine
from tests.support.http_stub import Answer, HttpStub, Request, ok, problem

DOCUMENT = {"name": "Hello", "nodes": [{"id": "a", "type": "FLOW.NOOP"}]}
DEFAULTS: dict[str, Any] = {"description": "", "connections": [], "tags": []}
BAD = {
    "pointer": "/nodes/0/type",
    "code": "unknown_node_type",
    "message": "there is no node type X",
}


class Workflows:
    """Keeps workflows as the gateway does, as far as `apply` can see."""

    def __init__(self, api: HttpStub) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.problems: list[dict[str, Any]] = []
        api.on("POST", "/v1/workflows/validate", self._validate)
        api.on("POST", "/v1/workflows", self._create)
        api.on("GET", "/v1/workflows", self._list)
        api.on("GET", "/v1/workflows/([^/]+)", lambda request: ok(self.kept[request.groups[0]]))
        api.on("PUT", "/v1/workflows/([^/]+)", self._update)
        api.on("POST", "/v1/workflows/([^/]+)/publish", self._publish)

    def add(self, **fields: Any) -> dict[str, Any]:
        workflow = {
            **DEFAULTS, **DOCUMENT, **fields,
            "id": f"id{len(self.kept)}", "revision": 1, "valid": True, "problems": self.problems,
        }  # fmt: skip
        self.kept[workflow["id"]] = workflow
        return workflow

    def _validate(self, request: Request) -> Answer:
        refused = [each for each in self.problems if each["code"] == "unknown_node_type"]
        document = None if refused else {**DEFAULTS, **request.json}
        return ok(
            {
                "valid": not self.problems,
                "errors": self.problems,
                "warnings": [],
                "document": document,
            }
        )

    def _create(self, request: Request) -> Answer:
        return ok(self.add(**request.json), 201)

    def _list(self, request: Request) -> Answer:
        names = request.query["name"]
        return ok({"items": [each for each in self.kept.values() if each["name"] in names]})

    def _update(self, request: Request) -> Answer:
        workflow = self.kept[request.groups[0]]
        if request.headers["if-match"] != f'"{workflow["revision"]}"':
            return problem(412, "revision_mismatch")
        workflow |= request.json | {"revision": workflow["revision"] + 1}
        return ok(workflow)

    def _publish(self, request: Request) -> Answer:
        if self.problems:
            return problem(422, "invalid_document", errors=self.problems)
        return ok({"version": 1, "document": DOCUMENT}, 201)


@pytest.fixture
def workflows(api: HttpStub) -> Workflows:
    return Workflows(api)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "hello.json"
    file.write_text(json.dumps(DOCUMENT, indent=1))
    return file


class TestApply:
    """A file becomes a workflow."""

    def test_a_workflow_is_created_then_left_alone_then_updated(
        self, client_commands: CommandLine, workflows: Workflows, file: Path
    ) -> None:
        created = client_commands("apply", file, "-o", "json")
        again = client_commands("apply", file, "-o", "json")
        file.write_text(json.dumps({**DOCUMENT, "description": "said"}))
        updated = client_commands("apply", file, "-o", "json")

        actions = [json.loads(each.out)["action"] for each in (created, again, updated)]
        assert actions == ["created", "unchanged", "updated"]
        assert [each["description"] for each in workflows.kept.values()] == ["said"]

    def test_what_the_file_does_not_say_is_reset(
        self, client_commands: CommandLine, workflows: Workflows, file: Path
    ) -> None:
        workflows.add(tags=["old"])

        assert client_commands("apply", file).code == Exit.DONE
        assert workflows.kept["id0"]["tags"] == []

    def test_a_path_that_was_made_up_for_a_webhook_stays(
        self, client_commands: CommandLine, workflows: Workflows, file: Path
    ) -> None:
        hook = {"id": "hook", "type": "TRIGGER.WEBHOOK", "parameters": {"methods": ["PUT"]}}
        made = {**hook, "parameters": {**hook["parameters"], "path": "9f2c"}}  # type: ignore[dict-item]
        workflows.add(nodes=[made])
        file.write_text(json.dumps({**DOCUMENT, "nodes": [hook]}))

        again = client_commands("apply", file, "-o", "json")
        hook["parameters"] = {}
        file.write_text(json.dumps({**DOCUMENT, "nodes": [hook]}))
        updated = client_commands("apply", file, "-o", "json")

        actions = [json.loads(each.out)["action"] for each in (again, updated)]
        assert actions == ["unchanged", "updated"]
        assert workflows.kept["id0"]["nodes"] == [{**hook, "parameters": {"path": "9f2c"}}]

    def test_a_dry_run_does_nothing(
        self, client_commands: CommandLine, workflows: Workflows, file: Path
    ) -> None:
        ended = client_commands("apply", file, "--dry-run", "-o", "json")

        assert ended.code == Exit.DONE
        assert json.loads(ended.out) == {"action": "created", "name": "Hello", "dry_run": True}
        assert workflows.kept == {}

    def test_publishing_tells_the_version(
        self, client_commands: CommandLine, workflows: Workflows, file: Path
    ) -> None:
        ended = client_commands("apply", file, "--publish", "-o", "json")

        assert json.loads(ended.out)["published_version"] == 1

    def test_of_several_workflows_of_the_name_one_must_be_chosen(
        self, client_commands: CommandLine, workflows: Workflows, file: Path
    ) -> None:
        workflows.add(description="first")
        workflows.add(description="second")

        refused = client_commands("apply", file)
        chosen = client_commands("apply", file, "--id", "id1")

        assert refused.code == Exit.USAGE
        assert "--id: id0, id1" in refused.err
        assert chosen.code == Exit.DONE
        assert workflows.kept["id0"]["description"] == "first"
        assert workflows.kept["id1"]["description"] == ""

    def test_a_document_that_cannot_be_saved_is_refused_with_lines(
        self, client_commands: CommandLine, workflows: Workflows, file: Path
    ) -> None:
        workflows.problems = [BAD]

        ended = client_commands("apply", file)

        assert ended.code == Exit.USAGE
        assert f"{file}:6 /nodes/0/type: unknown_node_type: there is no node type X" in ended.err
        assert workflows.kept == {}

    def test_a_draft_with_problems_is_saved_and_not_published(
        self, client_commands: CommandLine, workflows: Workflows, file: Path
    ) -> None:
        workflows.problems = [
            {"pointer": "/nodes/0", "code": "missing_parameter", "message": "x is missing"}
        ]

        saved = client_commands("apply", file, "-o", "json")
        refused = client_commands("apply", file, "--publish")

        assert json.loads(saved.out)["problems"][0]["code"] == "missing_parameter"
        assert refused.code == Exit.USAGE
        assert "missing_parameter: x is missing" in refused.err


class TestValidate:
    """A file is checked and nothing stored."""

    def test_a_valid_file_ends_with_0(
        self, client_commands: CommandLine, workflows: Workflows, file: Path
    ) -> None:
        ended = client_commands("validate", file)

        assert (ended.code, ended.out) == (Exit.DONE, f"{file}: valid\n")
        assert workflows.kept == {}

    def test_everything_that_is_wrong_is_listed_with_its_line(
        self, client_commands: CommandLine, workflows: Workflows, file: Path
    ) -> None:
        workflows.problems = [BAD]

        table = client_commands("validate", file)
        as_json = client_commands("validate", file, "-o", "json")

        assert table.code == as_json.code == Exit.USAGE
        assert f"{file}:6 /nodes/0/type  error     unknown_node_type" in table.out
        assert json.loads(as_json.out) == {"valid": False, "errors": [BAD], "warnings": []}

    def test_a_warning_refuses_nothing(
        self, client_commands: CommandLine, api: HttpStub, workflows: Workflows, file: Path
    ) -> None:
        warning = {"pointer": "", "code": "no_trigger", "message": "nothing starts it"}
        api.on(
            "POST",
            "/v1/workflows/validate",
            ok({"valid": True, "errors": [], "warnings": [warning], "document": {}}),
        )

        ended = client_commands("validate", file)

        assert ended.code == Exit.DONE
        assert "warning" in ended.out
