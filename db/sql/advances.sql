-- The hot path of the scheduler: one statement commits many advances, and what it reads to make them.

-- name: commit_batch
-- Let the first committer of each version win, and write history and timers for the winners alone.
-- The conditions `= any ($n)` repeat what the joins say: they are what lets a hash join look rows up by key.
with advance as (
    select *
      from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::json[])
        as advance (id, was, becomes, status, started_at, finished_at, failure)
),
winner as (
       update workflow_executions as execution
          set version     = advance.becomes,
              status      = advance.status,
              started_at  = coalesce(advance.started_at, execution.started_at),
              finished_at = coalesce(advance.finished_at, execution.finished_at),
              failure     = coalesce(advance.failure, execution.failure),
              paused      = execution.id = any ($25::uuid[]),
              updated_at  = statement_timestamp()
         from advance
        where execution.id      = advance.id
          and execution.id      = any ($1)
          and execution.version = advance.was
          and execution.status not in ('SUCCESS', 'ERROR', 'CANCELED')
    returning execution.id
),
recorded as (
    insert into history (execution_id, seq, at, kind, node_id, iteration, attempt, data)
    select event.execution_id, event.seq, event.at, event.kind, event.node_id, event.iteration::integer[], event.attempt,
           event.data
      from unnest($8::uuid[], $9::integer[], $10::timestamptz[], $11::text[], $12::text[], $13::text[], $14::integer[],
                  $15::json[])
        as event (execution_id, seq, at, kind, node_id, iteration, attempt, data)
      join winner on winner.id = event.execution_id
),
armed as (
    insert into timers (execution_id, key, kind, node_id, iteration, due_at)
    select timer.execution_id, timer.key, timer.kind, timer.node_id, timer.iteration::integer[], timer.due_at
      from unnest($16::uuid[], $17::text[], $18::text[], $19::text[], $20::text[], $21::timestamptz[])
        as timer (execution_id, key, kind, node_id, iteration, due_at)
      join winner on winner.id = timer.execution_id
        on conflict (execution_id, key) do update
       set kind = excluded.kind, node_id = excluded.node_id, iteration = excluded.iteration, due_at = excluded.due_at
),
cleared as (
    delete from timers
     using unnest($22::uuid[], $23::text[]) as timer (execution_id, key)
      join winner on winner.id = timer.execution_id
     where timers.execution_id = timer.execution_id
       and timers.execution_id = any ($22)
       and timers.key          = timer.key
),
ended as (
    delete from timers
     using winner
     where timers.execution_id = winner.id
       and timers.execution_id = any ($24::uuid[])
),
born as (
    insert into workflow_executions (id, user_id, workflow_id, version_id, status, version, mode, priority, concurrency_key,
                                     parent_execution_id, parent_node_id, parent_waits, created_at, updated_at)
    select child.id, child.user_id, child.workflow_id, child.version_id, 'NEW', 1, child.mode, child.priority,
           child.concurrency_key, child.parent_execution_id, child.parent_node_id, child.parent_waits, child.at,
           statement_timestamp()
      from json_to_recordset($26::json)
        as child (by uuid, id uuid, user_id uuid, workflow_id uuid, version_id uuid, mode text, priority smallint,
                  concurrency_key text, parent_execution_id uuid, parent_node_id text, parent_waits text, at timestamptz)
      join winner on winner.id = child.by
        on conflict (id) do nothing
 returning id
),
begun as (
    insert into history (execution_id, seq, at, kind, data)
    select child.id, 1, child.at, 'execution_created', child.created
      from json_to_recordset($26::json)
        as child (id uuid, at timestamptz, created json)
      join born on born.id = child.id
),
released as (
       update workflow_executions as child
          set parent_waits = release.parent_waits
         from unnest($27::uuid[], $28::uuid[], $29::text[]) as release (by, id, parent_waits)
         join winner on winner.id = release.by
        where child.id = release.id
          and child.id = any ($28)
),
opened as (
    insert into interactions (id, user_id, execution_id, workflow_id, node_id, iteration, kind, title, message, fields, choices,
                              value, editable, approvers, approvals_required, rejections_required, channel, priority, status,
                              answers, due_at, closed_at, created_at)
    select question.id, question.user_id, question.execution_id, question.workflow_id, question.node_id, question.iteration,
           question.kind, question.title, question.message, coalesce(question.fields, '{}'), question.choices, question.value,
           question.editable, question.approvers, question.approvals_required, question.rejections_required,
           question.channel, question.priority, question.status, coalesce(question.answers, '[]'), question.due_at,
           question.closed_at, question.at
      from json_to_recordset($30::json)
        as question (id uuid, user_id uuid, execution_id uuid, workflow_id uuid, node_id text, iteration integer[], kind text,
                     title text, message text, fields json, choices json, value json, editable boolean, approvers text[],
                     approvals_required integer, rejections_required integer, channel text, priority text, status text,
                     answers json, due_at timestamptz, closed_at timestamptz, at timestamptz)
      join winner on winner.id = question.execution_id
        on conflict (id) do nothing
),
changed as (
       update interactions as question
          set status       = coalesce(change.status, 'PENDING'),
              closed_at    = case when change.status is not null then change.at end,
              answers      = case when change.answers is not null
                                  then change.answers
                                  when json_array_length(question.answers) = 0 and change.answer is not null
                                  then json_build_array(change.answer)
                                  else question.answers
                              end,
              approvers    = coalesce(change.approvers, question.approvers),
              escalated_at = case when change.approvers is not null then change.at else question.escalated_at end,
              reminders    = coalesce(change.reminders, question.reminders),
              reminded_at  = case when change.reminders is not null then change.at else question.reminded_at end
         from json_to_recordset($31::json)
           as change (by uuid, id uuid, status text, at timestamptz, answer json, answers json, approvers text[],
                      reminders integer)
         join winner on winner.id = change.by
        where question.id           = change.id
          and question.execution_id = change.by
          and question.status       = 'PENDING'
)
select id from winner;

