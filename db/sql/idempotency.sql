-- Idempotency keys. They are claimed by the statement that creates what they stand for.

-- name: find_key
-- What a key stands for.
select request_hash, resource_id, expires_at
  from idempotency_keys
 where user_id    = $1
   and route      = $2
   and key        = $3
   and expires_at > now();
