-- Secrets of the engine.

-- name: insert_secret
-- Keep a secret, unless there is one of that name.
insert into engine_secrets (name, value)
     values ($1, $2)
on conflict (name) do nothing;

-- name: get_secret
-- One secret.
select value
  from engine_secrets
 where name = $1;
