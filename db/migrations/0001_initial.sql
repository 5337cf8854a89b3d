-- The first schema: users, workflows and their versions, executions, history, timers, and what keeps the engine running.
--
-- Three deviations from the rule "JSON as jsonb", all on purpose. `workflows.draft`, `workflow_versions.document` and
-- `history.data` are of type json, because jsonb forgets the order of keys, and expressions, editors and outputs can see it;
-- `node_types.spec` for the same reason (parameters are shown in their order). `workflow_executions.failure` is json because
-- jsonb refuses the escape \u0000, and a message of a handler must never make a whole batch of advances impossible.
--
-- Row-level security stands behind the queries' own filters: a role that is not the owner sees the rows of the user in the
-- setting `flotilla.user_id` and no others. The owner, as whom the engine connects for now, is not subject to it.
--
-- Enumerations are text with a check, not enum types: a new value is one short lock, and old code can read it.

create function touch_updated_at() returns trigger language plpgsql as $$
begin
    new.updated_at := now();
    return new;
end $$;
comment on function touch_updated_at is 'Sets updated_at before an update.';

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% of % is refused: its rows never change', tg_op, tg_table_name using errcode = 'restrict_violation';
end $$;
comment on function refuse_change is 'Guards rows that are written once.';

create function current_user_id() returns uuid language sql stable as $$
    select nullif(current_setting('flotilla.user_id', true), '')::uuid
$$;
comment on function current_user_id is 'The namespace that row-level security lets through; null: none.';

