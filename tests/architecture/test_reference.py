"""The reference says what the code does: nothing is missing from it, and its examples are true.

Examples carry a word after the language of their fence: `document` for a complete document, `scope` for the
names that expressions see, `handler` for a module of node types, and the name of a message for its JSON.
"""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import typer.main

from contracts import credential_types, credentials, history, messages, payloads
from contracts.expressions.errors import ExpressionError
from contracts.expressions.functions.catalogue import FUNCTIONS
from contracts.expressions.interpreter import evaluate
from contracts.expressions.parser import LIST_MACROS
from contracts.expressions.templates import render
from contracts.failures import FailureKind
from contracts.history import DATA_OF
from contracts.problems import SEVERITY
from contracts.schedules import Calendar
from contracts.specs import Catalogue
from contracts.statuses import ExecutionStatus, NodeRunStatus, SkipReason
from contracts.validation import examine
from flotilla import documents
from flotilla.cli.exits import Exit
from flotilla.cli.main import app
from flotilla.cron import read_cron
from flotilla.settings import CREDENTIAL_VARIABLES, LIMIT_VARIABLES, VARIABLES, Limits
from gateway import problems
from gateway.input_schemas import InputSchemas
from gateway.routes import OPERATIONS
from nodes.catalogue import builtin_specs
from nodes.regex import Re2
from tests.architecture.test_source_rules import ROOT

FOLDER: Final = ROOT / "docs" / "reference"
PAGES: Final = {path.name: path.read_text() for path in sorted(FOLDER.glob("*.md"))}
REGEX: Final = Re2()
CATALOGUE: Final = Catalogue(builtin_specs())
CALENDAR: Final = Calendar(read_cron)

