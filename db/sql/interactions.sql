-- Interactions: questions put to people.

-- name: get_interaction
-- One interaction of a user, or in which he is named, in whichever namespace it is.
select *
  from interactions
 where id = $2
   and (user_id = $1 or lowered(approvers) && $3::text[]);

-- name: page_interactions
-- A user's interactions, and those of others in which he is named, newest first: a page of each, and of these the first.
with own as (
      select *
        from interactions
       where user_id = $1
         and ($2::uuid is null or id < $2)
         and ($4::text[] is null or status = any ($4))
         and ($5::uuid[] is null or execution_id = any ($5))
         and ($6::uuid[] is null or workflow_id = any ($6))
         and ($7::timestamptz is null or due_at < $7)
    order by id desc
       limit $3
),
named as (
      select *
        from interactions
       where lowered(approvers) && $8::text[]
         and user_id <> $1
         and ($2::uuid is null or id < $2)
         and ($4::text[] is null or status = any ($4))
         and ($5::uuid[] is null or execution_id = any ($5))
         and ($6::uuid[] is null or workflow_id = any ($6))
         and ($7::timestamptz is null or due_at < $7)
    order by id desc
       limit $3
)
select * from own
union all
select * from named
order by id desc
   limit $3;

-- name: names_of_user
-- The id of a user and his e-mail address, in lower case: by these he is named.
select array[id::text, lower(email)] as names
  from users
 where id = $1;
