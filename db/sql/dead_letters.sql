-- Dead letters.

-- name: add_dead_letters
-- Keep messages as they came; one of a known id is left out.
insert into dead_letters (id, user_id, source, reason, subject, headers, body, error, execution_id, node_id)
     select *
       from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::bytea[], $8::text[],
                   $9::uuid[], $10::text[])
on conflict (id) do nothing;

-- name: get_dead_letter
-- One dead letter of a user, or of nobody.
select *
  from dead_letters
 where user_id is not distinct from $1
   and id = $2;

-- name: page_dead_letters
-- The dead letters of a user, or of nobody, newest first; on demand those of nobody beside the user's.
  select *
    from dead_letters
   where (user_id is not distinct from $1 or ($8 and user_id is null))
     and ($2::uuid is null or id < $2)
     and ($4::text[] is null or source = any ($4))
     and ($5::text[] is null or reason = any ($5))
     and ($6::uuid[] is null or execution_id = any ($6))
     and ($7::timestamptz is null or created_at < $7)
order by id desc
   limit $3;

-- name: hold_messages
-- Lock those of these messages that nobody put back to work yet, in one order for all; tasks are put back otherwise.
  select id
    from dead_letters
   where id = any ($1::uuid[])
     and source <> 'TASK'
     and redriven_at is null
order by id
     for update;

-- name: mark_redriven
-- Say that messages were put back to work.
update dead_letters
   set redriven_at = now()
 where id = any ($1::uuid[]);

-- name: redrive_tasks
-- Let a new execution stand for all tasks of an execution that nobody put back to work yet.
-- Nothing happens if somebody was faster with the one that is meant.
with held as (
      select id
        from dead_letters
       where user_id = $1
         and execution_id = $2
         and source = 'TASK'
         and redriven_at is null
    order by id
         for update
)
   update dead_letters
      set redriven_at = now(),
          redriven_as = $4
    where id in (select id from held)
      and $3 in (select id from held)
returning id;

-- name: delete_dead_letter
-- Forget a dead letter.
delete from dead_letters
 where id = $1;
