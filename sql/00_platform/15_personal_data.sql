-- What is stored about people, in two registries that every page fills for its own tables: what the end of an account
-- erases (advance_erasure()) and what its owner may take along (export_my_data()). A table that holds something of a
-- person and says nothing here breaks the rule personal_data_covered.

-- Ascending. Steps of one phase may run in any order; a new step goes where what it assumes is true.
create type private.erasure_phase as enum (
    -- Locks, in the order in which everybody takes them. Before the first, only the account's own gate is held.
    'lock_gates',         -- Gates that others enter before they hold a row.
    'lock_conversations', -- A block takes them before it ends follows.
    'people',             -- What links two people.
    'lock_works',         -- What others react to, before the reactions.
    'lock_replies',       -- What was said about works, whose works are held.
    'payments',           -- Settlement takes the payment first.
    -- Everything that others may hold is held: rows go, what refers before what is referred to.
    'records',            -- Few rows, which nobody else waits for and nothing refers to.
    'items',              -- What is for sale. A step keeps what was ordered.
    'notices',            -- Mails and notifications, which may refer to anything below.
    'standing',           -- How the account stands with the house and with others: limits, reports, blocks.
    'reactions',          -- Rows that count on what others made.
    'replies',            -- Texts that count on what others made; their likes went with the reactions.
    'works',              -- What people react to and reply to.
    'traces',             -- Memberships, and what triggers noted about everything above.
    'details',            -- What the profile says besides its own row.
    'business',           -- Bans, carts, orders, plans.
    -- Only without financial history: if anything still refers, both phases are undone and the profile stays.
    'books',              -- Accounts and balances nothing was ever booked on.
    'profile'             -- Last: the row everything refers to.
);
comment on type private.erasure_phase is
'When a step of an erasure runs, ascending; the page says what each may assume.';

create table private.erasure_steps (
    step text not null,
    phase private.erasure_phase not null,
    erases text[] not null default '{}',
    statement text not null,
    batch text,
    constraint erasure_steps_pkey primary key (step)
);
comment on table private.erasure_steps is
'What the end of an account erases: each page that holds personal data adds its steps.';
comment on column private.erasure_steps.step is 'Name, usually of the relation.';
comment on column private.erasure_steps.phase is 'When it runs.';
comment on column private.erasure_steps.erases is
'What nothing of the person is left in: relations whose rows go (schema.relation), columns that are emptied or lose '
'the person (schema.relation.column). Empty for steps that only lock, or that keep some rows as they are.';
comment on column private.erasure_steps.statement is
'One SQL statement; $1 is the user''s id. What it erases besides batch, if that is given, is little.';
comment on column private.erasure_steps.batch is
'For what somebody may have a great deal of: query of one integer, how many rows it erased; $1 is the user''s id, $2 '
'how many it may erase. Called in transactions of their own, until it erases none, before any statement.';
alter table private.erasure_steps enable row level security;

create table private.personal_data (
    section text not null,
    relation text not null,
    condition text,
    stays text[] not null default '{}',
    reason text,
    constraint personal_data_pkey primary key (section),
    constraint personal_data_relation_key unique (relation),
    constraint personal_data_reason_check check (
        (stays = '{}' and condition is not null) = (reason is null)
    )
);
comment on table private.personal_data is
'Relations that hold something of a person: what export_my_data() hands out, and what stays when the account ends. '
'Each page adds its rows.';
comment on column private.personal_data.section is 'Key in the export.';
comment on column private.personal_data.relation is 'Schema-qualified relation; one that does not exist is skipped.';
comment on column private.personal_data.condition is
'SQL condition on its rows t; $1 is the user''s id. Null for what is not handed out.';
comment on column private.personal_data.stays is
'Columns that still say something about a person after the erasure. A new column is not among them until somebody '
'thought about it.';
comment on column private.personal_data.reason is 'Why they stay; or why it is not handed out, where nothing stays.';
alter table private.personal_data enable row level security;
