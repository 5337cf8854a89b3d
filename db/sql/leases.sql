-- Leases on partitions of the inbox, and the schedulers that share them.

-- name: keep_leases
-- Say that a scheduler is at work, and prolong those of its leases whose epoch is still the one that it knows.
-- A lease that ran out and that nobody took is still its own.
with present as (
    insert into schedulers (id, expires_at)
    values ($1, statement_timestamp() + make_interval(secs => $4))
        on conflict (id) do update set expires_at = excluded.expires_at
),
gone as (
    delete from schedulers
     where expires_at < statement_timestamp() - interval '1 hour'
       and id <> $1
)
   update partition_leases as lease
      set expires_at = statement_timestamp() + make_interval(secs => $4)
     from unnest($2::integer[], $3::bigint[]) as known (partition, epoch)
    where lease.owner     = $1
      and lease.partition = known.partition
      and lease.epoch     = known.epoch
returning lease.partition;

-- name: live_schedulers
-- The schedulers at work, the longest first. Who holds a lease without having said so is of an older release.
with live as (
    select id, since
      from schedulers
     where expires_at > statement_timestamp()
     union all
    select distinct lease.owner, '-infinity'::timestamptz
      from partition_leases as lease
     where lease.owner is not null
       and lease.expires_at > statement_timestamp()
       and lease.owner not in (select id from schedulers)
)
  select id
    from live
order by since, id;

-- name: acquire_leases
-- Take what is free or has run out; a row that somebody else is taking right now is passed over.
with free as (
    select partition
      from partition_leases
     where owner is null
        or expires_at <= statement_timestamp()
  order by partition
     limit $2
       for no key update skip locked
)
   update partition_leases as lease
      set owner      = $1,
          epoch      = lease.epoch + 1,
          expires_at = statement_timestamp() + make_interval(secs => $3)
     from free
    where lease.partition = free.partition
returning lease.partition, lease.epoch;

-- name: hand_back_leases
-- Give back some partitions, for others to take at once; the epoch stays, so that the next owner's is higher.
update partition_leases as lease
   set owner      = null,
       expires_at = '-infinity'
  from unnest($2::integer[], $3::bigint[]) as known (partition, epoch)
 where lease.owner     = $1
   and lease.partition = known.partition
   and lease.epoch     = known.epoch;

-- name: release_leases
-- Give up what an owner has, and its presence.
with gone as (
    delete from schedulers
     where id = $1
)
update partition_leases
   set owner      = null,
       expires_at = '-infinity'
 where owner = $1;

-- name: lease_holders
-- Who holds a lease that has not run out.
select distinct owner
  from partition_leases
 where owner is not null
   and expires_at > statement_timestamp();

-- name: lease_holder
-- Who holds the lease of a partition, if it has not run out.
select owner
  from partition_leases
 where partition = $1
   and owner is not null
   and expires_at > statement_timestamp();
