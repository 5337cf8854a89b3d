"""Names of node types: every alias of the contract against the complete catalogue."""

import pytest

from contracts.node_types import UnknownNodeType, read_node_type

SUBTYPES = {
    "TRIGGER": "MANUAL WEBHOOK CRON EVENT CHAT EMAIL FORM CALENDAR GITHUB SLACK",
    "AI_AGENT": "OPENAI CLAUDE GEMINI LANGCHAIN",
    "ACTION": (
        "HTTP_REQUEST RUN_CODE PARSE_IMAGE WEB_SEARCH DATABASE_OPERATION FILE_OPERATION "
        "DATA_TRANSFORMATION"
    ),
    "EXTERNAL_ACTION": (
        "GITHUB GOOGLE_CALENDAR TRELLO EMAIL SLACK API_CALL WEBHOOK NOTIFICATION NOTION DISCORD "
        "TELEGRAM"
    ),
    "FLOW": (
        "IF SWITCH FILTER SORT SPLIT MERGE LOOP WAIT SUB_WORKFLOW NOOP STOP_AND_ERROR FOR_EACH "
        "WHILE DELAY"
    ),
    "HUMAN_IN_THE_LOOP": "APP EMAIL GMAIL SLACK DISCORD TELEGRAM WEBHOOK",
    "TOOL": "MCP GOOGLE_CALENDAR_MCP NOTION_MCP HTTP CODE_EXECUTION CALENDAR EMAIL",
    "MEMORY": (
        "SIMPLE BUFFER CONVERSATION_SUMMARY DOCUMENT KNOWLEDGE VECTOR_STORE EMBEDDING ENTITY "
        "EPISODIC GRAPH WORKING"
    ),
    "CUSTOM": "GREET MY_NODE",
}
NAMES = frozenset(
    f"{family}.{subtype}" for family, listed in SUBTYPES.items() for subtype in listed.split()
)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_of_the_catalogue_is_read_in_all_its_spellings(name: str) -> None:
    family, subtype = name.split(".")

    spellings = [
        (name, None),
        (name.lower(), None),
        (f"  {family.replace('_', '-')}.{subtype.replace('_', ' ').title()} ", None),
        (family, subtype),
        (f"{family.lower()}_node", subtype.lower()),
        (f"{family}_NODE", f"{subtype}_NODE"),
        (family, f"{family}_{subtype}"),
        (family, f"{family}_{subtype}_NODE"),
        (f"{family}.{family}_{subtype}", None),
    ]

    assert {read_node_type(*spelling, NAMES) for spelling in spellings} == {name}


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("TRIGGER.SCHEDULE", "TRIGGER.CRON"),
        ("TRIGGER.SCHEDULED", "TRIGGER.CRON"),
        ("TRIGGER.MESSAGE", "TRIGGER.EVENT"),
        ("TRIGGER.NATS", "TRIGGER.EVENT"),
        ("TRIGGER.TRIGGER_SCHEDULE", "TRIGGER.CRON"),
        ("AGENT.OPENAI", "AI_AGENT.OPENAI"),
        ("AI.OPENAI_CHATGPT", "AI_AGENT.OPENAI"),
        ("AI_AGENT.CHATGPT", "AI_AGENT.OPENAI"),
        ("AI_AGENT.GPT", "AI_AGENT.OPENAI"),
        ("AI_AGENT.ANTHROPIC_CLAUDE", "AI_AGENT.CLAUDE"),
        ("AI_AGENT.ANTHROPIC", "AI_AGENT.CLAUDE"),
        ("AI_AGENT.GOOGLE_GEMINI", "AI_AGENT.GEMINI"),
        ("AI_AGENT.GOOGLE", "AI_AGENT.GEMINI"),
        ("AI_AGENT.AI_CLAUDE", "AI_AGENT.CLAUDE"),
        ("AI_AGENT_NODE.AI_AGENT_ANTHROPIC_NODE", "AI_AGENT.CLAUDE"),
        ("ACTION.SEND_HTTP_REQUEST", "ACTION.HTTP_REQUEST"),
        ("ACTION.HTTP", "ACTION.HTTP_REQUEST"),
        ("ACTION.CODE_EXECUTION", "ACTION.RUN_CODE"),
        ("ACTION.CODE", "ACTION.RUN_CODE"),
        ("ACTION.DATA_TRANSFORM", "ACTION.DATA_TRANSFORMATION"),
        ("EXTERNAL.SLACK", "EXTERNAL_ACTION.SLACK"),
        ("EXTERNAL_ACTION.EXTERNAL_GITHUB", "EXTERNAL_ACTION.GITHUB"),
        ("FLOW.FLOW_IF", "FLOW.IF"),
        ("HUMAN.SLACK_INTERACTION", "HUMAN_IN_THE_LOOP.SLACK"),
        ("HUMAN_LOOP.HUMAN_GMAIL", "HUMAN_IN_THE_LOOP.GMAIL"),
        ("HUMAN_IN_THE_LOOP.IN_APP_APPROVAL", "HUMAN_IN_THE_LOOP.APP"),
        ("HUMAN_IN_THE_LOOP.IN_APP", "HUMAN_IN_THE_LOOP.APP"),
        ("HUMAN_IN_THE_LOOP.IN_APP_INTERACTION", "HUMAN_IN_THE_LOOP.APP"),
        ("TOOL.NOTION_MCP_TOOL", "TOOL.NOTION_MCP"),
        ("TOOL.GOOGLE_CALENDAR_MCP_TOOL", "TOOL.GOOGLE_CALENDAR_MCP"),
        ("TOOL.TOOL_HTTP", "TOOL.HTTP"),
        ("TOOL.CODE_EXECUTION", "TOOL.CODE_EXECUTION"),
        ("MEMORY.KEY_VALUE", "MEMORY.SIMPLE"),
        ("MEMORY.KEY_VALUE_STORE", "MEMORY.SIMPLE"),
        ("MEMORY.CONVERSATION_BUFFER", "MEMORY.BUFFER"),
        ("MEMORY.CONVERSATION_BUFFER_MEMORY", "MEMORY.BUFFER"),
        ("MEMORY.VECTOR_DB", "MEMORY.VECTOR_STORE"),
        ("MEMORY.VECTOR_DATABASE", "MEMORY.VECTOR_STORE"),
        ("MEMORY.DOCUMENT_STORE", "MEMORY.DOCUMENT"),
        ("MEMORY.KNOWLEDGE_BASE", "MEMORY.KNOWLEDGE"),
        ("MEMORY.ENTITY_MEMORY", "MEMORY.ENTITY"),
        ("MEMORY.EPISODIC_MEMORY", "MEMORY.EPISODIC"),
        ("MEMORY.GRAPH_MEMORY", "MEMORY.GRAPH"),
        ("MEMORY.WORKING_MEMORY", "MEMORY.WORKING"),
        ("MEMORY.MEMORY_ENTITY_MEMORY_NODE", "MEMORY.ENTITY"),
        ("custom.my-node", "CUSTOM.MY_NODE"),
    ],
)
def test_every_alias_is_read(spelling: str, name: str) -> None:
    assert read_node_type(spelling, None, NAMES) == name
    family, subtype = spelling.split(".", 1)
    assert read_node_type(family, subtype, NAMES) == name


