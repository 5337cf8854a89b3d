-- Leases on partitions of the inbox.

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

-- name: renew_leases
-- Prolong what an owner has. A lease that ran out and that nobody took is still its own.
   update partition_leases
      set expires_at = statement_timestamp() + make_interval(secs => $2)
    where owner = $1
returning partition;

-- name: release_leases
-- Give up what an owner has.
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
