-- The schedulers at work: each says so for as long as its lease of presence, and they share the partitions of the inbox.
--
-- A scheduler of an older release has no row here; it is known by the leases that it holds.

create table schedulers (
    id         text        primary key,
    since      timestamptz not null default now(),
    expires_at timestamptz not null
);
alter table schedulers enable row level security;
comment on table schedulers is 'The schedulers at work, for their shares of the partitions; a row that ran out is gone soon.';
