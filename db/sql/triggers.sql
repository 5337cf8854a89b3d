-- Event triggers.

-- name: armed_triggers
-- The triggers of active workflows of some users.
  select trigger.workflow_id, trigger.node_id, trigger.user_id, trigger.version_id, trigger.subject, trigger.filter
    from event_triggers as trigger
    join workflows as workflow on workflow.id = trigger.workflow_id
   where trigger.user_id = any ($1::uuid[])
     and workflow.active
     and workflow.deleted_at is null
order by trigger.workflow_id, trigger.node_id;

-- name: delete_triggers
-- Remove the triggers of a workflow.
delete from event_triggers
 where workflow_id = $1;

-- name: insert_triggers
-- Write the triggers of a workflow's published version.
insert into event_triggers (workflow_id, user_id, version_id, node_id, subject, filter)
select $1, $2, $3, trigger.*
  from unnest($4::text[], $5::text[], $6::text[]) as trigger;
