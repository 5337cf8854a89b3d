"""Users, leases, secrets, node types, workers, dead letters: one table each."""

import asyncio
from datetime import timedelta
from typing import TypeAlias

import asyncpg
import msgspec
import pytest

from contracts.ids import PARTITIONS
from contracts.messages import Heartbeat
from contracts.specs import NodeSpec, Parameter
from db import dead_letters, errors, leases, node_types, secrets, users, workers
from db.dead_letters import DeadLetter, DeadLetterFilters
from db.store import Store
from db.workers import WorkerFilters
from tests.component.db import builders
from tests.component.db.builders import Ids

pytestmark = pytest.mark.component

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class TestUsers:
    async def test_a_user_is_created_on_first_sight_and_stays(self, store: Store, ids: Ids) -> None:
        user_id = ids.new()

        rows = await asyncio.gather(
            *(users.ensure(store, user_id, "a@example.org", "Ada", role="admin") for _ in range(3))
        )
        later = await users.ensure(store, user_id, "b@example.org", "Bea")

        assert {row.id for row in (*rows, later)} == {user_id}
        assert (later.email, later.name, later.role) == ("a@example.org", "Ada", "admin")
        assert await users.get(store, ids.new()) is None

    async def test_an_email_belongs_to_one_user(self, store: Store, ids: Ids, user_id: str) -> None:
        with pytest.raises(errors.Conflict) as caught:
            await users.ensure(store, ids.new(), "ada@example.org", "Eve")

        assert (caught.value.table, caught.value.constraint) == ("users", "users_email_key")


class TestLeases:
    async def test_partitions_are_taken_once_and_the_epoch_grows_with_every_owner(
        self, store: Store
    ) -> None:
        first = await leases.acquire(store, "a", None, 60)
        assert first == dict.fromkeys(range(PARTITIONS), 1)
        assert await leases.acquire(store, "b", None, 60) == {}

        await leases.release(store, "a")

        assert await leases.acquire(store, "b", 2, 60) == {0: 2, 1: 2}
        assert await leases.keep(store, "a", first, 60) == frozenset()
        assert await leases.keep(store, "b", {0: 2, 1: 2}, 60) == {0, 1}
        assert await leases.holders(store) == {"b"}

    async def test_a_lease_that_ran_out_can_be_taken_and_until_then_renewed(
        self, store: Store
    ) -> None:
        held = await leases.acquire(store, "a", 3, 0)
        assert await leases.keep(store, "a", held, 0) == {0, 1, 2}

        assert set(await leases.acquire(store, "b", None, 60)) == set(range(PARTITIONS))

        assert await leases.keep(store, "a", held, 60) == frozenset()

    async def test_who_slept_through_two_changes_of_hands_knows_an_epoch_that_counts_no_more(
        self, store: Store
    ) -> None:
        slept = await leases.acquire(store, "a", 1, 0)
        await leases.acquire(store, "b", 1, 60)
        await leases.release(store, "b")
        again = await leases.acquire(store, "a", 1, 60)

        await leases.hand_back(store, "a", slept)

        assert await leases.keep(store, "a", slept, 60) == frozenset()
        assert await leases.keep(store, "a", again, 60) == {0}
        await leases.hand_back(store, "a", again)
        assert await leases.acquire(store, "c", 1, 60) == {0: again[0] + 1}

    async def test_the_schedulers_at_work_are_told_in_the_order_in_which_they_came(
        self, store: Store
    ) -> None:
        await leases.keep(store, "z", {}, 60)
        await leases.keep(store, "a", {}, 60)
        await leases.keep(store, "silent", {}, 0)
        await leases.acquire(store, "of an older release", 1, 60)
        await leases.keep(store, "z", {}, 60)

        assert await leases.live(store) == ("of an older release", "z", "a")

        await leases.release(store, "z")
        assert await leases.live(store) == ("of an older release", "a")

    async def test_owners_that_race_never_share(self, store: Store) -> None:
        taken = await asyncio.gather(*(leases.acquire(store, str(n), 8, 60) for n in range(4)))

        owned = [partition for each in taken for partition in each]
        assert len(owned) == len(set(owned))


async def test_a_secret_is_made_by_the_first_who_asks(store: Store) -> None:
    values = await asyncio.gather(
        *(secrets.get_or_create(store, "tasks", bytes([n])) for n in range(4))
    )

    assert len(set(values)) == 1
    assert await secrets.get_or_create(store, "other", b"x") == b"x"


