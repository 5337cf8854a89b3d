-- Workflow versions: immutable documents.

-- name: load_version
-- A version and what a plan needs to know around it.
select version.id, version.workflow_id, version.version, version.document, workflow.user_id, workflow.name as workflow_name
  from workflow_versions as version
  join workflows as workflow on workflow.id = version.workflow_id
 where version.id = $1;

-- name: version_of_id
-- One version.
select *
  from workflow_versions
 where id = $1;

-- name: version_of_number
-- A numbered version of a user's workflow.
select version.*
  from workflow_versions as version
  join workflows as workflow on workflow.id = version.workflow_id
 where workflow.user_id = $1
   and workflow.id      = $2
   and workflow.deleted_at is null
   and version.version  = $3;

-- name: page_versions
-- The numbered versions of a user's workflow, newest first, without documents.
  select version.id, version.workflow_id, version.version, version.content_hash, version.note, version.created_by,
         version.created_at
    from workflow_versions as version
    join workflows as workflow on workflow.id = version.workflow_id
   where workflow.user_id = $1
     and workflow.id      = $2
     and workflow.deleted_at is null
     and version.version is not null
     and ($3::integer is null or version.version < $3)
order by version.version desc
   limit $4;

-- name: insert_version
-- Write a numbered version.
insert into workflow_versions (id, workflow_id, version, content_hash, document, note, created_by)
     values ($1, $2, $3, $4, $5, $6, $7)
  returning *;

-- name: find_snapshot
-- The snapshot of a draft with this content.
select version.id
  from workflow_versions as version
  join workflows as workflow on workflow.id = version.workflow_id
 where workflow.user_id     = $1
   and workflow.id          = $2
   and workflow.deleted_at is null
   and version.content_hash = $3
   and version.version is null;

-- name: insert_snapshot
-- Write a version without a number, unless there is one with this content.
insert into workflow_versions (id, workflow_id, content_hash, document)
     values ($1, $2, $3, $4)
on conflict (workflow_id, content_hash) where version is null do nothing;
