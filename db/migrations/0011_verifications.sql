-- What the last `flotilla verify` found, one row per check, for metrics.

create table verifications (
    check_name text        primary key,
    findings   integer     not null check (findings >= 0),
    ran_at     timestamptz not null
);
comment on table verifications is 'The outcome of the last whole verification of this installation, by check.';
