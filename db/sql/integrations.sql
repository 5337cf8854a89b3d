-- Integrations of users.

-- name: insert_integration
-- Store an integration.
insert into integrations (id, user_id, provider, name, configuration, credential_id, is_default)
     values ($1, $2, $3, $4, $5::jsonb, $6, $7)
  returning *;

-- name: get_integration
-- One integration of a user.
select *
  from integrations
 where user_id = $1
   and id      = $2;

-- name: lock_integration
-- One integration of a user, for who is about to change it.
select *
  from integrations
 where user_id = $1
   and id      = $2
   for update;

-- name: page_integrations
-- A user's integrations, newest first.
  select *
    from integrations
   where user_id = $1
     and ($2::uuid is null or id < $2)
order by id desc
   limit $3;

-- name: take_turns
-- Wait until nobody else makes another integration of the user the default one.
select
  from users
 where id = $1
   for no key update;

-- name: yield_default
-- Let no other integration of a user be the default one of a provider.
update integrations
   set is_default = false
 where user_id  = $1
   and provider = $2
   and id      <> $3
   and is_default;

-- name: update_integration
-- Change an integration.
   update integrations
      set provider      = $3,
          name          = $4,
          configuration = $5::jsonb,
          credential_id = $6,
          is_default    = $7
    where user_id = $1
      and id      = $2
returning *;

-- name: delete_integration
-- Delete an integration.
   delete from integrations
    where user_id = $1
      and id      = $2
returning id;
