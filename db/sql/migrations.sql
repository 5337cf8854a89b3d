-- What migrations know of themselves.

-- name: is_vector_missing
-- Whether pgvector could be created and is not.
select exists (
           select
             from pg_available_extensions
            where name = 'vector'
              and installed_version is null
       );

-- name: create_vector
-- Create pgvector.
create extension if not exists vector;

-- name: take_turns
-- Wait until no other runner migrates this database, and keep others waiting until the end of the transaction.
set local lock_timeout = '60s';
select pg_advisory_xact_lock(hashtext('flotilla.migrations'));

-- name: create_schema_migrations
-- The table of what was applied.
create table if not exists schema_migrations (
    version    integer     primary key,
    name       text        not null,
    checksum   text        not null,
    applied_at timestamptz not null default now()
);

-- name: find_schema_migrations
-- Whether anything was ever applied.
select
  from pg_class
 where oid = to_regclass('schema_migrations');

-- name: load_applied
-- What was applied.
select version, checksum
  from schema_migrations;

-- name: insert_applied
-- Note that a migration was applied.
insert into schema_migrations (version, name, checksum)
     values ($1, $2, $3);

-- name: ensure_history_partitions
-- Make the partitions of the months ahead that are missing.
select ensure_history_partitions();