-- name: commit_events
-- Commit advances that set no timer and touch no child and no question: most do, and this takes half the time to start up.
with advance as (
    select *
      from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::json[])
        as advance (id, was, becomes, status, started_at, finished_at, failure)
),
winner as (
       update workflow_executions as execution
          set version     = advance.becomes,
              status      = advance.status,
              started_at  = coalesce(advance.started_at, execution.started_at),
              finished_at = coalesce(advance.finished_at, execution.finished_at),
              failure     = coalesce(advance.failure, execution.failure),
              paused      = execution.id = any ($17::uuid[]),
              updated_at  = statement_timestamp()
         from advance
        where execution.id      = advance.id
          and execution.id      = any ($1)
          and execution.version = advance.was
          and execution.status not in ('SUCCESS', 'ERROR', 'CANCELED')
    returning execution.id
),
recorded as (
    insert into history (execution_id, seq, at, kind, node_id, iteration, attempt, data)
    select event.execution_id, event.seq, event.at, event.kind, event.node_id, event.iteration::integer[], event.attempt,
           event.data
      from unnest($8::uuid[], $9::integer[], $10::timestamptz[], $11::text[], $12::text[], $13::text[], $14::integer[],
                  $15::json[])
        as event (execution_id, seq, at, kind, node_id, iteration, attempt, data)
      join winner on winner.id = event.execution_id
),
ended as (
    delete from timers
     using winner
     where timers.execution_id = winner.id
       and timers.execution_id = any ($16::uuid[])
)
select id from winner;

-- name: end_preparing
-- Stop the clock of the statement timeout, which the driver's way to prepare leaves running until the next statement.
select 1;

-- name: plan_by_keys
-- Give the next statement the plan that a session of our own is set up for, where a pooler lends us a session.
set local enable_seqscan = off;
set local enable_bitmapscan = off;
set local enable_nestloop = off;
set local enable_mergejoin = off;

-- name: load_executions
-- Where executions stand.
select id, user_id, workflow_id, version_id, status, version
  from workflow_executions
 where id = any ($1::uuid[]);

-- name: load_histories
-- What happened in executions up to a version, in order. Each is looked up by itself, in its own partition.
  select event.execution_id, event.seq, event.at, event.kind, event.node_id, event.iteration, event.attempt, event.data
    from unnest($1::uuid[], $2::bigint[]) as execution (id, version)
   cross join lateral (
           select *
             from history
            where history.execution_id = execution.id
              and history.seq         <= execution.version
         ) as event
order by event.execution_id, event.seq;

-- name: due_timers
-- What is due in some partitions of the inbox, and the first timer after it. A partition is the last four bits of the id.
(
  select execution_id, key, kind, node_id, iteration, due_at, true as is_due
    from timers
   where due_at <= statement_timestamp()
     and get_byte(uuid_send(execution_id), 15) & 15 = any ($1::integer[])
order by due_at
   limit $2
)
union all
(
  select execution_id, key, kind, node_id, iteration, due_at, false as is_due
    from timers
   where due_at > statement_timestamp()
     and get_byte(uuid_send(execution_id), 15) & 15 = any ($1::integer[])
order by due_at
   limit 1
);

-- name: unfinished
-- Executions of some partitions and statuses whose last commit is a while ago, by id, and their versions.
-- Bounds on (status, id) in place of an equal status leave no plan but the index on both: a walk along the ids would pass
-- everything that is over.
  select execution.id, execution.version
    from unnest($2::text[]) as wanted (status)
   cross join lateral (
           select id, version
             from workflow_executions
            where (status, id) > (wanted.status, coalesce($3::uuid, '00000000-0000-0000-0000-000000000000'))
              and status <= wanted.status
              and get_byte(uuid_send(id), 15) & 15 = any ($1::integer[])
              and updated_at <= statement_timestamp() - make_interval(secs => $5)
         order by status, id
            limit $4
         ) as execution
order by execution.id
   limit $4;

-- name: abandoned
-- Executions of some partitions that are not over though their workflow was deleted.
-- Deleted workflows come first, whatever the planner thinks: a walk along the executions would pass all that there are.
with gone as materialized (
    select id
      from workflows
     where deleted_at is not null
)
select execution.id
  from gone
 cross join lateral (
         select id
           from workflow_executions
          where workflow_id = gone.id
            and status in ('NEW', 'RUNNING', 'WAITING')
            and get_byte(uuid_send(id), 15) & 15 = any ($1::integer[])
          limit $2
       ) as execution
 limit $2;
