-- Workflows: drafts that users edit, and which version of them is published.

-- name: insert_workflow
-- Create a workflow.
insert into workflows (id, user_id, name, description, draft, draft_hash, problems, active, tags)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: get_workflow
-- One workflow of a user, with its draft.
   select workflow.*, published.version as published_version
     from workflows as workflow
left join workflow_versions as published on published.id = workflow.published_version_id
    where workflow.user_id = $1
      and workflow.id      = $2
      and workflow.deleted_at is null;

-- name: get_workflow_heads
-- Workflows of users, as far as starting an execution needs to know them.
select workflow.id, workflow.user_id, workflow.revision, workflow.published_version_id
  from unnest($1::uuid[], $2::uuid[]) as wanted (user_id, id)
  join workflows as workflow
    on workflow.user_id = wanted.user_id
   and workflow.id      = wanted.id
 where workflow.deleted_at is null;

-- name: find_workflow
-- Whether a user has this workflow.
select id
  from workflows
 where user_id = $1
   and id      = $2
   and deleted_at is null;

-- name: page_workflows
-- A user's workflows, newest first, without drafts.
   select workflow.id, workflow.user_id, workflow.name, workflow.description, workflow.problems, workflow.active,
          workflow.revision, workflow.published_version_id, workflow.created_at, workflow.updated_at, workflow.tags,
          published.version as published_version
     from workflows as workflow
left join workflow_versions as published on published.id = workflow.published_version_id
    where workflow.user_id = $1
      and workflow.deleted_at is null
      and ($2::uuid is null or workflow.id < $2)
      and ($4::text[] is null or workflow.name = any ($4))
      and ($5::text is null or strpos(lower(workflow.name || ' ' || workflow.description), lower($5)) > 0)
      and ($6::text[] is null or workflow.tags && $6)
      and ($7::boolean is null or workflow.active = $7)
      and ($8::text[] is null or exists (
              select
                from nodes
               where nodes.workflow_id = workflow.id
                 and nodes.node_type || '.' || nodes.node_subtype = any ($8)
          ))
      and ($9::timestamptz is null or workflow.created_at > $9)
      and ($10::timestamptz is null or workflow.created_at < $10)
 order by workflow.id desc
    limit $3;

-- name: lock_workflow
-- Let nobody else change this workflow until the end of the transaction.
select revision, last_version, published_version_id
  from workflows
 where user_id = $1
   and id      = $2
   and deleted_at is null
   for no key update;

-- name: update_workflow
-- Replace the draft.
update workflows
   set name        = $2,
       description = $3,
       draft       = $4,
       draft_hash  = $5,
       problems    = $6,
       active      = coalesce($7, active),
       tags        = $8,
       revision    = revision + 1
 where id = $1;

-- name: set_published
-- Set the published version and whether its triggers are armed; a null leaves `active` as it is.
update workflows
   set published_version_id = $2,
       last_version         = $3,
       active               = coalesce($4, active),
       revision             = revision + 1
 where id = $1
   and (published_version_id is distinct from $2 or active <> coalesce($4, active));

-- name: hide_workflow
-- Take a workflow from its user's eyes; the rows go with retention.
update workflows
   set deleted_at = now(),
       revision   = revision + 1
 where id = $1;

-- name: unfinished_executions
-- A workflow's executions that are not over.
  select id
    from workflow_executions
   where workflow_id = $1
     and status in ('NEW', 'RUNNING', 'WAITING')
order by id;
