-- Interactions: questions put to people.

-- name: get_interaction
-- One interaction of a user.
select *
  from interactions
 where user_id = $1
   and id      = $2;

-- name: page_interactions
-- A user's interactions, newest first.
  select *
    from interactions
   where user_id = $1
     and ($2::uuid is null or id < $2)
     and ($4::text[] is null or status = any ($4))
     and ($5::uuid[] is null or execution_id = any ($5))
     and ($6::uuid[] is null or workflow_id = any ($6))
     and ($7::timestamptz is null or due_at < $7)
order by id desc
   limit $3;

-- name: lock_interaction
-- One interaction of a user, for who is about to note an answer.
select *
  from interactions
 where user_id = $1
   and id      = $2
   for no key update;

-- name: note_answers
-- Write what was answered so far.
update interactions
   set answers = $2::json
 where id = $1;