create function first_uuid7(at timestamptz) returns uuid language sql immutable as $$
    select rpad(lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;
comment on function first_uuid7 is 'A bound below every UUIDv7 of that instant and above all earlier ones.';

create function new_uuid7() returns uuid language sql volatile as $$
    select encode(
               set_bit(
                   set_bit(
                       overlay(
                           uuid_send(gen_random_uuid())
                           placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
                           from 1 for 6
                       ),
                       52, 1
                   ),
                   53, 1
               ),
               'hex'
           )::uuid
$$;
comment on function new_uuid7 is 'An id for rows that nobody names from outside; PostgreSQL has its own only from 18 on.';


create table users (
    id         uuid        primary key,
    email      text        not null unique,
    name       text        not null default '',
    avatar_url text,
    role       text        not null default 'user' check (role in ('user', 'admin')),
    is_active  boolean     not null default true,
    settings   jsonb       not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table users is 'Whoever owns workflows; the id is the namespace.';


create table workflows (
    id                   uuid        primary key,
    user_id              uuid        not null references users on delete cascade,
    name                 text        not null,
    description          text        not null default '',
    draft                json        not null,
    draft_hash           text        not null,
    problems             jsonb       not null default '[]',
    active               boolean     not null default true,
    revision             integer     not null default 1,
    published_version_id uuid,
    last_version         integer     not null default 0,
    tags                 text[]      not null default '{}',
    created_at           timestamptz not null default now(),
    updated_at           timestamptz not null default now(),
    deleted_at           timestamptz
);
create index workflows_user on workflows (user_id, id);
create index workflows_user_name on workflows (user_id, name);
create index workflows_tags on workflows using gin (tags);
comment on table workflows is 'What users edit. nodes and node_connections are projections of the draft.';


create table workflow_versions (
    id           uuid        primary key,
    workflow_id  uuid        not null references workflows on delete cascade,
    version      integer,
    content_hash text        not null,
    document     json        not null,
    note         text        not null default '',
    created_by   uuid,
    created_at   timestamptz not null default now(),
    unique (workflow_id, version)
);
create unique index workflow_versions_snapshot on workflow_versions (workflow_id, content_hash) where version is null;
comment on table workflow_versions is 'Immutable documents: published ones are numbered, snapshots of a draft are not.';

alter table workflows add foreign key (published_version_id) references workflow_versions;


create table nodes (
    id           uuid        primary key default new_uuid7(),
    workflow_id  uuid        not null references workflows on delete cascade,
    node_id      text        not null,
    name         text        not null,
    node_type    text        not null,
    node_subtype text        not null,
    type_version integer     not null,
    parameters   jsonb       not null default '{}',
    credentials  jsonb       not null default '{}',
    disabled     boolean     not null default false,
    on_error     text,
    retry_policy jsonb,
    timeout_s    double precision,
    delivery     text,
    position_x   double precision not null default 0,
    position_y   double precision not null default 0,
    notes        text        not null default '',
    metadata     jsonb       not null default '{}',
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    unique (workflow_id, node_id)
);
create index nodes_type on nodes (node_type, node_subtype);


create table node_connections (
    id           uuid        primary key default new_uuid7(),
    workflow_id  uuid        not null references workflows on delete cascade,
    position     integer     not null,
    from_node_id text        not null,
    from_port    text        not null default 'main',
    to_node_id   text        not null,
    to_port      text        not null default 'main',
    kind         text        not null default 'MAIN'
                 check (kind in ('MAIN', 'AI_TOOL', 'AI_MEMORY', 'AI_LANGUAGE_MODEL')),
    mapping      jsonb,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    unique (workflow_id, from_node_id, from_port, to_node_id, to_port, kind),
    foreign key (workflow_id, from_node_id) references nodes (workflow_id, node_id) on delete cascade,
    foreign key (workflow_id, to_node_id) references nodes (workflow_id, node_id) on delete cascade,
    check (from_node_id <> to_node_id)
);
create index node_connections_target on node_connections (workflow_id, to_node_id);


create table event_triggers (
    id          uuid        primary key default new_uuid7(),
    workflow_id uuid        not null references workflows on delete cascade,
    node_id     text        not null,
    user_id     uuid        not null references users on delete cascade,
    version_id  uuid        not null references workflow_versions on delete cascade,
    subject     text        not null,
    filter      text,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    unique (workflow_id, node_id)
);
create index event_triggers_user on event_triggers (user_id);
comment on table event_triggers is 'The event triggers of every published version; armed while their workflow is active.';


create table workflow_executions (
    id                  uuid        primary key,
    user_id             uuid        not null references users on delete cascade,
    workflow_id         uuid        not null references workflows on delete cascade,
    version_id          uuid        not null,
    status              text        not null
                        check (status in ('NEW', 'RUNNING', 'WAITING', 'SUCCESS', 'ERROR', 'CANCELED')),
    version             bigint      not null,
    paused              boolean     not null default false,
    mode                text        not null check (mode in ('MANUAL', 'WEBHOOK', 'TRIGGER', 'RETRY')),
    priority            smallint    not null default 0,
    concurrency_key     text,
    parent_execution_id uuid,
    parent_node_id      text,
    retry_of            uuid,
    forked_from         uuid,
    metadata            jsonb       not null default '{}',
    failure             json,
    created_at          timestamptz not null default now(),
    updated_at          timestamptz not null default now(),
    started_at          timestamptz,
    finished_at         timestamptz
) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
create index workflow_executions_user on workflow_executions (user_id, id);
create index workflow_executions_workflow on workflow_executions (workflow_id, id);
create index workflow_executions_parent on workflow_executions (parent_execution_id) where parent_execution_id is not null;
create index workflow_executions_status on workflow_executions (status, id);
create index workflow_executions_under_way on workflow_executions (workflow_id, concurrency_key)
    where concurrency_key is not null and status not in ('SUCCESS', 'ERROR', 'CANCELED');
comment on table workflow_executions is
    'One row per execution. A commit that leaves the status as it is touches no index: room is left in each page for it.';
comment on column workflow_executions.version is 'The seq of the last event; every commit compares and swaps it.';
comment on column workflow_executions.concurrency_key is 'Null: the workflow has no concurrency limit; empty: one without key.';
comment on column workflow_executions.version_id is 'No foreign key: versions go with their workflow, as executions do.';


-- No foreign key to executions: history is written thousands of times a second, and goes by partition.
create table history (
    execution_id uuid        not null,
    seq          integer     not null check (seq > 0),
    at           timestamptz not null,
    kind         text        not null,
    node_id      text,
    iteration    integer[],
    attempt      integer,
    data         json        not null,
    primary key (execution_id, seq)
) partition by range (execution_id);
create table history_default partition of history default;
comment on table history is 'What happened, and the truth: append-only, partitioned by the month of the execution''s id.';
comment on table history_default is 'Executions whose id lies outside of every month that has a partition.';

-- Rows go with their partition; no statement of the engine deletes or changes one, and no role is granted to.
create trigger history_is_written_once before update on history for each row execute function refuse_change();
revoke update, delete, truncate on history from public;

create trigger versions_are_written_once before update on workflow_versions for each row execute function refuse_change();

create function ensure_history_partitions(months_ahead integer default 3) returns integer language plpgsql as $$
declare
    month     timestamp;
    partition text;
    made      integer := 0;
begin
    perform pg_advisory_xact_lock(hashtext('flotilla.history_partitions'));
    for month in
        select generate_series(
            date_trunc('month', now() at time zone 'UTC'),
            date_trunc('month', now() at time zone 'UTC') + make_interval(months => months_ahead),
            interval '1 month'
        )
    loop
        partition := 'history_' || to_char(month, 'YYYY_MM');
        if to_regclass(partition) is null then
            execute format(
                'create table %I partition of history for values from (%L) to (%L)',
                partition,
                first_uuid7(month at time zone 'UTC'),
                first_uuid7((month + interval '1 month') at time zone 'UTC')
            );
            made := made + 1;
        end if;
    end loop;
    return made;
end $$;
comment on function ensure_history_partitions is 'Makes the missing partitions from this month on and returns how many.';


create table timers (
    execution_id uuid        not null,
    key          text        not null,
    kind         text        not null,
    node_id      text,
    iteration    integer[],
    due_at       timestamptz not null,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    primary key (execution_id, key)
) with (autovacuum_vacuum_scale_factor = 0.02);
create index timers_due on timers (due_at);
comment on table timers is 'Durable wake-ups. A timer goes with the commit that records its firing, or its execution''s end.';


create table dead_letters (
    id           uuid        primary key,
    user_id      uuid        references users on delete cascade,
    source       text        not null check (source in ('TASK', 'RESULT', 'COMMAND', 'TRIGGER')),
    reason       text        not null check (reason in ('UNREADABLE', 'DELIVERIES_EXHAUSTED', 'NO_NAMESPACE')),
    subject      text        not null,
    headers      jsonb       not null default '{}',
    body         bytea       not null,
    error        text        not null default '',
    execution_id uuid,
    node_id      text,
    redriven_at  timestamptz,
    redriven_as  uuid,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now()
);
create index dead_letters_user on dead_letters (user_id, id);
create index dead_letters_execution on dead_letters (execution_id);


create table idempotency_keys (
    user_id      uuid        not null references users on delete cascade,
    route        text        not null,
    key          text        not null,
    request_hash bytea       not null default '',
    status       integer,
    body         bytea,
    resource_id  uuid,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    expires_at   timestamptz not null,
    primary key (user_id, route, key)
);
create index idempotency_keys_expiry on idempotency_keys (expires_at);
comment on column idempotency_keys.status is 'The HTTP status of the answer; null while the first request is under way.';


create table node_types (
    type         text        not null,
    subtype      text        not null,
    type_version integer     not null,
    spec         json        not null,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    primary key (type, subtype, type_version)
);
comment on table node_types is 'The catalogue: seeded at migration, then what workers announce.';


create table workers (
    id           text        primary key,
    node_types   text[]      not null,
    slots        integer     not null,
    busy         integer     not null,
    version      text        not null,
    host         text        not null,
    status       text        not null check (status in ('ALIVE', 'DRAINING')),
    started_at   timestamptz not null,
    last_seen_at timestamptz not null default now(),
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now()
);
create index workers_seen on workers (status, last_seen_at);
comment on table workers is 'Last signs of life. A worker is LOST by the age of its last one, so nobody has to write it.';
comment on column workers.id is 'As the worker calls itself, which need not be a uuid.';


create table partition_leases (
    partition  integer     primary key check (partition between 0 and 15),
    owner      text,
    epoch      bigint      not null default 0,
    expires_at timestamptz not null default '-infinity'
);
insert into partition_leases (partition) select generate_series(0, 15);
comment on table partition_leases is 'Which scheduler reads which partition of the inbox: for warm caches, not for correctness.';

create table engine_secrets (
    name       text        primary key,
    value      bytea       not null,
    created_at timestamptz not null default now()
);
revoke all on engine_secrets from public;


do $$
declare
    name text;
begin
    foreach name in array array[
        'users', 'workflows', 'nodes', 'node_connections', 'event_triggers', 'timers', 'dead_letters', 'idempotency_keys',
        'node_types', 'workers'
    ]
    loop
        execute format(
            'create trigger touch_updated_at before update on %I for each row execute function touch_updated_at()', name
        );
    end loop;
    foreach name in array array['workflows', 'event_triggers', 'workflow_executions', 'dead_letters', 'idempotency_keys']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('create policy own_rows on %I using (user_id = current_user_id())', name);
    end loop;
    -- Rows without a user of their own belong to whoever sees the row they hang on: its policy applies inside.
    foreach name in array array['nodes', 'node_connections', 'workflow_versions']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('create policy own_rows on %I using (workflow_id in (select id from workflows))', name);
    end loop;
    foreach name in array array['history', 'timers']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('create policy own_rows on %I using (execution_id in (select id from workflow_executions))', name);
    end loop;
    alter table users enable row level security;
    create policy own_row on users using (id = current_user_id());
    foreach name in array array['engine_secrets', 'partition_leases']
    loop
        execute format('alter table %I enable row level security', name);
    end loop;
end $$;
