-- Webhooks: the armed ones.

-- name: find_webhook
-- What is received at a path, and the credential that verifies its senders, as it is now. A workflow that a release without webhooks has disarmed still has its rows.
select webhook.user_id, webhook.workflow_id, webhook.version_id, webhook.node_id, webhook.path, webhook.methods,
       webhook.auth_mode, webhook.header, webhook.response_mode, webhook.response_timeout_s, webhook.filter,
       webhook.credential_id, credential.name as credential_name, credential.type as credential_type,
       credential.ciphertext, credential.key_id, credential.fields, credential.expires_at
  from webhooks as webhook
  join workflows as workflow on workflow.id = webhook.workflow_id
  left join credentials as credential on credential.id = webhook.credential_id and credential.user_id = webhook.user_id
 where webhook.path = $1
   and workflow.active
   and workflow.deleted_at is null;

-- name: delete_webhooks
-- Disarm the webhooks of a workflow.
delete from webhooks
 where workflow_id = $1;

-- name: insert_webhooks
-- Arm the webhooks of a workflow's published version if it is active, and return the paths that others have.
-- The order of paths is the same for all, so that two workflows never wait for each other.
with wanted as (
    select webhook.*,
           (select credential.id
              from credentials as credential
             where credential.user_id = $2
               and (credential.id::text = webhook.credential or credential.name = webhook.credential)
          order by credential.id::text = webhook.credential desc
             limit 1) as credential_id
      from unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::double precision[],
                  $11::text[], $12::text[])
           as webhook (node_id, path, methods, auth_mode, header, response_mode, response_timeout_s, filter, credential)
      join workflows as workflow on workflow.id = $1 and workflow.active and workflow.deleted_at is null
),
armed as (
    insert into webhooks (workflow_id, user_id, version_id, node_id, path, methods, auth_mode, header, response_mode,
                          response_timeout_s, filter, credential_id)
      select $1, $2, $3, node_id, path, string_to_array(methods, ','), auth_mode, header, response_mode,
             response_timeout_s, filter, credential_id
        from wanted
    order by path
          on conflict (path) do nothing
   returning path
)
  select path
    from wanted
   where path not in (select path from armed)
order by path;
