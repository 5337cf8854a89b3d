-- Users.

-- name: insert_user
-- Create a user; a second creation of the same id does nothing.
insert into users (id, email, name, role)
     values ($1, $2, $3, $4)
on conflict (id) do nothing;

-- name: get_user
-- One user.
select *
  from users
 where id = $1;
