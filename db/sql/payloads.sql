-- Large values, by user and hash.

-- name: keep_payloads
-- Have those of some values that are stored kept on, and return their hashes. Rows are rewritten when a tenth of the time is gone.
with wanted as (
    select * from unnest($1::uuid[], $2::bytea[]) as wanted (user_id, sha256)
),
extended as (
    update payloads
       set keep_until = now() + make_interval(days => $3)
      from wanted
     where payloads.user_id = wanted.user_id
       and payloads.sha256  = wanted.sha256
       and payloads.keep_until < now() + make_interval(days => $3) * 0.9
)
select payloads.user_id, payloads.sha256
  from payloads
  join wanted using (user_id, sha256);

-- name: insert_payloads
-- Store values; of several that are equal one is stored.
insert into payloads (user_id, sha256, size, data, keep_until)
  select distinct on (user_id, sha256) user_id, sha256, octet_length(data), data, now() + make_interval(days => $4)
    from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as value (user_id, sha256, data)
order by user_id, sha256
      on conflict (user_id, sha256) do update
     set keep_until = greatest(payloads.keep_until, excluded.keep_until);

-- name: get_payload
-- A whole value of a user.
select data
  from payloads
 where user_id = $1
   and sha256  = $2;

-- name: get_payload_part
-- Some bytes of a value of a user, from an offset on.
select substring(data from $3::integer + 1 for $4::integer) as data
  from payloads
 where user_id = $1
   and sha256  = $2;

-- name: get_owner
-- The user of an execution.
select user_id
  from workflow_executions
 where id = $1;
