-- Schedules: which workflows are started by the clock.

create table schedules (
    id          uuid        primary key default new_uuid7(),
    user_id     uuid        not null references users on delete cascade,
    workflow_id uuid        not null references workflows on delete cascade,
    node_id     text        not null,
    purpose     text        not null default 'START' check (purpose in ('START', 'POLL')),
    cron        text,
    interval_s  double precision check (interval_s >= 1),
    timezone    text        not null,
    policy      jsonb       not null default '{}',
    cursor      jsonb,
    next_at     timestamptz not null default 'infinity',
    last_at     timestamptz,
    paused      boolean     not null default false,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    unique (workflow_id, node_id),
    check ((cron is null) <> (interval_s is null))
);
create index schedules_user on schedules (user_id, id);
create index schedules_due on schedules (next_at) where not paused;
comment on table schedules is 'The schedules of every published version. An execution''s id derives from the id here and the due instant.';
comment on column schedules.next_at is
    'When to look at it next: no occurrence lies before. infinity: not armed, because its workflow is not active.';
comment on column schedules.last_at is 'The occurrence that an execution was started for last.';
comment on column schedules.cursor is 'Where a POLL goes on; a START goes on at next_at.';

create trigger touch_updated_at before update on schedules for each row execute function touch_updated_at();

alter table schedules enable row level security;
create policy own_rows on schedules using (user_id = current_user_id());
