-- Workers.

-- name: beat
-- Write signs of life. The lists of node types come as JSON: arrays of arrays cannot be of different lengths.
insert into workers (id, node_types, slots, busy, version, host, status, started_at)
     select id, array(select json_array_elements_text(node_types)), slots, busy, version, host, status, started_at
       from unnest($1::text[], $2::json[], $3::integer[], $4::integer[], $5::text[], $6::text[], $7::text[],
                   $8::timestamptz[])
         as heartbeat (id, node_types, slots, busy, version, host, status, started_at)
on conflict (id) do update
        set node_types   = excluded.node_types,
            slots        = excluded.slots,
            busy         = excluded.busy,
            version      = excluded.version,
            host         = excluded.host,
            status       = excluded.status,
            started_at   = excluded.started_at,
            last_seen_at = now();

-- name: page_workers
-- Workers, newest first; one that was silent for too long is lost, whatever it said last.
with worker as (
    select id, node_types, slots, busy, version, host, started_at, last_seen_at,
           case when last_seen_at < now() - make_interval(secs => $5) then 'LOST' else status end as status
      from workers
)
  select *
    from worker
   where ($1::text is null or id < $1)
     and ($3::text[] is null or node_types && $3)
     and ($4::text[] is null or status = any ($4))
order by id desc
   limit $2;
