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

-- The sweeper asks for deleted workflows all the time, and mostly there are none.
create index workflows_deleted on workflows (id) where deleted_at is not null;

-- Of children that somebody waits for, only those are looked for whose end may not have been heard.
create index workflow_executions_unheard on workflow_executions (id)
    where parent_waits = 'YES' and status in ('SUCCESS', 'ERROR', 'CANCELED');
drop index workflow_executions_waited_for;
