-- Large values: stored once per user under the hash of their JSON, and referred to from history.

create table payloads (
    user_id    uuid        not null references users on delete cascade,
    sha256     bytea       not null check (octet_length(sha256) = 32),
    size       integer     not null check (size = octet_length(data)),
    media_type text        not null default 'application/json',
    data       bytea       not null,
    keep_until timestamptz not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (user_id, sha256)
);
create index payloads_expiry on payloads (keep_until);
comment on table payloads is 'Values too large for a message. Content-addressed: attempts, retries and forks share a row.';
comment on column payloads.keep_until is 'Nothing that is not over refers to it later than that; storing or reading it anew extends it.';

-- Not compressed, so that a part can be read without the rest.
alter table payloads alter column data set storage external;

create trigger touch_updated_at before update on payloads for each row execute function touch_updated_at();
alter table payloads enable row level security;
create policy own_rows on payloads using (user_id = current_user_id());