FENCE: Final = re.compile(r"^```(\w+) (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CELL: Final = re.compile(r"(?<!\\)\|")
LINK: Final = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")

RAW: Final = {"execution": messages.TaskExecution, "node": messages.TaskNode}
"""What a task carries as bytes."""


def fences(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield language, word and text of the examples of a page."""
    yield from FENCE.findall(PAGES[name])


def rows(name: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield each row of each table of a page, after the heads of its table."""
    heads: list[str] | None = None
    for line in PAGES[name].splitlines():
        if not line.startswith("|"):
            heads = None
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in CELL.split(line)[1:-1]]
        if heads is None:
            heads = cells
        elif not set("".join(cells)) <= {"-"}:
            yield heads, cells


def code(cell: str) -> str:
    """Return what stands in the backticks of a cell."""
    return cell.removeprefix("`").removesuffix("`")


def quoted(name: str) -> set[str]:
    """Return everything that stands in backticks on a page, outside of fences."""
    return set(re.findall(r"`([^`\n]+)`", FENCE.sub("", PAGES[name])))


def section(name: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one of its level."""
    begin = PAGES[name].index(f"\n## {heading}\n")
    end = PAGES[name].find("\n## ", begin + 1)
    return PAGES[name][begin:end]


def missing(wanted: set[str], found: set[str]) -> list[str]:
    """Return what a page does not say."""
    return sorted(wanted - found)


# --- nothing is missing ------------------------------------------------------------------------


def test_the_index_names_every_page() -> None:
    assert [name for name in PAGES if name != "README.md" and name not in PAGES["README.md"]] == []


def test_every_link_leads_somewhere() -> None:
    broken = [
        f"{name}: {target}#{anchor}"
        for name, text in PAGES.items()
        for target, anchor in LINK.findall(text)
        if not _exists(FOLDER / target if target else FOLDER / name, anchor)
    ]

    assert broken == []


def _exists(path: Path, anchor: str) -> bool:
    if not path.is_file():
        return False
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return not anchor or anchor in {_anchor(heading) for heading in headings}


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_setting_is_described() -> None:
    assert missing({*VARIABLES, *LIMIT_VARIABLES}, quoted("settings.md")) == []


def test_every_type_of_credential_is_described() -> None:
    described = {
        code(cells[0].partition(",")[0]): set(re.findall("`([a-z_]+)`", cells[1]))
        for heads, cells in rows("credentials.md")
        if heads[0] == "type" and cells[0].partition(",")[0] != "`http`"
    }

    assert described == {
        name: {field.name for field in each.fields} for name, each in credential_types.TYPES.items()
    }
    assert (
        missing({*CREDENTIAL_VARIABLES, *credential_types.SCHEMES}, quoted("credentials.md")) == []
    )


def test_no_setting_is_made_up() -> None:
    described = {code(cells[0]) for heads, cells in rows("settings.md") if heads[0] == "variable"}

    assert described == {*VARIABLES, *LIMIT_VARIABLES}


def test_the_defaults_and_ranges_of_limits_are_right() -> None:
    defaults = msgspec.structs.asdict(Limits())
    limits = {
        code(cells[0]): (int(cells[1]), f"a whole number, {cells[2]}")
        for heads, cells in rows("settings.md")
        if "limits" in heads
    }

    assert limits == {
        name: (defaults[variable.field], variable.allowed)
        for name, variable in LIMIT_VARIABLES.items()
    }


def test_every_limit_that_can_be_set_stands_with_what_happens_past_it() -> None:
    assert missing({*LIMIT_VARIABLES}, quoted("limits.md")) == []


def test_the_input_schema_of_the_reference_is_one() -> None:
    schemas = [
        parameters["input_schema"]
        for language, text in [(each[0], each[2]) for each in fences("nodes.md")]
        if language == "yaml"
        for node in documents.read(text.encode(), source="example.yaml").value["nodes"]
        if "input_schema" in (parameters := node.get("parameters", {}))
    ]

    assert [InputSchemas(REGEX).judge()(schema) for schema in schemas] == [None]


def _commands() -> Iterator[tuple[str, Any]]:
    pending = [("flotilla", typer.main.get_command(app))]
    while pending:
        name, command = pending.pop()
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
        else:
            pending += [(f"{name} {key}", each) for key, each in inner.items()]


def test_every_command_and_option_is_described() -> None:
    described: dict[str, str] = {}
    for heads, cells in rows("cli.md"):
        if heads[0] == "command":
            words = code(cells[0]).split()
            name = " ".join(word for word in words if word.islower())
            described[name] = described.get(name, "") + cells[1] + cells[2]

    assert described.keys() == dict(_commands()).keys()
    assert [
        f"{name} {option}"
        for name, command in _commands()
        for parameter in command.params
        if parameter.param_type_name == "option"
        for option in parameter.opts[:1]
        if option != "--help" and f"`{option}" not in described[name]
    ] == []


def test_every_exit_code_is_described() -> None:
    described = {int(cells[0]) for heads, cells in rows("cli.md") if heads[0] == "code"}

    assert described == set(Exit)


@pytest.mark.parametrize("spec", builtin_specs(), ids=lambda spec: spec.type)
def test_every_node_type_is_described(spec: Any) -> None:
    text = section("nodes.md", spec.type)
    if spec.preset_of is not None:  # its parameters are those of the type that it stands for
        fixed = ", ".join(f"`{name}: {value}`" for name, value in spec.fixed.items())
        assert f"A preset: `{spec.preset_of}` with {fixed}," in text
        return
    described = re.findall(r"^\| `(\w+)` \| (template|expr|literal) \|", text, re.MULTILINE)

    assert described == [(each.name, each.kind) for each in spec.parameters]
    for parameter in spec.parameters:
        assert missing({*parameter.aliases}, set(re.findall(r"`(\w+)`", text))) == []


def test_every_validation_code_is_described() -> None:
    reported = _reported()
    described = {
        code(cells[0]): cells[1] for heads, cells in rows("documents.md") if heads[1] == "refuses"
    }
    words = {"save": "saving", "publish": "publishing", "warning": "warns"}

    assert described == {each: words[SEVERITY[each]] for each in SEVERITY if each in reported}


def _reported() -> set[str]:
    """Return the codes that the source of the checks holds; an execution is explained in words of its own."""
    others = {"problems.py", "explain.py"}
    sources = [path for path in (ROOT / "contracts").rglob("*.py") if path.name not in others]
    texts = "\n".join(path.read_text() for path in sources)
    return {each for each in SEVERITY if f'"{each}"' in texts}


def test_every_kind_of_event_is_described() -> None:
    described = {code(cells[0]) for heads, cells in rows("executions.md") if heads[1] == "`data`"}

    assert described == set(DATA_OF)


def test_every_status_and_kind_of_failure_is_described() -> None:
    wanted = {*ExecutionStatus, *NodeRunStatus, *SkipReason, *FailureKind} - {"WAITING"}

    assert missing({str(each) for each in wanted}, quoted("executions.md")) == []


def test_every_route_is_described() -> None:
    described = {
        route: cells[1]
        for heads, cells in rows("api.md")
        if heads[0] == "endpoint"
        for route in re.findall(r"`([^`]+)`", cells[0])
    }
    scopes = {f"{each.method} {each.path}": each.scope for each in OPERATIONS}

    assert described.keys() == scopes.keys()
    for route, scope in scopes.items():
        assert scope in ("public", described[route]), route


def test_every_query_parameter_is_described() -> None:
    parameters = {name for each in OPERATIONS for name in each.query.__struct_fields__}
    described = set(re.findall(r"`\?(\w+)`", PAGES["api.md"]))

    assert missing(parameters, described) == []


def test_every_problem_code_is_described() -> None:
    described = {
        code(cells[1]): int(cells[0]) for heads, cells in rows("api.md") if heads[0] == "status"
    }
    known = {name: meaning.status for name, meaning in problems.CODES.items()}

    assert described == known


def test_every_function_is_described() -> None:
    described = set(re.findall(r"[`.](\w+)(?=\(|`)", PAGES["expressions.md"]))

    assert missing({*FUNCTIONS, *LIST_MACROS, "has", "default", "orValue"}, described) == []


# --- examples are true -------------------------------------------------------------------------


def _examples() -> Iterator[Any]:
    for heads, cells in rows("expressions.md"):
        if heads[-1] == "result":
            source = code(cells[-2])
            yield pytest.param(heads[-2] == "template", source, cells[-1], id=source[:60])


@pytest.mark.parametrize(("is_template", "source", "result"), [*_examples()])
def test_expressions_give_what_is_said(is_template: bool, source: str, result: str) -> None:
    scope = next(json.loads(text) for _, word, text in fences("expressions.md") if word == "scope")
    run = render if is_template else evaluate

    if result.startswith("fails: "):
        with pytest.raises(ExpressionError) as caught:
            run(source, scope, regex=REGEX)
        assert caught.value.code == code(result.removeprefix("fails: "))
    else:
        # repr tells 1 from 1.0 and from true
        assert repr(run(source, scope, regex=REGEX)) == repr(json.loads(code(result)))


def _fenced(word: str) -> Iterator[Any]:
    for name in PAGES:
        texts = [(language, text) for language, found, text in fences(name) if found == word]
        for number, (language, text) in enumerate(texts, 1):
            yield pytest.param(language, text, id=f"{name}-{number}")


@pytest.mark.parametrize(("language", "text"), [*_fenced("document")])
def test_documents_are_valid(language: str, text: str) -> None:
    sent = documents.read(text.encode(), source=f"example.{language}").value

    assert examine(sent, CATALOGUE, regex=REGEX, cron_fault=CALENDAR.fault).problems == ()


def _messages() -> Iterator[Any]:
    for name in PAGES:
        for number, (language, word, text) in enumerate(fences(name), 1):
            if language == "json" and word[0].isupper():
                yield pytest.param(word, text, id=f"{name}-{number}-{word}")


@pytest.mark.parametrize(("word", "text"), [*_messages()])
def test_messages_are_those_that_are_sent(word: str, text: str) -> None:
    """A message reads, and writes again as it stands: no field is made up, none stands at its default."""
    modules = (messages, history, problems, payloads, credentials)
    kind = next(getattr(module, word) for module in modules if hasattr(module, word))
    sent = json.loads(text)

    decoded = msgspec.json.decode(text, type=kind)

    assert json.loads(msgspec.json.encode(decoded)) == sent
    for part, raw in RAW.items() if kind is messages.Task else ():
        inner = msgspec.convert(sent[part], raw)
        assert msgspec.to_builtins(inner) == sent[part]
    if kind is history.EventMessage:
        data = history.decode_data(sent["kind"], json.dumps(sent["data"]))
        assert json.loads(history.encode_data(data)) == sent["data"]


def test_the_handler_is_a_module_of_node_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = next(text for _, word, text in fences("nodes.md") if word == "handler")
    (tmp_path / "handler_of_the_reference.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    (handler,) = importlib.import_module("handler_of_the_reference").HANDLERS

    assert handler.spec.type == "CUSTOM.GREET"
    assert [each.name for each in handler.spec.parameters] == ["name", "shout", "polite"]
