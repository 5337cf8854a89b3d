-- Executions: their creation, and what users read of them.

-- name: create_executions
-- Create executions with their first events; ids and idempotency keys that are known already are left out.
with asked as (
    select distinct on (id) *
      from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::smallint[], $7::jsonb[], $8::uuid[],
                  $9::text[], $10::uuid[], $11::timestamptz[], $12::json[], $13::text[], $14::text[], $15::bytea[],
                  $16::text[], $17::uuid[], $18::uuid[])
        as asked (id, user_id, workflow_id, version_id, mode, priority, metadata, parent_execution_id, parent_node_id,
                  retry_of, at, created, route, key, request_hash, concurrency_key, forked_from, schedule_id)
  order by id
),
claimed as (
    insert into idempotency_keys as known (user_id, route, key, request_hash, resource_id, expires_at)
      select distinct on (user_id, route, key)
             user_id, route, key, request_hash, id, now() + make_interval(secs => $19)
        from asked
       where key is not null
    order by user_id, route, key, id
          on conflict (user_id, route, key) do update
         set request_hash = excluded.request_hash,
             resource_id  = excluded.resource_id,
             status       = null,
             body         = null,
             expires_at   = excluded.expires_at
       where known.expires_at <= now()
   returning resource_id
),
carried as (
    select *
      from unnest($20::uuid[], $21::integer[], $22::json[])
        as carried (execution_id, seq, data)
),
created as (
    insert into workflow_executions (id, user_id, workflow_id, version_id, status, version, mode, priority, metadata,
                                     parent_execution_id, parent_node_id, retry_of, concurrency_key, forked_from,
                                     schedule_id, created_at, updated_at)
      select id, user_id, workflow_id, version_id, 'NEW',
             1 + (select count(*) from carried where carried.execution_id = asked.id), mode, priority, metadata,
             parent_execution_id, parent_node_id, retry_of, concurrency_key, forked_from, schedule_id, at,
             statement_timestamp()
        from asked
       where key is null
          or id in (select resource_id from claimed)
    order by id
          on conflict (id) do nothing
   returning id
),
begun as (
    insert into history (execution_id, seq, at, kind, data)
    select asked.id, 1, asked.at, 'execution_created', asked.created
      from asked
      join created on created.id = asked.id
     union all
    select asked.id, carried.seq, asked.at, 'outputs_carried', carried.data
      from asked
      join created on created.id = asked.id
      join carried on carried.execution_id = asked.id
)
select id from created;

-- name: get_execution
-- One execution of a user.
select execution.*, workflow_versions.version as workflow_version
  from workflow_executions as execution
  left join workflow_versions on workflow_versions.id = execution.version_id
 where execution.user_id = $1
   and execution.id      = $2;

-- name: page_executions
-- A user's executions, newest first.
-- Bounds on (user_id, id) in place of an equal user leave no plan but the index on both.
   select execution.*, workflow_versions.version as workflow_version
     from workflow_executions as execution
left join workflow_versions on workflow_versions.id = execution.version_id
    where (execution.user_id, execution.id) < ($1, coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
      and execution.user_id >= $1
      and ($4::integer[] is null or workflow_versions.version = any ($4))
      and ($5::text[] is null or execution.status = any ($5))
      and ($6::text[] is null or execution.mode = any ($6))
      and ($7::boolean is null or execution.paused = $7)
      and ($8::uuid[] is null or execution.parent_execution_id = any ($8))
      and ($9::timestamptz is null or execution.created_at > $9)
      and ($10::timestamptz is null or execution.created_at < $10)
 order by execution.user_id desc, execution.id desc
    limit $3;

-- name: page_executions_of_workflows
-- A user's executions of some workflows, newest first: a page of each, by its own index, and of these the first.
  select page.*
    from unnest($11::uuid[]) as wanted (workflow_id)
   cross join lateral (
               select execution.*, workflow_versions.version as workflow_version
                 from workflow_executions as execution
            left join workflow_versions on workflow_versions.id = execution.version_id
                where (execution.workflow_id, execution.id)
                      < (wanted.workflow_id, coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
                  and execution.workflow_id >= wanted.workflow_id
                  and execution.user_id = $1
                  and ($4::integer[] is null or workflow_versions.version = any ($4))
                  and ($5::text[] is null or execution.status = any ($5))
                  and ($6::text[] is null or execution.mode = any ($6))
                  and ($7::boolean is null or execution.paused = $7)
                  and ($8::uuid[] is null or execution.parent_execution_id = any ($8))
                  and ($9::timestamptz is null or execution.created_at > $9)
                  and ($10::timestamptz is null or execution.created_at < $10)
             order by execution.workflow_id desc, execution.id desc
                limit $3
         ) as page
order by page.id desc
   limit $3;

-- name: read_history
-- Events of one execution, in order.
  select execution_id, seq, at, kind, node_id, iteration, attempt, data
    from history
   where execution_id = $1
     and seq > $2
     and ($4::text[] is null or kind = any ($4))
     and ($5::text is null or node_id = $5)
order by seq
   limit $3;

-- name: read_beginnings
-- The first events of some executions, each one's in order.
  select event.*
    from unnest($1::uuid[]) as wanted (execution_id)
   cross join lateral (
              select execution_id, seq, at, kind, node_id, iteration, attempt, data
                from history
               where history.execution_id = wanted.execution_id
            order by seq
               limit $2
         ) as event
order by event.execution_id, event.seq;
