-- One vocabulary for the kinds of things there are, and how shared code does something with a thing of which it knows
-- the kind's word only. A new kind is one page: it inserts its row and, where it differs from the others, has a
-- function of its own; nothing that is shared names it.

create table private.kinds (
    kind text not null,
    relation text not null,
    owner_column text,
    page text,
    hooks text[] not null default '{}',
    is_browsable boolean not null default true,
    is_repeatable boolean not null default false,
    has_seats boolean not null default false,
    proceeds text not null default 'seller',
    commission text not null default 'plan',
    earned text not null default 'at_payment',
    free_window interval,
    reviewing text,
    is_bundled boolean not null default false,
    constraint kinds_pkey primary key (kind),
    constraint kinds_relation_key unique (relation),
    constraint kinds_kind_check check (kind ~ '^[a-z]+(_[a-z]+)*$'),
    constraint kinds_proceeds_check check (proceeds in ('seller', 'platform', 'credits')),
    constraint kinds_commission_check check (commission in ('plan', 'none')),
    constraint kinds_earned_check check (earned in ('at_payment', 'at_completion')),
    constraint kinds_reviewing_check check (reviewing in ('none', 'open', 'blind'))
);
comment on table private.kinds is
'The kinds of things: one row each, inserted on the page that makes its relation. Every column that names a kind has '
'its words from here.';
comment on column private.kinds.kind is 'The word, in the singular: product.';
comment on column private.kinds.relation is
'Schema-qualified relation its rows are in; their key is id where it has hooks.';
comment on column private.kinds.owner_column is 'Column with the profile that a row belongs to; needed with hooks.';
comment on column private.kinds.page is
'Path in the application where a notice of one of them leads, {id} replaced; null: nobody is told of any.';
comment on column private.kinds.hooks is 'What shared code may ask of this kind: rows of private.hooks.';
comment on column private.kinds.is_browsable is
'Of what is sold: whether shop pages, searches and counts show it. Others are bought where they are met: a tip jar.';
comment on column private.kinds.is_repeatable is
'Of what is sold: whether the same buyer buys it again and again. The item''s own column decides, this is its default.';
comment on column private.kinds.has_seats is
'Of what is sold: whether its stock are seats, one for a person. The kind says who gets one (hooks take, freed), and a '
'refund that fails gives a seat back also where it was given to somebody else since.';
comment on column private.kinds.proceeds is
'Of what is sold: who earns. seller; platform: sold by the system profile, all of it revenue; credits: sold by the '
'system profile too, but what was paid stays the buyer''s, as credits (70_studio/10_credits).';
comment on column private.kinds.commission is 'Of what is sold: by the seller''s plan, or none.';
comment on column private.kinds.earned is
'Of what is sold: at_payment, or at_completion: nothing is released before complete_lines() says that it is done. What '
'is shipped is earned when it is delivered, whatever its kind says.';
comment on column private.kinds.free_window is
'Of what is sold: how long after paying a buyer steps back at the platform''s cost (the provider keeps its fee). Null: '
'no such right.';
comment on column private.kinds.is_bundled is
'Of what is sold: whether one can be a part of what brings several at one price. For what is there as soon as it is '
'paid: no stock, seat, date or parcel. The item says the rest, see may_be_part().';
comment on column private.kinds.reviewing is
'Of what is sold: none: nobody reviews it; open: shown at once; blind: buyer and seller review each other, unseen '
'until '
'both have. Null: blind for what is bought again and again and earned when it is done, none for what is not browsable, '
'else open.';
alter table private.kinds enable row level security;

create table private.hooks (
    hook text not null,
    parameters text not null default '',
    returns text not null,
    as_caller boolean not null default false,
    otherwise text,
    needs text[] not null default '{}',
    refusal text not null,
    meaning text not null,
    constraint hooks_pkey primary key (hook)
);
comment on table private.hooks is
'What shared code can ask of a kind. dispatch_<hook>(kind, ids, …), written by build_dispatch(), calls the kind''s '
'own function <kind>_<hook>(ids, …) or does what is otherwise done; always over ids of one kind.';
comment on column private.hooks.hook is 'Its name.';
comment on column private.hooks.parameters is 'Parameters after the ids, as in create function.';
comment on column private.hooks.returns is 'What it returns: void, or setof with the column id.';
comment on column private.hooks.as_caller is
'Runs with the caller''s rights, reads only, and may be called by members.';
comment on column private.hooks.otherwise is
'Statement for kinds without a function of their own, {relation} and {owner} replaced; null: each needs one. Several '
'statements say return query themselves.';
comment on column private.hooks.needs is 'Other hooks a kind must have that has this one.';
comment on column private.hooks.refusal is 'Error for kinds that do not have the hook.';
comment on column private.hooks.meaning is 'What it does; the comment of the function built.';
alter table private.hooks enable row level security;