@pytest.mark.parametrize(
    ("node_type", "subtype", "code", "part"),
    [
        pytest.param("TRIGGER", None, "subtype_missing", "CALENDAR, CHAT, CRON", id="no subtype"),
        pytest.param("human_node", "", "subtype_missing", "APP, DISCORD", id="an empty subtype"),
        pytest.param("FLOW.", None, "subtype_missing", "IF", id="nothing after the dot"),
        pytest.param(
            "ACTION.HTTP_REQEST", None, "unknown_node_type", "ACTION.HTTP_REQUEST", id="a typo"
        ),
        pytest.param(
            "ACTION.SLACK", None, "unknown_node_type", "EXTERNAL_ACTION.SLACK", id="another family"
        ),
        pytest.param("CUSTOM.OTHER", None, "unknown_node_type", "CUSTOM.", id="not announced"),
        pytest.param("", None, "unknown_node_type", "nearest", id="nothing at all"),
        pytest.param("X" * 1_000_000, "Y", "unknown_node_type", "nearest", id="a megabyte"),
    ],
)
def test_other_spellings_are_refused_naming_what_there_is(
    node_type: str, subtype: str | None, code: str, part: str
) -> None:
    with pytest.raises(UnknownNodeType) as caught:
        read_node_type(node_type, subtype, NAMES)

    assert caught.value.code == code
    assert part in caught.value.message
    assert len(caught.value.message) < 500


def test_an_unknown_type_names_the_three_nearest() -> None:
    with pytest.raises(UnknownNodeType) as caught:
        read_node_type("MEMORY.VECTOR", None, NAMES)

    assert caught.value.message.split(" are ")[1].count(",") == 2


def test_what_a_release_does_not_have_is_unknown_in_it() -> None:
    with pytest.raises(UnknownNodeType):
        read_node_type("MEMORY.ENTITY_MEMORY", None, frozenset({"FLOW.IF"}))
