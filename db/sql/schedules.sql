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

-- name: busy_schedules
-- Those of some schedules of which an execution is not over, or whose last occurrence, of which no record was kept, is not.
select distinct schedule_id as id
  from workflow_executions
 where schedule_id = any ($1::uuid[])
   and status not in ('SUCCESS', 'ERROR', 'CANCELED')
union
select schedule.id
  from schedules as schedule
  join workflow_executions as execution on execution.workflow_id = schedule.workflow_id
 where schedule.id  = any ($1::uuid[])
   and execution.id = any ($2::uuid[])
   and execution.schedule_id is null
   and execution.status not in ('SUCCESS', 'ERROR', 'CANCELED');

-- name: get_schedule
-- One schedule of a user.
select schedule.*, nullif(schedule.next_at, 'infinity') as comes_at, workflow.published_version_id as version_id
  from schedules as schedule
  join workflows as workflow on workflow.id = schedule.workflow_id
 where schedule.user_id = $1
   and schedule.id      = $2;

-- name: page_schedules
-- A user's schedules, newest first.
  select schedule.*, nullif(schedule.next_at, 'infinity') as comes_at, workflow.published_version_id as version_id
    from schedules as schedule
    join workflows as workflow on workflow.id = schedule.workflow_id
   where schedule.user_id = $1
     and ($2::uuid is null or schedule.id < $2)
     and ($4::uuid[] is null or schedule.workflow_id = any ($4))
     and ($5::boolean is null or schedule.paused = $5)
order by schedule.id desc
   limit $3;

-- name: pause_schedule
-- Let a schedule start nothing more. Whoever has claimed it just now finishes first.
update schedules
   set paused = true
 where user_id = $1
   and id      = $2;

-- name: resume_schedule
-- Let a paused schedule begin now, whatever it missed; one that is not armed stays so.
update schedules
   set paused  = false,
       next_at = case
                     when isfinite(next_at)
                     then clock_timestamp() + make_interval(secs => coalesce(interval_s, 0))
                     else next_at
                 end
 where user_id = $1
   and id      = $2
   and paused;

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
