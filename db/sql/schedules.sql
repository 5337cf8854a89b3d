-- Schedules.

-- name: delete_schedules
-- Remove the schedules of a workflow but for some nodes.
delete from schedules
 where workflow_id = $1
   and node_id <> all ($2::text[]);

-- name: write_schedules
-- Write the schedules of a workflow's published version. Where the times are others than before, it has to be armed anew.
insert into schedules as known (workflow_id, user_id, node_id, cron, interval_s, timezone, policy)
     select $1, $2, wanted.*
       from unnest($3::text[], $4::text[], $5::double precision[], $6::text[], $7::jsonb[]) as wanted
on conflict (workflow_id, node_id) do update
        set cron       = excluded.cron,
            interval_s = excluded.interval_s,
            timezone   = excluded.timezone,
            policy     = excluded.policy,
            next_at    = case
                             when (known.cron, known.interval_s, known.timezone)
                                  is not distinct from (excluded.cron, excluded.interval_s, excluded.timezone)
                             then known.next_at
                             else 'infinity'
                         end;

-- name: arm_schedules
-- Arm the schedules of a workflow from now on if it is active, else disarm them. Those that are armed already go on.
update schedules as schedule
   set next_at = case
                     when workflow.active
                     then clock_timestamp() + make_interval(secs => coalesce(schedule.interval_s, 0))
                     else 'infinity'
                 end
  from workflows as workflow
 where workflow.id = schedule.workflow_id
   and workflow.id = $1
   and workflow.active <> isfinite(schedule.next_at);

-- name: claim_schedules
-- Schedules that are due, longest first, held until the end of the transaction; others pass over them meanwhile.
  select schedule.id, schedule.user_id, schedule.workflow_id, schedule.node_id, schedule.cron, schedule.interval_s,
         schedule.timezone, schedule.policy, schedule.next_at, schedule.last_at,
         workflow.published_version_id as version_id, statement_timestamp() as now
    from schedules as schedule
    join workflows as workflow on workflow.id = schedule.workflow_id
   where not schedule.paused
     and schedule.next_at <= statement_timestamp()
     and schedule.purpose = 'START'
     and schedule.id <> all ($1::uuid[])
     and workflow.active
     and workflow.deleted_at is null
     and workflow.published_version_id is not null
order by schedule.next_at
   limit $2
     for update of schedule skip locked;

-- name: under_way
-- Those of some executions that are not over.
select id
  from workflow_executions
 where id = any ($1::uuid[])
   and status in ('NEW', 'RUNNING', 'WAITING');

-- name: move_schedules
-- Let schedules go on: to their next instant, null for never, and with the occurrence that was started last, if one was.
update schedules as schedule
   set next_at = coalesce(moved.next_at, 'infinity'),
       last_at = coalesce(moved.last_at, schedule.last_at)
  from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) as moved (id, next_at, last_at)
 where schedule.id = moved.id;

-- name: next_schedule
-- How many seconds from now the next schedule is due, of those within a time.
select extract(epoch from min(next_at) - clock_timestamp())::double precision as seconds
  from schedules
 where not paused
   and next_at > clock_timestamp()
   and next_at < clock_timestamp() + make_interval(secs => $1);
