-- Credentials of users: sealed rows, and who uses them.

-- name: insert_credential
-- Store a credential.
insert into credentials (id, user_id, type, name, ciphertext, key_id, fields, allowed_hosts, expires_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
  returning *;

-- name: get_credential
-- One credential of a user.
select *
  from credentials
 where user_id = $1
   and id      = $2;

-- name: find_credential
-- The credential of a user that a node names, by id or by name; an id wins.
  select *
    from credentials
   where user_id = $1
     and (id::text = $2 or name = $2)
order by id::text = $2 desc
   limit 1;

-- name: find_default_credential
-- The credential of a user's default integration for a provider.
select credential.*
  from integrations as integration
  join credentials as credential on credential.id = integration.credential_id
 where integration.user_id  = $1
   and integration.provider = $2
   and integration.is_default
   and credential.user_id = $1;

-- name: get_execution_owner
-- Whose execution it is, of which version, and how it stands.
select user_id, version_id, status
  from workflow_executions
 where id = $1;

-- name: page_credentials
-- A user's credentials, newest first.
  select *
    from credentials
   where user_id = $1
     and ($2::uuid is null or id < $2)
order by id desc
   limit $3;

-- name: name_credentials
-- Id, name and type of all credentials of a user.
select id, name, type
  from credentials
 where user_id = $1;

-- name: lock_credential
-- One credential of a user, for who is about to change it.
select *
  from credentials
 where user_id = $1
   and id      = $2
   for update;

-- name: update_credential
-- Change a credential.
   update credentials
      set name          = $3,
          ciphertext    = $4,
          key_id        = $5,
          fields        = $6,
          allowed_hosts = $7,
          expires_at    = $8
    where user_id = $1
      and id      = $2
returning *;

-- name: delete_credential
-- Delete a credential.
delete from credentials
 where user_id = $1
   and id      = $2;

-- name: find_use
-- What uses a credential: an integration, or a workflow whose draft or published version names it by its id or name.
select 'integration' as kind, integration.name, integration.id
  from integrations as integration
 where integration.user_id = $1
   and integration.credential_id = $2
   and $4
union all
select 'workflow' as kind, workflow.name, workflow.id
  from workflows as workflow
  join nodes as node on node.workflow_id = workflow.id
 cross join lateral jsonb_each_text(node.credentials) as named
 where workflow.user_id = $1
   and workflow.deleted_at is null
   and named.value = any ($3::text[])
union all
select 'workflow' as kind, workflow.name, workflow.id
  from workflows as workflow
  join workflow_versions as version on version.id = workflow.published_version_id
 cross join lateral json_array_elements(version.document -> 'nodes') as node
 cross join lateral json_each_text(node -> 'credentials') as named
 where workflow.user_id = $1
   and workflow.deleted_at is null
   and named.value = any ($3::text[])
 limit 1;

-- name: page_sealed_otherwise
-- Credentials that another key than this one has sealed, some at a time.
  select id, user_id, type, ciphertext, key_id
    from credentials
   where key_id <> $1
order by id
   limit $2
     for update;

-- name: reseal_credential
-- Keep a credential sealed by another key.
update credentials
   set ciphertext = $2,
       key_id     = $3
 where id = $1;
