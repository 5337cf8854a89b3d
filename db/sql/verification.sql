-- Verification: what a checker reads of the whole installation, page by page, and the repairs that are safe.

-- name: page_executions
-- Executions that follow an id, in the order of their ids, and for how many seconds nothing was committed for each.
  select id, user_id, version_id, status, version, paused, concurrency_key, has_slot, parent_waits, failure,
         started_at, finished_at, extract(epoch from statement_timestamp() - updated_at)::float8 as silent_s
    from workflow_executions
   where id > coalesce($1::uuid, '00000000-0000-0000-0000-000000000000')
order by id
   limit $2;

-- name: executions_by_id
-- The same of executions that are named.
  select id, user_id, version_id, status, version, paused, concurrency_key, has_slot, parent_waits, failure,
         started_at, finished_at, extract(epoch from statement_timestamp() - updated_at)::float8 as silent_s
    from workflow_executions
   where id = any ($1::uuid[])
order by id;

-- name: history_after
-- What happened in executions, each from an event on, also beyond its version: at most so many events of each.
  select event.execution_id, event.seq, event.at, event.kind, event.node_id, event.iteration, event.attempt, event.data
    from unnest($1::uuid[], $2::integer[]) as execution (id, after_seq)
   cross join lateral (
           select *
             from history
            where history.execution_id = execution.id
              and history.seq          > execution.after_seq
         order by history.seq
            limit $3
         ) as event
order by event.execution_id, event.seq;

-- name: timers_of
-- The timers of executions, and for how many seconds each has been due.
select execution_id, key, extract(epoch from statement_timestamp() - due_at)::float8 as overdue_s
  from timers
 where execution_id = any ($1::uuid[]);

-- name: open_interactions_of
-- The questions of executions that are open.
select execution_id, id
  from interactions
 where execution_id = any ($1::uuid[])
   and status = 'PENDING';

-- name: stray_timers
-- Executions that have timers though there is no such execution, beyond an id.
  select distinct execution_id
    from timers
   where execution_id > coalesce($1::uuid, '00000000-0000-0000-0000-000000000000')
     and not exists (select from workflow_executions as execution where execution.id = timers.execution_id)
order by execution_id
   limit $2;

-- name: slot_keys
-- Concurrency keys with executions that are not over, beyond a key: how many hold a slot, how many wait, and one of each.
  select workflow_id, concurrency_key,
         count(*) filter (where has_slot)                       as held,
         count(*) filter (where not has_slot)                   as waiting,
         count(*) filter (where not has_slot and status <> 'NEW') as without,
         coalesce(max(id::text) filter (where not has_slot), max(id::text)) as newest,
         extract(epoch from statement_timestamp() - max(updated_at))::float8 as silent_s
    from workflow_executions
   where concurrency_key is not null
     and status not in ('SUCCESS', 'ERROR', 'CANCELED')
     and (workflow_id, concurrency_key) > (coalesce($1::uuid, '00000000-0000-0000-0000-000000000000'), $2::text)
group by workflow_id, concurrency_key
order by workflow_id, concurrency_key
   limit $3;

-- name: creations
-- The first events of executions.
select execution_id, data
  from history
 where execution_id = any ($1::uuid[])
   and seq = 1;

-- name: missing_payloads
-- Those of some values that are not stored.
select wanted.user_id, wanted.sha256
  from unnest($1::uuid[], $2::bytea[]) as wanted (user_id, sha256)
 where not exists (
           select
             from payloads
            where payloads.user_id = wanted.user_id
              and payloads.sha256  = wanted.sha256
       );

-- name: clear_timers
-- Drop the timers of executions that are over or were never there, and return how many.
with gone as (
    delete from timers
     where execution_id = any ($1::uuid[])
       and not exists (
               select
                 from workflow_executions as execution
                where execution.id = timers.execution_id
                  and execution.status not in ('SUCCESS', 'ERROR', 'CANCELED')
           )
 returning execution_id
)
select count(*) as number from gone;

-- name: close_interactions
-- Close the questions of executions that are over or were never there, and return how many.
with closed as (
       update interactions as question
          set status    = 'CANCELED',
              closed_at = statement_timestamp()
        where execution_id = any ($1::uuid[])
          and status       = 'PENDING'
          and not exists (
                  select
                    from workflow_executions as execution
                   where execution.id = question.execution_id
                     and execution.status not in ('SUCCESS', 'ERROR', 'CANCELED')
              )
    returning id
)
select count(*) as number from closed;

-- name: record_outcome
-- Keep what a verification found, by check.
insert into verifications (check_name, findings, ran_at)
     select check_name, findings, statement_timestamp()
       from unnest($1::text[], $2::integer[]) as outcome (check_name, findings)
         on conflict (check_name) do update
        set findings = excluded.findings, ran_at = excluded.ran_at;

-- name: outcomes
-- What the last verification found.
  select check_name, findings, extract(epoch from ran_at)::float8 as ran_at
    from verifications
order by check_name;
