-- Credentials, sealed, and integrations: which of them a user's nodes take by default.

create table credentials (
    id            uuid        primary key,
    user_id       uuid        not null references users on delete cascade,
    name          text        not null,
    type          text        not null,
    ciphertext    bytea       not null,
    key_id        text        not null,
    fields        text[]      not null default '{}',
    allowed_hosts text[]      not null default '{}',
    expires_at    timestamptz,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint credentials_name unique (user_id, name)
);
create index credentials_user on credentials (user_id, id);
create index credentials_key on credentials (key_id);
comment on table credentials is 'Secrets of users. Each row is sealed under a data key of its own, bound to user, id and type.';
comment on column credentials.ciphertext is 'The data key, sealed by one of SECRET_KEYS, and the data, sealed by the data key.';
comment on column credentials.key_id is 'Which of SECRET_KEYS has sealed the data key.';
comment on column credentials.fields is 'The names of what is in the data.';

create table integrations (
    id            uuid        primary key,
    user_id       uuid        not null references users on delete cascade,
    provider      text        not null,
    name          text        not null,
    configuration jsonb       not null default '{}',
    credential_id uuid        references credentials,
    is_default    boolean     not null default false,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint integrations_name unique (user_id, name)
);
create index integrations_user on integrations (user_id, id);
create index integrations_credential on integrations (credential_id) where credential_id is not null;
create unique index integrations_default on integrations (user_id, provider) where is_default;
comment on table integrations is 'Services that a user works with; the default one of a provider lends its credential to nodes that name none.';

-- Who is armed with a credential loses it with the row: then nobody is let in.
alter table webhooks add foreign key (credential_id) references credentials on delete set null;
create index webhooks_credential on webhooks (credential_id) where credential_id is not null;

create trigger touch_updated_at before update on credentials for each row execute function touch_updated_at();
create trigger touch_updated_at before update on integrations for each row execute function touch_updated_at();
alter table credentials enable row level security;
create policy own_rows on credentials using (user_id = current_user_id());
alter table integrations enable row level security;
create policy own_rows on integrations using (user_id = current_user_id());
