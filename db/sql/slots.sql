-- Slots: how many executions of a workflow, or of one value of its concurrency key, may be under way at once.

-- name: lock_slots
-- Let one process at a time hand out the slots of a key.
select pg_advisory_xact_lock(hashtextextended('flotilla.slots.' || $1::uuid::text || '.' || $2::text, 0));

-- name: fill_slots
-- Give free slots to those that wait, by priority, then arrival; return all that have one and have not started.
with taken as (
    select count(*) as number
      from workflow_executions
     where workflow_id     = $1
       and concurrency_key = $2
       and has_slot
       and status not in ('SUCCESS', 'ERROR', 'CANCELED')
),
next as (
      select id
        from workflow_executions
       where workflow_id     = $1
         and concurrency_key = $2
         and status          = 'NEW'
         and not has_slot
    order by priority desc, id
       limit greatest($3 - (select number from taken), 0)
),
given as (
       update workflow_executions
          set has_slot = true
        where id in (select id from next)
    returning id
)
select id from given
union
select id
  from workflow_executions
 where workflow_id     = $1
   and concurrency_key = $2
   and status          = 'NEW'
   and has_slot;

-- name: without_slot
-- Those of the executions that wait for a slot.
select id
  from workflow_executions
 where id = any ($1::uuid[])
   and status = 'NEW'
   and not has_slot;

-- name: slot_holders
-- Who holds the slots of a key.
  select id
    from workflow_executions
   where workflow_id     = $1
     and concurrency_key = $2
     and has_slot
     and status not in ('SUCCESS', 'ERROR', 'CANCELED')
order by id
   limit $3;
