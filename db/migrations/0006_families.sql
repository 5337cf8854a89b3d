-- Executions that hold a slot of their workflow, and children that somebody waits for.

alter table workflow_executions
    add column has_slot     boolean not null default false,
    add column parent_waits text check (parent_waits in ('YES', 'NO_MORE'));
comment on column workflow_executions.has_slot is 'Of an execution with a concurrency key: it may start, or has started.';
comment on column workflow_executions.parent_waits is
    'Of a child: YES until the parent has taken its end; NO_MORE if the parent gave it up, so that it must be canceled.';

create index workflow_executions_waited_for on workflow_executions (id) where parent_waits = 'YES';
create index workflow_executions_given_up on workflow_executions (id)
    where parent_waits = 'NO_MORE' and status not in ('SUCCESS', 'ERROR', 'CANCELED');
