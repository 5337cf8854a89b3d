-- What the benchmark does at PostgreSQL without the engine: rows for the limits, and the tables of the bare loop.

-- name: create_tables
-- Tables as lean as what they stand for allows.
drop table if exists bench_rows, bench_executions, bench_history;
create table bench_rows (
    id   bigint generated always as identity primary key,
    data json not null
);
create table bench_executions (
    id      uuid primary key,
    version integer not null,
    status  text not null,
    input   json not null
) with (fillfactor = 60);
create table bench_history (
    execution_id uuid not null,
    seq          integer not null,
    at           timestamptz not null default now(),
    kind         text not null,
    node_id      text not null,
    attempt      integer not null,
    data         json not null,
    primary key (execution_id, seq)
);

-- name: drop_tables
-- Leave nothing behind.
drop table if exists bench_rows, bench_executions, bench_history;

-- name: insert_rows
-- One commit of as many rows as there are values.
insert into bench_rows (data)
select * from unnest($1::json[]);

-- name: create_executions
-- New executions of the bare loop.
insert into bench_executions (id, version, status, input)
select id, 0, 'NEW', '{}' from unnest($1::uuid[]) as id;

-- name: commit_batch
-- Let executions of the bare loop go on from the versions they have, and record why.
with winner as (
       update bench_executions as execution
          set version = advance.was + 1,
              status  = advance.status
         from unnest($1::uuid[], $2::integer[], $3::text[]) as advance (id, was, status)
        where execution.id = advance.id
          and execution.version = advance.was
    returning execution.id
)
insert into bench_history (execution_id, seq, kind, node_id, attempt, data)
select event.execution_id, event.seq, 'node_succeeded', event.node_id, 1, event.data
  from unnest($1::uuid[], $4::integer[], $5::text[], $6::json[]) as event (execution_id, seq, node_id, data)
  join winner on winner.id = event.execution_id;

-- name: settings
-- What decides how durable a commit is.
select current_setting('server_version') as version,
       current_setting('fsync') as fsync,
       current_setting('synchronous_commit') as synchronous_commit;
