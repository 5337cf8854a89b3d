-- Idempotency keys. They are claimed with the commit that creates what they stand for.

-- name: find_key
-- What a key stands for.
select request_hash, resource_id, expires_at
  from idempotency_keys
 where user_id    = $1
   and route      = $2
   and key        = $3
   and expires_at > now();

-- name: claim_key
-- Let a key stand for a request, unless it stands for one already.
insert into idempotency_keys as known (user_id, route, key, request_hash, resource_id, expires_at)
     values ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))
on conflict (user_id, route, key) do update
        set request_hash = excluded.request_hash,
            resource_id  = excluded.resource_id,
            status       = null,
            body         = null,
            expires_at   = excluded.expires_at
      where known.expires_at <= now()
  returning resource_id;
