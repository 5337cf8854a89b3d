-- Interactions: questions put to people, as the API lists them. A row comes and closes with the commit of the execution that
-- it belongs to. Links to it are signed, not stored.
--
-- JSON is of type json, as in history: the order of keys makes the form, and jsonb would refuse the escape \u0000, with which a
-- handler could make a whole batch of advances impossible. For the same reason nothing that a handler says has a check: what
-- it may say is judged where its order is read.

create table interactions (
    id                  uuid        primary key,
    user_id             uuid        not null references users on delete cascade,
    execution_id        uuid        not null,
    workflow_id         uuid        not null,
    node_id             text        not null,
    iteration           integer[]   not null default '{}',
    kind                text        not null,
    title               text        not null default '',
    message             text        not null default '',
    fields              json        not null default '{}',
    choices             json,
    value               json,
    editable            boolean     not null default false,
    approvers           text[]      not null default '{}',
    approvals_required  integer     not null default 1,
    rejections_required integer     not null default 1,
    channel             text        not null default 'APP',
    priority            text        not null default 'normal',
    status              text        not null default 'PENDING'
                        check (status in ('PENDING', 'ANSWERED', 'TIMED_OUT', 'CANCELED')),
    answers             json        not null default '[]',
    due_at              timestamptz,
    closed_at           timestamptz,
    created_at          timestamptz not null default now(),
    updated_at          timestamptz not null default now()
);
create index interactions_user on interactions (user_id, status, id);
create index interactions_user_all on interactions (user_id, id);
create index interactions_execution on interactions (execution_id);
comment on table interactions is 'Questions put to people. They go with their execution''s history, so nothing refers to it.';
comment on column interactions.id is 'Derived by the engine from the node run and its attempt, so that a question is put once.';
comment on column interactions.fields is 'JSON Schema of the answer''s data.';
comment on column interactions.answers is
    'What people said, in order. The gateway adds an answer while the row is PENDING; the commit that closes it leaves them.';
comment on column interactions.approvers is 'Ids or e-mail addresses of users; none: whoever may execute in the namespace.';

create trigger touch_updated_at before update on interactions for each row execute function touch_updated_at();
alter table interactions enable row level security;
create policy own_rows on interactions using (user_id = current_user_id());
