-- Webhooks: where the outside world starts workflows by HTTP.

-- A row is an armed trigger: it is there while its workflow is active and published, so that a path is taken only as long as
-- something is received at it. Paths are shared by all users, because an address names no user.
create table webhooks (
    id                 uuid             primary key default new_uuid7(),
    user_id            uuid             not null references users on delete cascade,
    workflow_id        uuid             not null references workflows on delete cascade,
    version_id         uuid             not null references workflow_versions on delete cascade,
    node_id            text             not null,
    path               text             not null unique,
    methods            text[]           not null,
    auth_mode          text             not null check (auth_mode in ('NONE', 'HEADER_TOKEN', 'SIGNATURE')),
    header             text             not null,
    credential_id      uuid,
    response_mode      text             not null check (response_mode in ('IMMEDIATELY', 'WAIT')),
    response_timeout_s double precision not null check (response_timeout_s between 0 and 60),
    filter             text,
    created_at         timestamptz      not null default now(),
    updated_at         timestamptz      not null default now(),
    unique (workflow_id, node_id)
);
create index webhooks_user on webhooks (user_id);
comment on table webhooks is 'The webhook triggers of workflows that are published and active.';
comment on column webhooks.header is 'The request header that carries the token of HEADER_TOKEN.';

create trigger touch_updated_at before update on webhooks for each row execute function touch_updated_at();
alter table webhooks enable row level security;
create policy own_rows on webhooks using (user_id = current_user_id());