create function private.hook_branch(kind private.kinds, hook private.hooks) returns text
language sql
stable
set search_path = ''
as $$
    select case
        when to_regproc(format('private.%I', kind.kind || '_' || hook.hook)) is not null then format(
            '%s private.%I(ids%s)', case when hook.returns = 'void' then 'perform' else 'return query select * from' end,
            kind.kind || '_' || hook.hook, regexp_replace(hook.parameters, '\s*([a-z_]+)\s+[^,]+', ', \1', 'g')
        )
        -- What takes several statements says itself which of them answers.
        else case when hook.returns = 'void' or hook.otherwise like '%return query%' then '' else 'return query ' end
            || replace(replace(hook.otherwise, '{relation}', kind.relation), '{owner}', quote_ident(kind.owner_column))
    end
$$;
comment on function private.hook_branch(private.kinds, private.hooks) is
'What the function built for a hook does for one kind.';

create function private.build_dispatch() returns void
language plpgsql
set search_path = ''
as $$
declare
    hook private.hooks;
    branches text;
    name text;
begin
    for hook in select * from private.hooks as h order by h.hook loop
        select string_agg(
            format(E'        when %L then\n            %s;\n', k.kind, private.hook_branch(k, hook)), '' order by k.kind
        ) into branches
        from private.kinds as k
        where hook.hook = any (k.hooks);
        continue when branches is null;
        name := format('private.%I', 'dispatch_' || hook.hook);
        execute format(
            E'create or replace function %s(kind text, ids uuid[]%s) returns %s\nlanguage plpgsql\n%s'
            'set search_path = ''''\n%sas %L',
            name, ', ' || nullif(hook.parameters, ''), hook.returns,
            case when hook.as_caller then E'stable\n' else E'security definer\n' end,
            -- Buyers wait for these: not planned anew each time.
            case when not hook.as_caller then E'set plan_cache_mode = force_generic_plan\n' else '' end,
            format(
                E'\nbegin\n    case kind\n%s        else\n            perform private.fail(%L, kind);\n    end case;\nend\n',
                branches, hook.refusal
            )
        );
        execute format('comment on function %s is %L', name, hook.meaning || ' Built: see build_dispatch().');
        if hook.as_caller then
            execute format('grant execute on function %s to authenticated', name);
        end if;
    end loop;
end
$$;
comment on function private.build_dispatch() is
'Writes the functions dispatch_<hook>(kind, ids, …) from the rows of kinds and hooks: a case over the kinds, so that '
'nothing is put together when they run. The last page calls it, and a migration that adds a kind.';

create function private.require_hook(kind text, hook text) returns void
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    if not exists (
        select from private.kinds as k where k.kind = require_hook.kind and require_hook.hook = any (k.hooks)
    ) then
        perform private.fail(h.refusal, left(require_hook.kind, 100)) from private.hooks as h where h.hook = require_hook.hook;
    end if;
end
$$;
comment on function private.require_hook(text, text) is
'Fails with the hook''s refusal, the detail being the word, when there is no such kind or it does not have the hook.';
grant execute on function private.require_hook(text, text) to authenticated;

-- Reporting and hiding, see 90_admin. What they need is asked of ids of one kind at once.

create type private.reported_content as (id uuid, author_id uuid, content jsonb);
comment on type private.reported_content is 'What is reported as it is now, and whose it is.';

create type private.content_place as (id uuid, author_id uuid, group_id uuid);
comment on type private.content_place is 'Whose something is, and in which group it was written.';

create type private.content_state as (id uuid, is_hidden boolean);
comment on type private.content_state is 'Whether something is hidden.';

create function private.hold_each(relation regclass, ids uuid[]) returns setof uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
    one uuid;
begin
    for one in select distinct i.id from unnest(ids) as i (id) order by i.id loop
        -- Its author may be changing it slowly.
        perform private.hold_rows(relation, 't.id = $1', one);
        return next one;
    end loop;
end
$$;
comment on function private.hold_each(regclass, uuid[]) is
'hold_rows() for each of these ids, in their order; the ids.';

insert into private.hooks (hook, parameters, returns, as_caller, otherwise, needs, refusal, meaning) values
('can_read', '', 'setof uuid', true,
    'select t.id from {relation} as t where t.id = any (ids)', '{}', 'cannot_be_reported',
    'Which of these the caller could select, as the policies of their relation say.'),
('evidence', 'reader uuid', 'setof private.reported_content', false,
    'select t.id, t.{owner}, coalesce(to_jsonb(i) - ''search'', ''{}'') || (to_jsonb(t) - ''search'') '
    'from {relation} as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids)',
    '{can_read}', 'cannot_be_reported', 'The author and a copy of each as it is now, whatever the caller may read.'),
('place', '', 'setof private.content_place', false,
    'select t.id, t.{owner}, null::uuid from {relation} as t where t.id = any (ids)', '{can_read}', 'cannot_be_hidden',
    'Whose each is and in which group, whatever the caller may read.'),
('lock', '', 'setof private.content_state', false,
    -- Read after the wait: a statement that waits goes on seeing what was before.
    'perform private.hold_each(''{relation}'', ids); '
    'return query select t.id, t.is_hidden from {relation} as t where t.id = any (ids)',
    '{place}', 'cannot_be_hidden',
    'Locks what is to be hidden or shown, in the order of the ids, and says whether it is hidden.'),
('hide', 'reason text', 'void', false,
    'update {relation} as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids)',
    '{lock}', 'cannot_be_hidden',
    'Hides these with a reason, or with null shows them again. Counters and audiences follow by the triggers.');