class TestNodeTypes:
    async def test_the_last_announcement_of_a_major_version_counts(self, store: Store) -> None:
        old = NodeSpec(type="CUSTOM.SUM", version="1.0.0", title="Old")
        new = NodeSpec(
            type="CUSTOM.SUM",
            version="1.1.0",
            title="New",
            parameters=(
                Parameter(name="z", schema={"type": "object", "a": 1}),
                Parameter(name="a"),
            ),
        )
        next_major = NodeSpec(type="CUSTOM.SUM", version="2.0.0", title="Next")

        await node_types.store(store, [old])
        await node_types.store(store, [new, next_major])

        assert await node_types.load(store) == (new, next_major)

    async def test_an_equal_spec_is_left_alone(self, store: Store, direct: Connection) -> None:
        spec = NodeSpec(type="CUSTOM.SUM", title="Sum")
        await node_types.store(store, [spec])
        row = await direct.fetchval("select xmin::text from node_types")

        await node_types.store(store, [spec, spec])
        await node_types.store(store, [])

        assert await direct.fetchval("select xmin::text from node_types") == row


class TestWorkers:
    async def test_the_last_sign_of_life_counts_and_silence_means_lost(
        self, store: Store, direct: Connection
    ) -> None:
        def beat(worker_id: str, **fields: object) -> Heartbeat:
            plain = Heartbeat(
                worker_id=worker_id,
                node_types=("ACTION.HTTP_REQUEST", "FLOW.IF"),
                slots=64,
                busy=0,
                version="0.1.0",
                host="h",
                started_at=builders.START,
            )
            return msgspec.structs.replace(plain, **fields)

        await workers.beat(store, [beat("a", busy=1), beat("b"), beat("a", busy=2)])
        await workers.beat(store, [beat("b", node_types=("FLOW.IF",), status="DRAINING")])
        await workers.beat(store, [beat("c")])
        await workers.beat(store, [])
        await direct.execute(
            "update workers set last_seen_at = now() - interval '16 s' where id = 'c'"
        )

        rows, after = await workers.page(store, WorkerFilters(), 10, None)

        assert [(row.id, row.status, row.busy) for row in rows] == [
            ("c", "LOST", 0),
            ("b", "DRAINING", 0),
            ("a", "ALIVE", 2),
        ]
        assert rows[2].node_types == ("ACTION.HTTP_REQUEST", "FLOW.IF")
        assert after is None

        async def found(**filters: tuple[str, ...]) -> list[str]:
            rows, _ = await workers.page(store, WorkerFilters(**filters), 10, None)
            return [row.id for row in rows]

        assert await found(node_type=("ACTION.HTTP_REQUEST",)) == ["c", "a"]
        assert await found(status=("LOST", "DRAINING")) == ["c", "b"]


class TestDeadLetters:
    async def test_a_dead_letter_is_kept_once_as_it_came(
        self, store: Store, ids: Ids, user_id: str
    ) -> None:
        letter = DeadLetter(
            id=ids.new(),
            user_id=user_id,
            source="TASK",
            reason="DELIVERIES_EXHAUSTED",
            subject="flotilla.task.x",
            headers={"traceparent": "00"},
            body=b"\x00\xff",
            error="gone",
            execution_id=ids.new(),
            node_id="end",
        )

        await dead_letters.add(store, [letter, letter])
        await dead_letters.add(store, [letter])
        await dead_letters.add(store, [])

        kept = await dead_letters.get(store, user_id, letter.id)
        assert kept is not None
        assert {name: getattr(kept, name) for name in letter.__struct_fields__} == (
            msgspec.structs.asdict(letter)
        )
        assert (kept.redriven_at, kept.redriven_as) == (None, None)

    async def test_each_sees_its_own_and_nobody_is_for_admins(
        self, store: Store, ids: Ids, user_id: str
    ) -> None:
        def letter(owner: str | None, source: str) -> DeadLetter:
            reason = "UNREADABLE" if owner else "NO_NAMESPACE"
            return DeadLetter(
                id=ids.new(), user_id=owner, source=source, reason=reason, subject="s", body=b""
            )

        task, result, orphan = (
            letter(user_id, "TASK"),
            letter(user_id, "RESULT"),
            letter(None, "TRIGGER"),
        )
        await dead_letters.add(store, [task, result, orphan])

        async def found(
            owner: str | None, *, with_nobodys: bool = False, **filters: object
        ) -> list[str]:
            wanted = msgspec.convert(filters, DeadLetterFilters)
            rows, _ = await dead_letters.page(
                store, owner, wanted, 10, None, with_nobodys=with_nobodys
            )
            return [row.id for row in rows]

        assert await found(user_id) == [result.id, task.id]
        assert await found(user_id, source=["TASK"]) == [task.id]
        assert await found(user_id, reason=["NO_NAMESPACE"]) == []
        assert await found(user_id, execution_id=[ids.new()]) == []
        assert await found(user_id, created_before=builders.START - timedelta(days=999)) == []
        assert await found(None) == [orphan.id]
        assert await found(user_id, with_nobodys=True) == [orphan.id, result.id, task.id]
        assert await found(user_id, with_nobodys=True, source=["TASK"]) == [task.id]
        assert await dead_letters.get(store, user_id, orphan.id) is None
        assert await dead_letters.get(store, None, orphan.id) is not None
