-- People who live in another namespace find the questions in which they are named, reminders and escalations are shown,
-- and executions know the schedule that started them.

create function lowered(names text[]) returns text[] language sql immutable parallel safe as $$
    select coalesce(array_agg(lower(name) order by place), '{}')
      from unnest(names) with ordinality as given (name, place)
$$;
comment on function lowered is 'Names in lower case, in their order: ids and e-mail addresses are the same in any case.';

alter table interactions
    add column reminders    integer     not null default 0,
    add column reminded_at  timestamptz,
    add column escalated_at timestamptz;
create index interactions_approvers on interactions using gin (lowered(approvers));
comment on column interactions.reminders is 'How often people were reminded of it.';
comment on column interactions.escalated_at is 'When further people were asked, who are among the approvers since.';
comment on column interactions.answers is
    'What people said, in order: a copy of what history has, written by the commits that record it.';

alter table workflow_executions add column schedule_id uuid;
create index workflow_executions_schedule on workflow_executions (schedule_id)
    where schedule_id is not null and status not in ('SUCCESS', 'ERROR', 'CANCELED');
comment on column workflow_executions.schedule_id is
    'The schedule that started it. Nothing refers to it: schedules go when another version is published.';
