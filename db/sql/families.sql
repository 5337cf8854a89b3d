-- Parents and children, and the workflows that executions may be started of.

-- name: find_target
-- The workflow of that id, or those of that name, with their published version.
select id, name, published_version_id
  from workflows
 where user_id = $1
   and deleted_at is null
   and (id = $2 or name = $3)
 order by id
 limit 2;

-- name: ended_children
-- Children that are over though their parents, of some partitions, still wait for them.
  select child.id, child.parent_execution_id
    from workflow_executions as child
    join workflow_executions as parent on parent.id = child.parent_execution_id
   where child.parent_waits = 'YES'
     and child.status in ('SUCCESS', 'ERROR', 'CANCELED')
     and parent.status not in ('SUCCESS', 'ERROR', 'CANCELED')
     and get_byte(uuid_send(child.parent_execution_id), 15) & 15 = any ($1::integer[])
     and child.updated_at <= statement_timestamp() - make_interval(secs => $2)
order by child.id
   limit $3;

-- name: orphans
-- Children, of some partitions, that go on though the parent gave them up.
  select id
    from workflow_executions
   where parent_waits = 'NO_MORE'
     and status not in ('SUCCESS', 'ERROR', 'CANCELED')
     and get_byte(uuid_send(id), 15) & 15 = any ($1::integer[])
order by id
   limit $2;

-- name: ends_of
-- How executions began and ended: the first and the last event of each.
select execution.id, execution.status, execution.failure, first.data as created, last.data as ended
  from workflow_executions as execution
  join history as first on first.execution_id = execution.id and first.seq = 1
  join history as last  on last.execution_id  = execution.id and last.seq  = execution.version
 where execution.id = any ($1::uuid[])
   and execution.status in ('SUCCESS', 'ERROR', 'CANCELED');
