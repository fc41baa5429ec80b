-- What stood in many places stands in one: forms and bounds of values are functions that constraints ask, moves of status
-- columns are rows from which guards are built, and counters, notices, tags, holds and reactions are written by the
-- functions of their shape. Clients see no difference.
--
-- For a quiet hour: constraints are made anew, which reads their tables once under an exclusive lock. Private functions
-- that shapes replace are dropped and made under their new names in the same transaction.
-- What is lost: settings.minimum_price_cents and maximum_amount_cents. They are 50 and 99999999 everywhere now, as the
-- constraints always said; a platform that had set them otherwise only refused some offers at checkout.
-- squawk-ignore-file ban-drop-column, ban-drop-constraint, ban-drop-function, constraint-missing-not-valid

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- sql/00_platform/27_states.sql ---------------------------------------------------------------------------------------
-- How things move from state to state. A page with a status column says which moves there are, and has the guard
-- written from them: whatever else a function does to the column is refused. docs/schema/states.md draws them.

create table private.state_moves (
    relation text not null,
    state_column text not null,
    from_state text,
    to_state text not null,
    meaning text not null,
    move text not null generated always as (coalesce(from_state, '') || '>' || to_state) stored,
    constraint state_moves_pkey primary key (relation, state_column, move),
    constraint state_moves_move_check check (from_state <> to_state and move ~ '^[a-z_]*>[a-z_]+$'),
    constraint state_moves_meaning_check check (meaning ~ '^[^:;#]{1,60}$')
);
comment on table private.state_moves is
'Which moves of a status column there are: rows inserted on the page that makes it, which then calls build_moves().';
comment on column private.state_moves.relation is 'Schema-qualified relation.';
comment on column private.state_moves.state_column is 'The column; never null.';
comment on column private.state_moves.from_state is 'The state that is left; null: a row may be born in to_state.';
comment on column private.state_moves.to_state is 'The state that is entered.';
comment on column private.state_moves.meaning is 'What has happened then, for the picture: at most 60 characters.';
comment on column private.state_moves.move is 'Both states, as the guard compares them.';
alter table private.state_moves enable row level security;

create function private.refuse_move() returns trigger
language plpgsql
set search_path = ''
as $$
declare
    before text := case when tg_op = 'UPDATE' then to_jsonb(old) ->> tg_argv[0] else 'nothing' end;
begin
    perform private.fail('move_not_allowed', format(
        '%s.%s: from %s to %s', tg_relid::regclass, tg_argv[0], before, to_jsonb(new) ->> tg_argv[0]
    ));
    return null;
end
$$;
comment on function private.refuse_move() is
'Trigger: refuses a state; its column is the argument. Which ones the trigger''s condition says: see build_moves().';

create function private.build_moves(relation text, state_column text) returns void
language plpgsql
set search_path = ''
as $$
declare
    births text[];
    moves text[];
begin
    select
        array_agg(m.to_state order by m.to_state collate "C") filter (where m.from_state is null),
        array_agg(m.move order by m.move collate "C") filter (where m.from_state is not null)
    into strict births, moves
    from private.state_moves as m
    where m.relation = build_moves.relation and m.state_column = build_moves.state_column;
    -- After the row, when constraints and the page's own triggers have refused what they know; before all other
    -- triggers there, so that nothing acts on a wrong move first. Honest ones cost a comparison.
    execute format(
        'create or replace trigger %1$I after insert on %2$s for each row when (new.%3$I <> all (%4$L)) '
        'execute function private.refuse_move(%3$L)',
        '_refuse_birth_' || state_column, relation::regclass, state_column, coalesce(births, '{}')
    );
    execute format(
        'create or replace trigger %1$I after update on %2$s for each row when ('
        'old.%3$I is distinct from new.%3$I and old.%3$I::text || ''>'' || new.%3$I::text <> all (%4$L)) '
        'execute function private.refuse_move(%3$L)',
        '_refuse_move_' || state_column, relation::regclass, state_column, coalesce(moves, '{}')
    );
end
$$;
comment on function private.build_moves(text, text) is
'Writes the guard of a status column from its rows of state_moves: two triggers whose conditions hold the moves. The '
'column''s page calls it, and a migration that changes its moves.';

insert into private.error_codes (code, sqlstate, message, description) values
('move_not_allowed', 'AV003', 'This thing cannot go from its state to that one.',
'A mistake in our functions, not the caller''s: private.state_moves does not have the move that the detail names. '
'Nothing was changed.');

-- sql/00_platform/32_values.sql ---------------------------------------------------------------------------------------
-- Values that stand in many tables: each has one form and one bound, and these say which. Constraints ask them, so does
-- whatever has to refuse before a constraint would. What is a function here, a domain or each table's own is said in
-- docs/conventions.md, "Values".
--
-- In plpgsql: a function with a fixed search_path is never inlined, and SQL ones are planned again for each statement.

create function private.lowest_price_cents() returns bigint
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return 50;
end
$$;
comment on function private.lowest_price_cents() is
'The least that is charged: what a card payment costs and providers take (docs/money.md). Free is 0.';

create function private.highest_amount_cents() returns bigint
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return 99999999;
end
$$;
comment on function private.highest_amount_cents() is 'The largest charge: the providers'' eight digits.';

create function private.is_price(cents bigint) returns boolean
language plpgsql
immutable
strict
parallel safe
set search_path = ''
as $$
begin
    return cents = 0 or cents between private.lowest_price_cents() and private.highest_amount_cents();
end
$$;
comment on function private.is_price(bigint) is
'Whether something can have this price: free, or what can be charged. Null for null.';

create function private.is_slug(value text) returns boolean
language plpgsql
immutable
strict
parallel safe
set search_path = ''
as $$
begin
    return value ~ '^[a-z0-9]+(-[a-z0-9]+)*$';
end
$$;
comment on function private.is_slug(text) is
'Whether this can stand in an address: words of a-z and 0-9 joined by single hyphens. Null for null.';

create function private.is_uuid(value text) returns boolean
language plpgsql
immutable
strict
parallel safe
set search_path = ''
as $$
begin
    return value ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$';
end
$$;
comment on function private.is_uuid(text) is 'Whether a text from outside can be cast to uuid. Null for null.';

create function private.page_size(wanted integer, usual integer default 20, most integer default 100) returns integer
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return least(greatest(coalesce(wanted, usual), 1), most);
end
$$;
comment on function private.page_size(integer, integer, integer) is
'How many rows a page has: what the caller wants, at least 1 and no more than most; usual when they do not say.';

create function private.last_uuid() returns uuid
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return uuid 'ffffffff-ffff-ffff-ffff-ffffffffffff';
end
$$;
comment on function private.last_uuid() is
'The id after all others: where a page begins whose caller names a time and no id.';

-- Members write rows themselves, with constraints that ask.
grant execute on function
private.lowest_price_cents(), private.highest_amount_cents(), private.is_price(bigint), private.is_slug(text)
to authenticated;

-- sql/00_platform/45_shapes.sql ---------------------------------------------------------------------------------------
-- What many pages need in the same shape, written once: a page calls the function of a shape, and what that writes is
-- ordinary code with the page's own names in it. Nothing is put together when it runs; a migration holds what was
-- written, and the check compares it. Only the owner of the schema calls these. Conditions handed to them name a row as
-- {row}. How they are used: docs/conventions.md.

create function private.fill(template text, terms jsonb) returns text
language plpgsql
immutable
set search_path = ''
as $$
declare
    filled text := template;
    term record;
begin
    for term in select t.key, t.value from jsonb_each_text(terms) as t (key, value) where t.value is not null loop
        filled := replace(filled, '{' || term.key || '}', term.value);
    end loop;
    if filled ~ '\{[a-z_]+\}' then
        raise exception 'nothing was said for %', substring(filled from '\{[a-z_]+\}');
    end if;
    return filled;
end
$$;
comment on function private.fill(text, jsonb) is 'The template with each {term} replaced; fails when one is left.';

create function private.condition_on(condition text, alias text) returns text
language sql
immutable
set search_path = ''
as $$
    select '(' || replace(condition, '{row}', alias) || ')'
$$;
comment on function private.condition_on(text, text) is 'A condition on {row} as one on the row of this name.';

create function private.name_of(relation regclass) returns text
language sql
stable
set search_path = ''
as $$
    select c.relname from pg_catalog.pg_class as c where c.oid = relation
$$;
comment on function private.name_of(regclass) is 'Name of a relation without its schema.';

create function private.referred(source regclass, key text) returns regclass
language plpgsql
stable
set search_path = ''
as $$
declare
    target regclass := (
        select k.confrelid from pg_catalog.pg_constraint as k
        inner join pg_catalog.pg_attribute as a on a.attrelid = k.conrelid and k.conkey = array[a.attnum]
        where k.contype = 'f' and k.conrelid = source and a.attname = key and key ~ '_id$'
    );
begin
    if target is null then
        raise exception '%.% is no <thing>_id that refers to a relation', source, key;
    end if;
    return target;
end
$$;
comment on function private.referred(regclass, text) is
'The relation a column refers to; fails when there is none. The column is called <thing>_id.';

create function private.widen_view(view text, branch text, meaning text) returns void
language plpgsql
set search_path = ''
as $$
begin
    if to_regclass(view) is not null then
        branch := rtrim(pg_catalog.pg_get_viewdef(view::regclass), ';') || ' union all ' || branch;
    end if;
    execute format('create or replace view %s with (security_invoker = true) as %s', view, branch);
    execute format('comment on view %s is %L', view, meaning);
end
$$;
comment on function private.widen_view(text, text, text) is
'Adds a query to a view that unites what pages bring; the first one makes it.';

-- Counters, by the protocol of 40_counters.

create function private.register_counter(source regclass, key text, count_column text, counted text) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    target regclass := private.referred(source, key);
    counter text := private.name_of(target) || '.' || count_column;
begin
    if not exists (
        select from pg_catalog.pg_attribute as a
        where a.attrelid = target and a.attname = count_column and a.atttypid = 'integer'::regtype
    ) then
        raise exception '% is no counter', counter;
    end if;
    insert into private.counters (counter, relation, key, count_column, truth, source, source_key, counted)
    values (
        counter, target, 'id', count_column,
        format(
            'select t.%I, count(*) from %s as t where t.%1$I is not null%3$s group by 1',
            key, source, ' and ' || private.condition_on(counted, 't')
        ),
        source, key, counted
    );
    return jsonb_build_object(
        'source', source, 'name', private.name_of(source), 'key', quote_ident(key), 'target', target,
        'counter', counter, 'column', quote_ident(count_column), 'counted', private.condition_on(counted, 'c')
    );
end
$$;
comment on function private.register_counter(regclass, text, text, text) is
'Registers what a counter counts; the terms of its texts.';

create function private.make_counter(source regclass, key text, count_column text, takes text default null)
returns void
language plpgsql
set search_path = ''
as $$
declare
    terms jsonb := private.register_counter(source, key, count_column, null);
begin
    terms := terms || jsonb_build_object(
        'and_takes', coalesce(' and ' || private.condition_on(takes, 't'), ''),
        'that_take', coalesce(private.fill(
            E'\n        where exists (select from {target} as t where t.id = c.{key} and '
            || private.condition_on(takes, 't') || ')', terms
        ), '')
    );
    execute private.fill($text$
create function private.count_{name}() returns trigger
language plpgsql
security definer
set search_path = ''
as $body$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    target uuid;
    change integer;
begin
    -- Two looks at the first rows: counting them would take as long as claim_count() does.
    select c.{key} into target from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('{counter}', array_agg(c.{key}), array_agg(sign))
        from changed as c{that_take};
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with it: nothing is left to count on.
        select t.id into target from {target} as t where t.id = target{and_takes};
    end if;
    if target is not null then
        change := private.claim_count('{counter}', target, sign);
        if change is not null then
            update {target} as t set {column} = t.{column} + change where t.id = target;
        end if;
    end if;
    return null;
end
$body$;
comment on function private.count_{name}() is 'Trigger: {counter}. Built by make_counter().';
create trigger count_inserted after insert on {source} referencing new table as changed
for each statement execute function private.count_{name}();
create trigger count_deleted after delete on {source} referencing old table as changed
for each statement execute function private.count_{name}();
comment on column {target}.{column} is 'Rows in {name}; kept by triggers.';
$text$, terms);
end
$$;
comment on function private.make_counter(regclass, text, text, text) is
'Counts the rows of source on what their column key refers to. takes: condition on a {row} that is counted on, where '
'some are not any more.';

-- Rows that count as long as others than their author read them: they are hidden, shown, and follow their author.
create function private.make_shown_counter(
    source regclass, keys text[], count_column text, counted text, standing_column text
) returns void
language plpgsql
set search_path = ''
as $$
declare
    key text;
    terms jsonb;
    adding text := '';
    moving text := '';
begin
    -- Descending, as everybody moves the counters of several relations.
    for key in select k.key from unnest(keys) as k (key) order by private.referred(source, k.key)::text desc loop
        terms := private.register_counter(source, key, count_column, counted);
        adding := adding || private.fill($text$
    select array_agg(n.id order by n.id), array_agg(n.change order by n.id) into targets, changes
    from (
        select c.{key} as id, sign * count(*)::integer as change
        from changed as c
        where c.{key} is not null and {counted}
        group by 1
    ) as n
    -- Deleted with it: nothing is left to count on.
    where exists (select from {target} as t where t.id = n.id);
    if cardinality(targets) = 1 then
        changes[1] := private.claim_count('{counter}', targets[1], changes[1]);
        if changes[1] is not null then
            update {target} as t set {column} = t.{column} + changes[1] where t.id = targets[1];
        end if;
    elsif cardinality(targets) > 1 then
        perform private.add_counts('{counter}', targets, changes);
    end if;$text$, terms);
        moving := moving || private.fill($text$
    if new.{key} is not null then
        change := private.claim_count('{counter}', new.{key}, moved);
        if change is not null then
            update {target} as t set {column} = t.{column} + change where t.id = new.{key};
        end if;
    end if;$text$, terms);
    end loop;
    execute private.fill($text$
create function private.count_{name}() returns trigger
language plpgsql
security definer
set search_path = ''
as $body$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    targets uuid [];
    changes integer [];
begin{adding}
    return null;
end
$body$;
comment on function private.count_{name}() is
'Trigger: {column} of what these rows are about counts those that others than their author read. Built by '
'make_shown_counter().';
create trigger count_inserted after insert on {source} referencing new table as changed
for each statement execute function private.count_{name}();
create trigger count_deleted after delete on {source} referencing old table as changed
for each statement execute function private.count_{name}();

create function private.count_shown_{name}() returns trigger
language plpgsql
security definer
set search_path = ''
as $body$
declare
    moved integer := {new_counted}::integer - {old_counted}::integer;
    change integer;
begin{moving}
    return null;
end
$body$;
comment on function private.count_shown_{name}() is
'Trigger: one was hidden or shown again. Built by make_shown_counter().';
create trigger count_shown after update on {source}
for each row when (
    {old_counted} <> {new_counted} and old.{standing} = new.{standing} and num_nonnulls({new_keys}) > 0
)
execute function private.count_shown_{name}();
$text$, terms || jsonb_build_object(
        'adding', adding, 'moving', moving, 'standing', quote_ident(standing_column),
        'old_counted', private.condition_on(counted, 'old'), 'new_counted', private.condition_on(counted, 'new'),
        'new_keys', (select string_agg(format('new.%I', k.key), ', ') from unnest(keys) as k (key))
    ));
end
$$;
comment on function private.make_shown_counter(regclass, text[], text, text, text) is
'Counts the rows of source that meet a condition on what any of their keys refers to. A row trigger with a condition '
'counts what is hidden and shown: a statement''s transition tables would cost every like. What changes with '
'standing_column is counted by make_follow_author().';

-- The author's standing.

create function private.make_follow_author(
    relation regclass, owner_column text, "position" integer, copy_column text default 'author_audience',
    original text default 'case when p.deleted_at is null then private.author_audience(p) end',
    first regproc default null
) returns void
language plpgsql
set search_path = ''
as $$
declare
    counted text;
    terms jsonb;
begin
    select
        min(c.counted), jsonb_build_object(
            'counted', private.condition_on(min(c.counted), 't'),
            'keys', string_agg(format('t.%I', c.source_key), ', ' order by c.counter),
            'counters', string_agg(format('(%L, a.%I)', c.counter, c.source_key), ', ' order by c.counter)
        )
    into counted, terms
    from private.counters as c
    where c.source = make_follow_author.relation::text and c.counted is not null;
    terms := terms || jsonb_build_object(
        'relation', relation, 'name', private.name_of(relation), 'owner', quote_ident(owner_column),
        'copy', quote_ident(copy_column), 'original', original, 'position', "position",
        'first', coalesce(E'\n    perform ' || first || '(chosen);', ''),
        'type', (
            select format_type(a.atttypid, a.atttypmod) from pg_catalog.pg_attribute as a
            where a.attrelid = make_follow_author.relation and a.attname = copy_column
        )
    );
    execute private.fill($text$
create function private.follow_author_of_{name}(user_id uuid, max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $body$
declare
    allowed {type} := (
        select {original} from public.profiles as p
        where p.id = follow_author_of_{name}.user_id
    );
    chosen uuid [] := array(
        select t.id from {relation} as t
        where t.{owner} = follow_author_of_{name}.user_id and t.{copy} <> allowed
        order by t.id
        limit max_rows
    );
$text$ || case when counted is null then $text$begin
    if chosen = '{}' then
        return 0;
    end if;{first}
    perform from {relation} as t where t.id = any (chosen) order by t.id for no key update;
    update {relation} as t set {copy} = allowed where t.id = any (chosen);
$text$ else $text$    moved record;
begin
    if chosen = '{}' then
        return 0;
    end if;{first}
    for moved in
        with before as materialized (
            select t.id, {counted} as counts from {relation} as t
            where t.id = any (chosen)
            order by t.id
            for no key update
        ),
        after as (
            update {relation} as t set {copy} = allowed
            from before as b
            where t.id = b.id
            returning {counted}::integer - b.counts::integer as change, {keys}
        ),
        moves as (
            select v.counter, v.id, sum(a.change)::integer as change
            from after as a
            cross join lateral (values {counters}) as v (counter, id)
            where v.id is not null
            group by v.counter, v.id
            having sum(a.change) <> 0
        )
        select m.counter, array_agg(m.id) as ids, array_agg(m.change) as changes
        from moves as m
        group by m.counter
        order by m.counter desc
    loop
        perform private.add_counts(moved.counter, moved.ids, moved.changes);
    end loop;
$text$ end || $text$    return cardinality(chosen);
end
$body$;
comment on function private.follow_author_of_{name}(uuid, integer) is
'Step of advance_account(): {copy} of {name}, and what counts them. Built by make_follow_author().';
insert into private.standing_steps (step, position, statement) values
('{name}', {position}, 'select private.follow_author_of_{name}($1, $2)');
$text$, terms);
end
$$;
comment on function private.make_follow_author(regclass, text, integer, text, text, regproc) is
'Keeps what rows copy from their author, whose profile is p, and moves the counters they count on. first: function of '
'the ids chosen, called before their rows are locked.';

-- Tags of what everybody may read, see note_tags().

create function private.make_tag_notes(
    relation regclass, owner_column text, readable text, "columns" text, standing_column text default null
) returns void
language plpgsql
set search_path = ''
as $$
declare
    terms jsonb := jsonb_build_object(
        'relation', relation, 'name', private.name_of(relation), 'owner', quote_ident(owner_column),
        'columns', "columns", 'old', private.condition_on(readable, 'old'),
        'new', private.condition_on(readable, 'new'), 'readable', private.condition_on(readable, 't'),
        -- Not a use: the owner's standing changed.
        'is_use', coalesce(
            'tg_op = ''INSERT'' or tg_op = ''UPDATE'' and new.' || standing_column || ' = old.' || standing_column,
            'tg_op <> ''DELETE'''
        )
    );
begin
    perform private.widen_view(
        'private.tag_carriers',
        private.fill(
            'select distinct t.id, u.name from {relation} as t cross join unnest(t.tags) as u (name) where {readable}',
            terms
        ),
        'Every tag of every row everybody may read, once. Built by make_tag_notes().'
    );
    execute private.fill($text$
create function private.note_tags_of_{name}() returns trigger
language plpgsql
security definer
set search_path = ''
as $body$
begin
    perform private.note_tags(
        case when {is_use} then new.{owner} end,
        case when tg_op <> 'INSERT' and {old} then old.tags else '{}' end,
        case when tg_op <> 'DELETE' and {new} then new.tags else '{}' end
    );
    return null;
end
$body$;
comment on function private.note_tags_of_{name}() is
'Trigger: tags of {name} everybody may read. Built by make_tag_notes().';
create trigger note_tags_inserted after insert on {relation}
for each row when ({new} and new.tags <> '{}') execute function private.note_tags_of_{name}();
create trigger note_tags_updated after update of {columns} on {relation}
for each row when (case when {old} then old.tags else '{}' end <> case when {new} then new.tags else '{}' end)
execute function private.note_tags_of_{name}();
create trigger note_tags_deleted after delete on {relation}
for each row when ({old} and old.tags <> '{}') execute function private.note_tags_of_{name}();
$text$, terms);
end
$$;
comment on function private.make_tag_notes(regclass, text, text, text, text) is
'Counts the tags of rows everybody may read: those that meet a condition on {row}. columns: what an update writes when '
'tags or that change. Tags are used by owner_column, unless only standing_column changed.';

-- sql/00_platform/46_reactions.sql ------------------------------------------------------------------------------------
-- Rows that are nothing but their key: who has to do what with which thing. Written by the person, and taken back.
-- Shapes as on 45_shapes.

create function private.make_hold(relation regclass, thing text) returns void
language plpgsql
set search_path = ''
as $$
begin
    execute private.fill($text$
create function private.hold_{thing}({thing}_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $body$
begin
    perform from {relation} as t where t.id = hold_{thing}.{thing}_id for key share;
    return true;
end
$body$;
comment on function private.hold_{thing}(uuid) is
'Keeps it from being deleted until the transaction ends; true. For policies on deleting what hangs on it. Built by '
'make_hold().';
grant execute on function private.hold_{thing}(uuid) to authenticated;
$text$, jsonb_build_object('relation', relation, 'thing', thing));
end
$$;
comment on function private.make_hold(regclass, text) is
'hold_<thing>(): whoever deletes a row takes it, then what hangs on it; so whoever takes something back holds the row '
'first.';

create function private.make_own_rows(
    relation regclass, key text, readable text default null, readable_by_member text default null,
    insertable text default null, deletable text default null, owner_column text default 'user_id'
) returns void
language plpgsql
set search_path = ''
as $$
declare
    own text := format('%I = (select private.member_id())', owner_column);
    terms jsonb := jsonb_build_object(
        'relation', relation, 'name', private.name_of(relation), 'key', quote_ident(key), 'own', own,
        'readable', readable, 'readable_by_member', coalesce(readable_by_member, readable, own),
        'and_insertable', coalesce(' and (' || insertable || ')', ''),
        'and_deletable', coalesce(' and (' || deletable || ')', '')
    );
begin
    execute private.fill($text$
create trigger keep_row before update on {relation} for each row execute function private.keep_row();
alter table {relation} enable row level security;
grant insert ({key}), update ({key}), delete on {relation} to authenticated;
create policy {name}_insert on {relation} for insert to authenticated with check ({own}{and_insertable});
create policy {name}_update on {relation} for update to authenticated using ({own}) with check ({own});
create policy {name}_delete on {relation} for delete to authenticated using ({own}{and_deletable});
grant select on {relation} to authenticated, service_role;
create policy {name}_select on {relation} for select to authenticated using ({readable_by_member});
$text$ || case when readable is null then '' else $text$
grant select on {relation} to anon;
create policy {name}_select_anon on {relation} for select to anon using ({readable});
$text$ end, terms);
end
$$;
comment on function private.make_own_rows(regclass, text, text, text, text, text, text) is
'Access to rows that are nothing but their key: everybody inserts and deletes their own, on further conditions, and '
'may repeat an insert as an upsert, see keep_row(). Read by visitors on the condition readable, by members on '
'readable_by_member or the same, else by their owner alone.';

create function private.make_reactions(
    relation text, key text, target regclass, done text, takes text default null, is_paged boolean default true
) returns void
language plpgsql
set search_path = ''
as $$
declare
    thing text := substring(key from '^(.+)_id$');
    name text := split_part(relation, '.', 2);
    -- Under the policies of the target: what cannot be read cannot be liked, and its likes cannot be seen. A scalar
    -- subquery stays a look-up for each row, where exists (…) could become a hash of all there is.
    is_there text := format('(select t.id from %s as t where t.id = %I.%I%%s) is not null', target, name, key);
begin
    if thing is null or to_regprocedure(format('private.hold_%s(uuid)', thing)) is null then
        raise exception '% needs a column <thing>_id, and make_hold() of the thing', relation;
    end if;
    execute private.fill($text$
create table {relation} (
    {key} uuid not null,
    user_id uuid not null default auth.uid(),
    created_at timestamptz not null default now(),
    constraint {name}_pkey primary key ({key}, user_id),
    constraint {name}_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint {name}_{key}_fkey foreign key ({key}) references {target} (id) on delete cascade
);
comment on constraint {name}_{key}_fkey on {relation} is '{thing}_not_found: There is no such {thing}.';
comment on constraint {name}_pkey on {relation} is 'already_done: The {thing} is {done} already.';
comment on table {relation} is
'Who {done} which {thing}. Readable with the {thing}, as far as the reader sees whoever {done} it, who alone writes '
'it. Built by make_reactions().';
comment on column {relation}.{key} is 'The {done} {thing}; one the caller can read.';
comment on column {relation}.user_id is 'Who {done} it; the caller.';
$text$ || case when is_paged then $text$
create index {name}_user_id_created_at_idx on {relation} (user_id, created_at desc, {key} desc);
create index {name}_{key}_created_at_idx on {relation} ({key}, created_at desc, user_id desc);
$text$ else $text$
create index {name}_user_id_created_at_idx on {relation} (user_id, created_at desc);
$text$ end, jsonb_build_object(
        'relation', relation, 'name', name, 'target', target, 'key', key, 'thing', thing, 'done', done
    ));
    perform private.make_own_rows(
        relation::regclass, key,
        case when has_table_privilege('anon', target, 'select') then
            format(is_there, '') || ' and private.can_see(user_id)'
        end,
        format(is_there, '') || ' and (user_id = (select private.member_id()) or private.can_see(user_id))',
        format(is_there, coalesce(' and ' || private.condition_on(takes, 't'), '')),
        format('private.hold_%s(%I)', thing, key)
    );
    insert into private.personal_data (section, relation, condition) values (name, relation, 't.user_id = $1');
    insert into private.erasure_steps (step, phase, erases, statement, batch) values (
        name, 'reactions', array[relation], format('delete from %s where user_id = $1', relation),
        format('select private.erase_rows(%L, ''user_id = $1'', $1, $2)', relation)
    );
end
$$;
comment on function private.make_reactions(text, text, regclass, text, text, boolean) is
'The table of who liked (done: shared) what, named by key, in target: who reads and writes it, that it is exported and '
'erased. Visitors read it when they may read target, so its grants come first. takes: condition on a {row} of target '
'that can be liked. is_paged: lists of it are shown page by page, newest first.';

create function private.make_by_me(done text, source regclass, key text) returns void
language plpgsql
set search_path = ''
as $$
begin
    -- Visitors ask for the field too, hence no definer's rights.
    execute private.fill($text$
create function private.has_{done}_{thing}({thing}_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $body$
begin
    return exists (
        select from {source} as s where s.{key} = has_{done}_{thing}.{thing}_id and s.user_id = auth.uid()
    );
end
$body$;
comment on function private.has_{done}_{thing}(uuid) is 'Whether the caller {done} the {thing}. Built by make_by_me().';
grant execute on function private.has_{done}_{thing}(uuid) to authenticated;

create function public.{done}_by_me({thing} {target}) returns boolean
language plpgsql
stable
set search_path = ''
as $body$
begin
    if auth.uid() is null then
        return false;
    end if;
    return private.has_{done}_{thing}({thing}.id);
end
$body$;
comment on function public.{done}_by_me({target}) is
'Computed field of {things}: whether the caller {done} the {thing}. Built by make_by_me().';
grant execute on function public.{done}_by_me({target}) to anon, authenticated;
$text$, jsonb_build_object(
        'done', done, 'source', source, 'key', quote_ident(key), 'thing', left(key, -3),
        'target', private.referred(source, key), 'things', private.name_of(private.referred(source, key))
    ));
end
$$;
comment on function private.make_by_me(text, regclass, text) is
'Computed field <done>_by_me of what the column key of source refers to: a frontend adds it to its select.';

-- sql/00_platform/47_notices.sql --------------------------------------------------------------------------------------
-- Who is told of what, see private.notify(). Shapes as on 45_shapes; they want the types of notifications and the kinds
-- to be there.

create function private.make_tell(
    type text, source regclass, event text, recipient text, kind text, related_id text,
    actor text default 'null', condition text default null, among text default null
) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform from private.notification_types as t inner join private.kinds as k on k.kind = make_tell.kind
    where t.type = make_tell.type;
    if not found then
        raise exception 'there is no type % or no kind %', type, kind;
    end if;
    execute private.fill($text$
create function private.tell_{type}() returns trigger
language plpgsql
security definer
set search_path = ''
as $body$
begin
    perform private.notify({recipient}, '{type}', {actor}, '{kind}', {related_id}){among};
    return null;
end
$body$;
comment on function private.tell_{type}() is 'Trigger on {name}: tells {type}. Built by make_tell().';
create trigger tell_{type} after {event} on {source}
for each row{condition} execute function private.tell_{type}();
$text$, jsonb_build_object(
        'type', type, 'source', source, 'name', private.name_of(source), 'event', event, 'recipient', recipient,
        'kind', kind, 'related_id', related_id, 'actor', actor,
        'condition', coalesce(E' when (\n    ' || condition || E'\n)', ''), 'among', coalesce(E'\n    ' || among, '')
    ));
end
$$;
comment on function private.make_tell(text, regclass, text, text, text, text, text, text, text) is
'Tells a recipient of an event of source (insert, update of a column, delete) when a condition is met, all of them '
'expressions of old and new. among: a from clause for several recipients.';

create function private.make_tell_reactions(
    type text, source regclass, key text, owner_column text default null, link_url text default null
) returns void
language plpgsql
set search_path = ''
as $$
declare
    target regclass := private.referred(source, key);
    known private.kinds;
    kind text;
    collapse interval := (
        select t.collapse from private.notification_types as t where t.type = make_tell_reactions.type
    );
begin
    select * into known from private.kinds as k where k.relation = target::text;
    -- Rows of several kinds say themselves of which they are.
    kind := coalesce(quote_literal(known.kind), (
        select 't.kind' from pg_catalog.pg_attribute as a where a.attrelid = target and a.attname = 'kind'
    ));
    perform private.widen_view(
        'private.reactions',
        format(
            'select %L as type, %s as kind, s.%I as related_id, s.user_id, s.created_at from %s as s',
            type, coalesce(quote_literal(known.kind), 'null') || '::text', key, source
        ),
        'What notifications of several people speak of: who did what to which thing, and when; kind is null where '
        'things are of several. Built by make_tell_reactions().'
    );
    execute private.fill($text$
create function private.tell_{name}() returns trigger
language plpgsql
security definer
set search_path = ''
as $body$
begin
    perform private.notify(t.recipient, '{type}', t.actor, t.kind, t.id{link})
    from (
        select t.{owner} as recipient, c.user_id as actor, {kind} as kind, t.id{linked}
        from changed as c
        inner join {target} as t on t.id = c.{key} and t.{owner} <> c.user_id
        -- What was told of already ends here.
        where not exists (
            select from public.notifications as n
            where
                n.related_id = t.id and n.type = '{type}' and n.user_id = t.{owner}
                and n.created_at > now() - interval '{collapse}'
        )
        order by t.id, c.user_id
    ) as t;
    return null;
end
$body$;
comment on function private.tell_{name}() is
'Trigger on {name}: tells whose it is, once in {collapse}. Built by make_tell_reactions().';
create trigger tell after insert on {source} referencing new table as changed
for each statement execute function private.tell_{name}();

create function private.forget_{name}() returns trigger
language plpgsql
security definer
set search_path = ''
as $body$
begin
    -- Also those that name somebody else: of two who leave together each would name the other.
    perform private.renew_notifications(array(
        select n.id from public.notifications as n
        where
            n.type = '{type}' and n.related_id in (select g.{key} from gone as g) and exists (
                select from gone as g
                where
                    g.{key} = n.related_id and g.created_at > n.created_at - interval '10 seconds'
                    and g.created_at < n.created_at + interval '1 hour'
            )
    ));
    return null;
end
$body$;
comment on function private.forget_{name}() is
'Trigger on {name}: whoever takes it back is no longer told of. Built by make_tell_reactions().';
-- After what counts: whoever waits for a notification has counted already.
create trigger forget_taken_back after delete on {source} referencing old table as gone
for each statement execute function private.forget_{name}();
$text$, jsonb_build_object(
        'type', type, 'source', source, 'name', private.name_of(source), 'key', key, 'target', target, 'kind', kind,
        'owner', coalesce(owner_column, known.owner_column), 'collapse', collapse,
        'link', case when link_url is not null then ', t.link_url' else '' end,
        'linked', coalesce(', ' || link_url || ' as link_url', '')
    ));
end
$$;
comment on function private.make_tell_reactions(text, regclass, text, text, text) is
'Tells the owner of what the column key of source refers to: those who liked it (or else did) and then no more. '
'owner_column: unless its kind says so. link_url: expression of a row t, where the kind''s page is not what is shown.';

set local check_function_bodies = off;

comment on column ledger.accounts.currency is null;

comment on column private.account_changes.requested_at is null;

comment on column private.activity.started_at is null;

comment on column private.artworks_before_sale.artwork_id is null;

comment on column private.banned_addresses.banned_at is null;

comment on column private.chat_departures.conversation_id is null;

comment on column private.chat_departures.user_id is null;

comment on column private.freed_usernames.freed_at is null;

comment on column private.hold_limits.user_id is null;

comment on column private.hold_periods.item_id is null;

comment on column private.hold_periods.user_id is null;

comment on column private.kept_votes.option_id is null;

comment on column private.lifted_limits.user_id is null;

comment on column private.mailed_notifications.mail_id is null;

comment on column private.mailed_notifications.notification_id is null;

comment on column private.password_changes.changed_at is null;

comment on column private.password_changes.user_id is null;

comment on column private.reservations.item_id is null;

comment on column private.reservations.order_id is null;

comment on column private.tag_uses.tag_id is null;

comment on column private.tag_uses.user_id is null;

comment on column private.told_mentions.user_id is null;

comment on column private.webhook_events.processed_at is null;

comment on column public.artworks.currency is null;

comment on column public.bans.user_id is null;

comment on column public.book_corrections.currency is null;

comment on column public.book_corrections.decided_at is null;

comment on column public.cart_items.added_at is null;

comment on column public.cart_items.item_id is null;

comment on column public.catalog_items.currency is null;

comment on column public.catalog_items.seller_id is null;

comment on column public.conversation_participants.conversation_id is null;

comment on column public.conversation_participants.user_id is null;

comment on column public.custom_field_requesters.request_id is null;

comment on column public.custom_field_requesters.user_id is null;

comment on column public.fee_schedules.currency is null;

comment on column public.group_invitations.group_id is null;

comment on column public.group_invitations.user_id is null;

comment on column public.group_members.group_id is null;

comment on column public.group_members.user_id is null;

comment on column public.inbox_entries.conversation_id is null;

comment on column public.mail_bounces.user_id is null;

comment on column public.messages.conversation_id is null;

comment on column public.notifications.read_at is null;

comment on column public.notifications.user_id is null;

comment on column public.order_items.currency is null;

comment on column public.order_items.order_id is null;

comment on column public.order_items.seller_id is null;

comment on column public.orders.currency is null;

comment on column public.orders.user_id is null;

comment on column public.payments.currency is null;

comment on column public.payments.order_id is null;

comment on column public.payments.user_id is null;

comment on column public.payouts.currency is null;

comment on column public.payouts.requested_at is null;

comment on column public.payouts.user_id is null;

comment on column public.product_approvals.product_id is null;

comment on column public.product_approvals.reviewed_at is null;

comment on column public.products.category_id is null;

comment on column public.products.currency is null;

comment on column public.profile_counts.kind is null;

comment on column public.profile_counts.user_id is null;

comment on column public.profile_locations.user_id is null;

comment on column public.profile_settings.user_id is null;

comment on column public.purchases.buyer_id is null;

comment on column public.purchases.currency is null;

comment on column public.purchases.item_id is null;

comment on column public.purchases.purchased_at is null;

comment on column public.refund_lines.refund_id is null;

comment on column public.refund_lines.transaction_id is null;

comment on column public.refund_requests.buyer_id is null;

comment on column public.refund_requests.seller_id is null;

comment on column public.refunds.currency is null;

comment on column public.refunds.payment_id is null;

comment on column public.report_abuse_tracking.user_id is null;

comment on column public.report_evidence.report_id is null;

comment on column public.reports.handled_at is null;

comment on column public.sale_reviews.transaction_id is null;

comment on column public.subscriptions.cancelled_at is null;

comment on column public.subscriptions.user_id is null;

comment on column public.transactions.buyer_id is null;

comment on column public.transactions.completed_at is null;

comment on column public.transactions.currency is null;

comment on column public.transactions.payment_id is null;

comment on column public.transactions.seller_id is null;

comment on column public.wallets.currency is null;

comment on column public.wallets.user_id is null;

drop policy article_likes_insert on public.article_likes;

drop policy article_likes_select_anon on public.article_likes;

drop policy article_likes_select on public.article_likes;

drop policy comment_likes_insert on public.comment_likes;

drop policy comment_likes_select_anon on public.comment_likes;

drop policy comment_likes_select on public.comment_likes;

drop policy post_likes_insert on public.post_likes;

drop policy post_likes_select_anon on public.post_likes;

drop policy post_likes_select on public.post_likes;

drop policy post_shares_insert on public.post_shares;

drop policy post_shares_select_anon on public.post_shares;

drop policy post_shares_select on public.post_shares;

drop trigger forget_taken_back on public.article_likes;

drop trigger note_tags_deleted on public.articles;

drop trigger note_tags_inserted on public.articles;

drop trigger note_tags_updated on public.articles;

drop trigger tell on public.bans;

drop trigger note_tags_deleted on public.catalog_items;

drop trigger note_tags_inserted on public.catalog_items;

drop trigger note_tags_updated on public.catalog_items;

drop trigger forget_taken_back on public.comment_likes;

drop trigger count_comment_shown on public.comments;

drop trigger forget_hidden on public.comments;

drop trigger tell on public.custom_field_requests;

drop trigger forget_taken_back on public.favorites;

drop trigger forget on public.group_invitations;

drop trigger tell on public.group_invitations;

drop trigger note_tags_deleted on public.groups;

drop trigger note_tags_inserted on public.groups;

drop trigger note_tags_updated on public.groups;

drop trigger forget on public.inbox_entries;

drop trigger tell on public.orders;

drop trigger tell_ended on public.payouts;

drop trigger tell on public.payouts;

drop trigger count_post_likes_deleted on public.post_likes;

drop trigger count_post_likes_inserted on public.post_likes;

drop trigger forget_taken_back on public.post_likes;

drop trigger count_post_shares_deleted on public.post_shares;

drop trigger count_post_shares_inserted on public.post_shares;

drop trigger forget_taken_back on public.post_shares;

drop trigger count_group_post_shown on public.posts;

drop trigger count_group_posts_deleted on public.posts;

drop trigger count_group_posts_inserted on public.posts;

drop trigger forget_hidden on public.posts;

drop trigger note_tags_deleted on public.posts;

drop trigger note_tags_inserted on public.posts;

drop trigger note_tags_updated on public.posts;

drop trigger tell_role on public.profiles;

drop trigger tell_answered on public.refund_requests;

drop trigger tell_asked on public.refund_requests;

drop trigger tell on public.reports;

drop trigger tell on public.transactions;

drop trigger tell on public.wallets;

alter table private.request_keys
    drop constraint request_keys_key_check;

alter table public.articles
    drop constraint articles_hidden_reason_check;

alter table public.articles
    drop constraint articles_slug_check;

alter table public.artist_profiles
    drop constraint artist_profiles_hourly_rate_cents_check;

alter table public.artworks
    drop constraint artworks_hidden_reason_check;

alter table public.artworks
    drop constraint artworks_original_price_cents_check;

alter table public.artworks
    drop constraint artworks_price_cents_check;

alter table public.artworks
    drop constraint artworks_slug_check;

alter table public.book_corrections
    drop constraint book_corrections_change_check;

alter table public.book_corrections
    drop constraint book_corrections_reason_check;

alter table public.cart_items
    drop constraint cart_items_offered_price_check;

alter table public.cart_items
    drop constraint cart_items_shown_price_cents_check;

alter table public.catalog_items
    drop constraint catalog_items_minimum_price_cents_check;

alter table public.catalog_items
    drop constraint catalog_items_price_cents_check;

alter table public.categories
    drop constraint categories_slug_check;

alter table public.comments
    drop constraint comments_hidden_reason_check;

alter table public.custom_field_requesters
    drop constraint custom_field_requesters_spelling_check;

alter table public.custom_field_requests
    drop constraint custom_field_requests_field_value_check;

alter table public.custom_field_requests
    drop constraint custom_field_requests_rejection_reason_check;

alter table public.fee_schedules
    drop constraint fee_schedules_fixed_check;

alter table public.genres
    drop constraint genres_name_check;

alter table public.genres
    drop constraint genres_slug_check;

alter table public.groups
    drop constraint groups_slug_check;

alter table public.hidden_content
    drop constraint hidden_content_reason_check;

alter table public.order_items
    drop constraint order_items_tax_check;

alter table public.order_items
    drop constraint order_items_unit_price_check;

alter table public.orders
    drop constraint orders_amounts_check;

alter table public.orders
    drop constraint orders_notes_check;

alter table public.payments
    drop constraint payments_amount_check;

alter table public.payments
    drop constraint payments_fees_check;

alter table public.payouts
    drop constraint payouts_amount_check;

alter table public.plans
    drop constraint plans_prices_check;

alter table public.poll_options
    drop constraint poll_options_option_check;

alter table public.poll_options
    drop constraint poll_options_position_check;

alter table public.posts
    drop constraint posts_hidden_reason_check;

alter table public.product_approvals
    drop constraint product_approvals_approval_notes_check;

alter table public.products
    drop constraint products_minimum_price_cents_check;

alter table public.products
    drop constraint products_price_cents_check;

alter table public.products
    drop constraint products_slug_check;

alter table public.profiles
    drop constraint profiles_smart_link_check;

alter table public.profiles
    drop constraint profiles_username_check;

alter table public.refund_requests
    drop constraint refund_requests_note_check;

alter table public.refund_requests
    drop constraint refund_requests_reason_check;

alter table public.refunds
    drop constraint refunds_amount_check;

alter table public.refunds
    drop constraint refunds_reason_check;

alter table public.reports
    drop constraint reports_details_check;

alter table public.reports
    drop constraint reports_resolution_note_check;

alter table public.skills
    drop constraint skills_name_check;

alter table public.skills
    drop constraint skills_slug_check;

alter table public.tags
    drop constraint tags_name_check;

alter table public.tags
    drop constraint tags_slug_check;

drop function private.add_comments(text, uuid[], integer[]);

drop function private.comments_counter(public.comments);

drop function private.count_comment_shown();

drop function private.count_group_post_shown();

drop function private.count_group_posts();

drop function private.follow_article_author(uuid, integer);

drop function private.follow_seller_standing(uuid, integer);

drop function private.forget_comment();

drop function private.forget_conversation();

drop function private.forget_invitation();

drop function private.forget_post();

drop function private.has_liked(uuid);

drop function private.has_shared(uuid);

drop function private.note_article_tags();

drop function private.note_group_tags();

drop function private.note_item_tags();

drop function private.note_post_tags();

drop function private.post_evidence(uuid[], uuid);

drop function private.product_lock(uuid[]);

drop function private.renew_notices();

drop function private.tell_ban();

drop function private.tell_field_decision();

drop function private.tell_invitation();

drop function private.tell_report();

drop function private.tell_role();

alter table private.settings
    drop column maximum_amount_cents;

alter table private.settings
    drop column minimum_price_cents;

alter table private.counters
    add column source text;

alter table private.counters
    add column source_key text;

alter table private.counters
    add column counted text;

create or replace function private.apply_refund (
    object jsonb
)
    returns text
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments;
    known uuid;
    ours text := object #>> '{metadata,refund_id}';
begin
    paid := private.payment_of(object);
    if upper(object ->> 'currency') is distinct from paid.currency::text then
        perform private.fail('event_rejected', format(
            'payment %s is in %s, refund %s in %s', paid.id, paid.currency, object ->> 'id', object ->> 'currency'
        ));
    end if;
    if private.is_uuid(ours) then
        select r.id into known from public.refunds as r where r.id = ours::uuid and r.payment_id = paid.id;
        if known is null then
            perform private.fail('event_rejected', 'refund ' || ours || ' is not one of payment ' || paid.id);
        end if;
    else
        -- Made in the provider's dashboard (sharp case 8): the event is all we know of it.
        if paid.succeeded_at is null then
            perform private.fail('event_too_early', 'refund of a payment that has not settled: ' || paid.id);
        end if;
        insert into public.refunds (payment_id, amount_cents, currency, reason, provider, provider_ref, status)
        values (
            paid.id, (object ->> 'amount')::bigint, paid.currency,
            -- The money moved, whatever somebody wrote.
            coalesce(nullif(left(private.tidy_body(object ->> 'reason'), 500), ''), 'made_at_provider'), paid.provider,
            object ->> 'id', 'pending'
        )
        on conflict (provider_ref, provider) do nothing;
        select r.id into known from public.refunds as r
        where r.provider_ref = object ->> 'id' and r.provider = paid.provider and r.payment_id = paid.id;
        if known is null then
            perform private.fail('event_rejected', 'refund ' || (object ->> 'id') || ' is one of another payment');
        end if;
    end if;
    if (object ->> 'amount')::bigint is distinct from (select r.amount_cents from public.refunds as r where r.id = known) then
        perform private.fail('event_rejected', format('refund %s was reported with %s cents', known, object ->> 'amount'));
    end if;
    perform private.record_refund(known, object ->> 'id', object ->> 'status', object ->> 'failure_reason');
    return 'processed';
end
$function$;

create or replace function private.apply_transfer (
    event_type text,
    object jsonb
)
    returns text
    language plpgsql
    set search_path to ''
    AS $function$
declare
    ours text := object #>> '{metadata,payout_id}';
    destination text := coalesce(object #>> '{destination,id}', object ->> 'destination');
    payout public.payouts;
begin
    if private.is_uuid(ours) is not true then
        return 'ignored';
    end if;
    select * into payout from public.payouts as p where p.id = ours::uuid for no key update;
    if payout.id is not null and (
        upper(object ->> 'currency') is distinct from payout.currency::text
        or destination is distinct from payout.destination
    ) then
        perform private.fail('event_rejected', format(
            'payout %s is in %s to %s, the transfer in %s to %s', payout.id, payout.currency, payout.destination,
            object ->> 'currency', destination
        ));
    end if;
    -- In any order and however often: the transfer exists, so it was made; a reversal is a return of it, or of a part.
    perform private.complete_payout(ours::uuid, object ->> 'id', (object ->> 'amount')::bigint);
    if event_type = 'transfer.reversed' then
        perform private.return_payout(ours::uuid, (object ->> 'amount_reversed')::bigint);
    end if;
    return 'processed';
end
$function$;

create or replace function private.blocked_ids()
    returns SETOF uuid
    language plpgsql
    stable
    security definer
    rows 10
    set search_path to ''
    AS $function$
declare
    -- Read once: each look into the token parses it anew.
    me uuid := auth.uid();
begin
    return query
    select b.blocked_id from public.user_blocks as b where b.blocker_id = me
    union all
    select b.blocker_id from public.user_blocks as b where b.blocked_id = me
    union all
    -- Nobody's any more, though not everything of theirs says so yet, see account_changes.
    select c.user_id from private.account_changes as c where c.audience = 'owner' and c.user_id <> me;
end
$function$;

create or replace function private.check_cart_item()
    returns trigger
    language plpgsql
    set search_path to ''
    AS $function$
declare
    item public.catalog_items;
    price record;
begin
    -- Read as the caller: an item the caller may not see does not exist for the cart either.
    select * into item from public.catalog_items as c where c.id = new.item_id;
    if item.id is null or (not item.is_listed and item.seller_id <> new.user_id) then
        perform private.fail('item_not_available', new.item_id::text);
    end if;
    if item.seller_id = new.user_id then
        perform private.fail('own_item', new.item_id::text);
    end if;
    if item.is_unique and new.quantity > 1 then
        perform private.fail('quantity_not_allowed', new.item_id::text);
    end if;
    if new.offered_price_cents is not null and item.minimum_price_cents is null then
        perform private.fail('price_not_negotiable', new.item_id::text);
    end if;
    price := private.price_of(item.price_cents, item.minimum_price_cents, new.offered_price_cents, null);
    if price.problem is not null then
        perform private.fail(price.problem, format('%s: minimum is %s cents', item.id, price.least_cents));
    end if;
    if tg_argv[0] = 'shows' then
        new.shown_price_cents := price.cents;
    end if;
    return new;
end
$function$;

create or replace function private.check_choices()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    chosen_from text := tg_argv[0];
    key text := tg_argv[1];
    most integer := tg_argv[2]::integer;
    available text := tg_argv[3];
    problem text;
begin
    execute format(
        'select a.%1$I::text from added as a left join %2$s as c on c.id = a.%1$I and %3$s where c.id is null limit 1',
        key, chosen_from, available
    ) into problem;
    if problem is not null then
        perform private.fail('choice_not_available', problem);
    end if;

    -- Two requests of one person take turns, so that together they cannot exceed the limit.
    perform pg_advisory_xact_lock(hashtextextended('avenue:' || tg_table_name || o.user_id, 0))
    from (select distinct a.user_id from added as a order by a.user_id) as o;
    execute format(
        'select t.user_id::text from %s as t where t.user_id in (select a.user_id from added as a) '
        'group by t.user_id having count(*) > $1 limit 1', tg_relid::regclass
    ) into problem using most;
    if problem is not null then
        perform private.fail('too_many_choices', most::text);
    end if;
    return null;
end
$function$;

create or replace function private.check_field_name (
    name text
)
    returns text
    language plpgsql
    immutable
    set search_path to ''
    AS $function$
declare
    -- Longer is refused before anything expensive is done with it.
    tidy text := case when char_length(name) <= 200 then private.tidy_name(name) end;
begin
    if
        private.is_field_name(tidy) is not true
        or tidy ~ '[][{}\\^|"]|://'
        -- A letter of any script.
        or tidy !~ '[A-Za-z\u00C0-\u1FFF\u2C00-\uD7FF]'
    then
        perform private.fail('custom_field_invalid', left(coalesce(tidy, ''), 60));
    end if;
    return tidy;
end
$function$;

create or replace function private.check_profile()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    problem text;
begin
    if tg_op = 'INSERT' or new.username::text is distinct from old.username::text then
        -- Anonymised accounts are the one case of a deleted- name.
        problem := case when new.deleted_at is null then private.username_problem(new.username::text, new.id) end;
        -- Inserts are sign-up's, which tries the next name on a conflict instead of failing.
        if problem is null and tg_op = 'UPDATE' and exists (
            select from public.profiles as p
            where p.username operator(extensions.=) new.username and p.id <> new.id
        ) then
            problem := 'username_taken';
        end if;
        if problem is not null then
            perform private.fail(problem, new.username::text);
        end if;
    end if;

    new.smart_link := nullif(btrim(new.smart_link), '');
    if new.smart_link !~* '^https?://' then
        new.smart_link := 'https://' || new.smart_link;
    end if;
    if not private.is_smart_link(new.smart_link) then
        perform private.fail('invalid_smart_link', left(new.smart_link, 200));
    end if;
    return new;
end
$function$;

create or replace function private.clean_tags (
    tags text[]
)
    returns text[]
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    cleaned text [];
begin
    -- What is far too much is refused before each of them is looked at.
    if cardinality(tags) > 200 or char_length(array_to_string(tags, '')) > 16384 then
        perform private.fail('invalid_tags', cardinality(tags)::text);
    end if;
    cleaned := array(
        select t.tag
        from (
            select
                private.tag_form(u.tag) as tag,
                min(u.position) as position
            from unnest(tags) with ordinality as u (tag, position)
            group by 1
        ) as t
        where t.tag <> ''
        order by t.position
    );
    if cardinality(cleaned) > 20 or exists (select from unnest(cleaned) as t (tag) where not private.is_tag(t.tag)) then
        perform private.fail('invalid_tags', cardinality(cleaned)::text);
    end if;
    return cleaned;
end
$function$;

create or replace function private.comment_lock (
    ids uuid[]
)
    returns SETOF private.content_state
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- What it is about before the comment: who deletes a post takes them in this order.
    perform private.hold_comment_targets_of(ids);
    perform private.hold_each('public.comments', ids);
    return query select c.id, c.is_hidden from public.comments as c where c.id = any (ids);
end
$function$;

create or replace function private.count_article_likes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    target uuid;
    change integer;
begin
    -- Two looks at the first rows: counting them would take as long as claim_count() does.
    select c.article_id into target from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('articles.likes_count', array_agg(c.article_id), array_agg(sign))
        from changed as c;
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with it: nothing is left to count on.
        select t.id into target from public.articles as t where t.id = target;
    end if;
    if target is not null then
        change := private.claim_count('articles.likes_count', target, sign);
        if change is not null then
            update public.articles as t set likes_count = t.likes_count + change where t.id = target;
        end if;
    end if;
    return null;
end
$function$;

create or replace function private.count_comment_likes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    target uuid;
    change integer;
begin
    -- Two looks at the first rows: counting them would take as long as claim_count() does.
    select c.comment_id into target from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('comments.likes_count', array_agg(c.comment_id), array_agg(sign))
        from changed as c
        where exists (select from public.comments as t where t.id = c.comment_id and (t.user_id is not null));
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with it: nothing is left to count on.
        select t.id into target from public.comments as t where t.id = target and (t.user_id is not null);
    end if;
    if target is not null then
        change := private.claim_count('comments.likes_count', target, sign);
        if change is not null then
            update public.comments as t set likes_count = t.likes_count + change where t.id = target;
        end if;
    end if;
    return null;
end
$function$;

create or replace function private.count_comments()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    targets uuid [];
    changes integer [];
begin
    select array_agg(n.id order by n.id), array_agg(n.change order by n.id) into targets, changes
    from (
        select c.post_id as id, sign * count(*)::integer as change
        from changed as c
        where c.post_id is not null and (c.audience <> 'owner')
        group by 1
    ) as n
    -- Deleted with it: nothing is left to count on.
    where exists (select from public.posts as t where t.id = n.id);
    if cardinality(targets) = 1 then
        changes[1] := private.claim_count('posts.comments_count', targets[1], changes[1]);
        if changes[1] is not null then
            update public.posts as t set comments_count = t.comments_count + changes[1] where t.id = targets[1];
        end if;
    elsif cardinality(targets) > 1 then
        perform private.add_counts('posts.comments_count', targets, changes);
    end if;
    select array_agg(n.id order by n.id), array_agg(n.change order by n.id) into targets, changes
    from (
        select c.item_id as id, sign * count(*)::integer as change
        from changed as c
        where c.item_id is not null and (c.audience <> 'owner')
        group by 1
    ) as n
    -- Deleted with it: nothing is left to count on.
    where exists (select from public.catalog_items as t where t.id = n.id);
    if cardinality(targets) = 1 then
        changes[1] := private.claim_count('catalog_items.comments_count', targets[1], changes[1]);
        if changes[1] is not null then
            update public.catalog_items as t set comments_count = t.comments_count + changes[1] where t.id = targets[1];
        end if;
    elsif cardinality(targets) > 1 then
        perform private.add_counts('catalog_items.comments_count', targets, changes);
    end if;
    select array_agg(n.id order by n.id), array_agg(n.change order by n.id) into targets, changes
    from (
        select c.article_id as id, sign * count(*)::integer as change
        from changed as c
        where c.article_id is not null and (c.audience <> 'owner')
        group by 1
    ) as n
    -- Deleted with it: nothing is left to count on.
    where exists (select from public.articles as t where t.id = n.id);
    if cardinality(targets) = 1 then
        changes[1] := private.claim_count('articles.comments_count', targets[1], changes[1]);
        if changes[1] is not null then
            update public.articles as t set comments_count = t.comments_count + changes[1] where t.id = targets[1];
        end if;
    elsif cardinality(targets) > 1 then
        perform private.add_counts('articles.comments_count', targets, changes);
    end if;
    return null;
end
$function$;

create or replace function private.count_favorites()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    target uuid;
    change integer;
begin
    -- Two looks at the first rows: counting them would take as long as claim_count() does.
    select c.item_id into target from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('catalog_items.favorites_count', array_agg(c.item_id), array_agg(sign))
        from changed as c;
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with it: nothing is left to count on.
        select t.id into target from public.catalog_items as t where t.id = target;
    end if;
    if target is not null then
        change := private.claim_count('catalog_items.favorites_count', target, sign);
        if change is not null then
            update public.catalog_items as t set favorites_count = t.favorites_count + change where t.id = target;
        end if;
    end if;
    return null;
end
$function$;

create or replace function private.count_post_likes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    target uuid;
    change integer;
begin
    -- Two looks at the first rows: counting them would take as long as claim_count() does.
    select c.post_id into target from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('posts.likes_count', array_agg(c.post_id), array_agg(sign))
        from changed as c;
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with it: nothing is left to count on.
        select t.id into target from public.posts as t where t.id = target;
    end if;
    if target is not null then
        change := private.claim_count('posts.likes_count', target, sign);
        if change is not null then
            update public.posts as t set likes_count = t.likes_count + change where t.id = target;
        end if;
    end if;
    return null;
end
$function$;

create or replace function private.count_post_shares()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    target uuid;
    change integer;
begin
    -- Two looks at the first rows: counting them would take as long as claim_count() does.
    select c.post_id into target from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('posts.shares_count', array_agg(c.post_id), array_agg(sign))
        from changed as c;
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with it: nothing is left to count on.
        select t.id into target from public.posts as t where t.id = target;
    end if;
    if target is not null then
        change := private.claim_count('posts.shares_count', target, sign);
        if change is not null then
            update public.posts as t set shares_count = t.shares_count + change where t.id = target;
        end if;
    end if;
    return null;
end
$function$;

create or replace function private.count_posts()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    targets uuid [];
    changes integer [];
begin
    select array_agg(n.id order by n.id), array_agg(n.change order by n.id) into targets, changes
    from (
        select c.group_id as id, sign * count(*)::integer as change
        from changed as c
        where c.group_id is not null and (c.audience <> 'owner')
        group by 1
    ) as n
    -- Deleted with it: nothing is left to count on.
    where exists (select from public.groups as t where t.id = n.id);
    if cardinality(targets) = 1 then
        changes[1] := private.claim_count('groups.posts_count', targets[1], changes[1]);
        if changes[1] is not null then
            update public.groups as t set posts_count = t.posts_count + changes[1] where t.id = targets[1];
        end if;
    elsif cardinality(targets) > 1 then
        perform private.add_counts('groups.posts_count', targets, changes);
    end if;
    return null;
end
$function$;

create or replace function private.count_shown_comments()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    moved integer := (new.audience <> 'owner')::integer - (old.audience <> 'owner')::integer;
    change integer;
begin
    if new.post_id is not null then
        change := private.claim_count('posts.comments_count', new.post_id, moved);
        if change is not null then
            update public.posts as t set comments_count = t.comments_count + change where t.id = new.post_id;
        end if;
    end if;
    if new.item_id is not null then
        change := private.claim_count('catalog_items.comments_count', new.item_id, moved);
        if change is not null then
            update public.catalog_items as t set comments_count = t.comments_count + change where t.id = new.item_id;
        end if;
    end if;
    if new.article_id is not null then
        change := private.claim_count('articles.comments_count', new.article_id, moved);
        if change is not null then
            update public.articles as t set comments_count = t.comments_count + change where t.id = new.article_id;
        end if;
    end if;
    return null;
end
$function$;

create or replace function private.count_shown_posts()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    moved integer := (new.audience <> 'owner')::integer - (old.audience <> 'owner')::integer;
    change integer;
begin
    if new.group_id is not null then
        change := private.claim_count('groups.posts_count', new.group_id, moved);
        if change is not null then
            update public.groups as t set posts_count = t.posts_count + change where t.id = new.group_id;
        end if;
    end if;
    return null;
end
$function$;

create or replace function private.create_profile (
    user_id uuid,
    metadata jsonb,
    is_confirmed boolean
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    base text;
    candidate text;
    name text;
    picture text;
begin
    base := coalesce(
        (
            select s from private.metadata_text(
                metadata,
                array[
                    'username', 'user_name', 'preferred_username', 'preferred_name', 'nickname', 'display_name',
                    'full_name', 'name'
                ]
            ) as t
            cross join lateral private.suggest_username(t) as s
            where s <> ''
            limit 1
        ),
        -- Never from the e-mail address, which is private and often a full name.
        'user'
    );

    select btrim(left(private.tidy_name(left(t, 300)), 80)) into name
    from private.metadata_text(metadata, array['display_name', 'full_name', 'name']) as t
    limit 1;

    select t into picture
    from unnest(array['avatar_url', 'picture']) as k (key)
    cross join lateral (values (left(metadata ->> k.key, 2049))) as v (t)
    where
        jsonb_typeof(metadata) = 'object' and jsonb_typeof(metadata -> k.key) = 'string'
        and private.is_http_url(t)
    limit 1;

    -- A wish that is reserved, too short or taken gets a suffix, at last a name from the id itself. The insert decides
    -- what is taken: of two sign-ups with one name at the same instant the second waits here and goes on to a suffix.
    for attempt in 0..12 loop
        candidate := case
            when attempt = 0 then base
            when attempt < 4 then btrim(left(base, 25), '.-') || '-' || left(gen_random_uuid()::text, 4)
            when attempt < 8 then btrim(left(base, 20), '.-') || '-' || left(gen_random_uuid()::text, 8)
            else 'user-' || left(replace(gen_random_uuid()::text, '-', ''), 20)
        end;
        continue when private.username_problem(candidate) is not null;
        begin
            insert into public.profiles as p (id, username, display_name, avatar_url, is_confirmed)
            values (user_id, candidate, nullif(name, ''), picture, create_profile.is_confirmed)
            on conflict do nothing;
            exit when found or exists (select from public.profiles as p where p.id = user_id);
        exception when sqlstate 'PT409' then
            -- Given up while this waited for it, and held since.
            null;
        end;
    end loop;
end
$function$;

create or replace function private.dispatch_lock (
    kind text,
    ids uuid[]
)
    returns SETOF private.content_state
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    case kind
        when 'article' then
            perform private.hold_each('public.articles', ids); return query select t.id, t.is_hidden from public.articles as t where t.id = any (ids);
        when 'artwork' then
            perform private.hold_each('public.artworks', ids); return query select t.id, t.is_hidden from public.artworks as t where t.id = any (ids);
        when 'comment' then
            return query select * from private.comment_lock(ids);
        when 'post' then
            perform private.hold_each('public.posts', ids); return query select t.id, t.is_hidden from public.posts as t where t.id = any (ids);
        when 'product' then
            return query select * from private.product_lock(ids);
        else
            perform private.fail('cannot_be_hidden', kind);
    end case;
end
$function$;

create or replace function private.follow_author_of_articles (
    user_id uuid,
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    allowed public.audience := (
        select case when p.deleted_at is null then private.author_audience(p) end from public.profiles as p
        where p.id = follow_author_of_articles.user_id
    );
    chosen uuid [] := array(
        select t.id from public.articles as t
        where t.author_id = follow_author_of_articles.user_id and t.author_audience <> allowed
        order by t.id
        limit max_rows
    );
begin
    if chosen = '{}' then
        return 0;
    end if;
    perform from public.articles as t where t.id = any (chosen) order by t.id for no key update;
    update public.articles as t set author_audience = allowed where t.id = any (chosen);
    return cardinality(chosen);
end
$function$;

create or replace function private.follow_author_of_catalog_items (
    user_id uuid,
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    allowed boolean := (
        select private.author_audience(p) <> 'owner' from public.profiles as p
        where p.id = follow_author_of_catalog_items.user_id
    );
    chosen uuid [] := array(
        select t.id from public.catalog_items as t
        where t.seller_id = follow_author_of_catalog_items.user_id and t.seller_is_active <> allowed
        order by t.id
        limit max_rows
    );
begin
    if chosen = '{}' then
        return 0;
    end if;
    perform from public.catalog_items as t where t.id = any (chosen) order by t.id for no key update;
    update public.catalog_items as t set seller_is_active = allowed where t.id = any (chosen);
    return cardinality(chosen);
end
$function$;

create or replace function private.follow_author_of_comments (
    user_id uuid,
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    allowed public.audience := (
        select case when p.deleted_at is null then private.author_audience(p) end from public.profiles as p
        where p.id = follow_author_of_comments.user_id
    );
    chosen uuid [] := array(
        select t.id from public.comments as t
        where t.user_id = follow_author_of_comments.user_id and t.author_audience <> allowed
        order by t.id
        limit max_rows
    );
    moved record;
begin
    if chosen = '{}' then
        return 0;
    end if;
    perform private.hold_comment_targets_of(chosen);
    for moved in
        with before as materialized (
            select t.id, (t.audience <> 'owner') as counts from public.comments as t
            where t.id = any (chosen)
            order by t.id
            for no key update
        ),
        after as (
            update public.comments as t set author_audience = allowed
            from before as b
            where t.id = b.id
            returning (t.audience <> 'owner')::integer - b.counts::integer as change, t.article_id, t.item_id, t.post_id
        ),
        moves as (
            select v.counter, v.id, sum(a.change)::integer as change
            from after as a
            cross join lateral (values ('articles.comments_count', a.article_id), ('catalog_items.comments_count', a.item_id), ('posts.comments_count', a.post_id)) as v (counter, id)
            where v.id is not null
            group by v.counter, v.id
            having sum(a.change) <> 0
        )
        select m.counter, array_agg(m.id) as ids, array_agg(m.change) as changes
        from moves as m
        group by m.counter
        order by m.counter desc
    loop
        perform private.add_counts(moved.counter, moved.ids, moved.changes);
    end loop;
    return cardinality(chosen);
end
$function$;

create or replace function private.follow_author_of_posts (
    user_id uuid,
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    allowed public.audience := (
        select case when p.deleted_at is null then private.author_audience(p) end from public.profiles as p
        where p.id = follow_author_of_posts.user_id
    );
    chosen uuid [] := array(
        select t.id from public.posts as t
        where t.user_id = follow_author_of_posts.user_id and t.author_audience <> allowed
        order by t.id
        limit max_rows
    );
    moved record;
begin
    if chosen = '{}' then
        return 0;
    end if;
    for moved in
        with before as materialized (
            select t.id, (t.audience <> 'owner') as counts from public.posts as t
            where t.id = any (chosen)
            order by t.id
            for no key update
        ),
        after as (
            update public.posts as t set author_audience = allowed
            from before as b
            where t.id = b.id
            returning (t.audience <> 'owner')::integer - b.counts::integer as change, t.group_id
        ),
        moves as (
            select v.counter, v.id, sum(a.change)::integer as change
            from after as a
            cross join lateral (values ('groups.posts_count', a.group_id)) as v (counter, id)
            where v.id is not null
            group by v.counter, v.id
            having sum(a.change) <> 0
        )
        select m.counter, array_agg(m.id) as ids, array_agg(m.change) as changes
        from moves as m
        group by m.counter
        order by m.counter desc
    loop
        perform private.add_counts(moved.counter, moved.ids, moved.changes);
    end loop;
    return cardinality(chosen);
end
$function$;

create or replace function private.forget_article_likes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- Also those that name somebody else: of two who leave together each would name the other.
    perform private.renew_notifications(array(
        select n.id from public.notifications as n
        where
            n.type = 'like' and n.related_id in (select g.article_id from gone as g) and exists (
                select from gone as g
                where
                    g.article_id = n.related_id and g.created_at > n.created_at - interval '10 seconds'
                    and g.created_at < n.created_at + interval '1 hour'
            )
    ));
    return null;
end
$function$;

create or replace function private.forget_comment_likes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- Also those that name somebody else: of two who leave together each would name the other.
    perform private.renew_notifications(array(
        select n.id from public.notifications as n
        where
            n.type = 'like' and n.related_id in (select g.comment_id from gone as g) and exists (
                select from gone as g
                where
                    g.comment_id = n.related_id and g.created_at > n.created_at - interval '10 seconds'
                    and g.created_at < n.created_at + interval '1 hour'
            )
    ));
    return null;
end
$function$;

create or replace function private.forget_favorites()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- Also those that name somebody else: of two who leave together each would name the other.
    perform private.renew_notifications(array(
        select n.id from public.notifications as n
        where
            n.type = 'favorite' and n.related_id in (select g.item_id from gone as g) and exists (
                select from gone as g
                where
                    g.item_id = n.related_id and g.created_at > n.created_at - interval '10 seconds'
                    and g.created_at < n.created_at + interval '1 hour'
            )
    ));
    return null;
end
$function$;

create or replace function private.forget_hidden()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- Its owner still sees what is hidden, and who liked it before.
    perform private.forget_notifications(
        array(select c.id from public.comments as c where new.id in (c.post_id, c.item_id, c.article_id)) || new.id,
        (to_jsonb(new) ->> tg_argv[0])::uuid
    );
    return null;
end
$function$;

create or replace function private.forget_post_likes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- Also those that name somebody else: of two who leave together each would name the other.
    perform private.renew_notifications(array(
        select n.id from public.notifications as n
        where
            n.type = 'like' and n.related_id in (select g.post_id from gone as g) and exists (
                select from gone as g
                where
                    g.post_id = n.related_id and g.created_at > n.created_at - interval '10 seconds'
                    and g.created_at < n.created_at + interval '1 hour'
            )
    ));
    return null;
end
$function$;

create or replace function private.forget_post_shares()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- Also those that name somebody else: of two who leave together each would name the other.
    perform private.renew_notifications(array(
        select n.id from public.notifications as n
        where
            n.type = 'share' and n.related_id in (select g.post_id from gone as g) and exists (
                select from gone as g
                where
                    g.post_id = n.related_id and g.created_at > n.created_at - interval '10 seconds'
                    and g.created_at < n.created_at + interval '1 hour'
            )
    ));
    return null;
end
$function$;

create or replace function private.forget_told()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.delete_notifications(array(
        select n.id from public.notifications as n
        where
            n.type = tg_argv[0] and n.user_id = old.user_id
            and n.related_id = (to_jsonb(old) ->> tg_argv[1])::uuid
    ));
    return null;
end
$function$;

create or replace function private.guard_object()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if tg_op = 'DELETE' then
        if private.is_pinned(old.bucket_id, old.name) then
            -- Skipped, so that the rest of a batch goes.
            return null;
        end if;
        return old;
    end if;
    if tg_op = 'UPDATE' and private.is_pinned(old.bucket_id, old.name)
        and (
            new.bucket_id, new.name, new.version, new.metadata -> 'eTag', new.metadata -> 'size',
            new.metadata -> 'mimetype'
        ) is distinct from (
            old.bucket_id, old.name, old.version, old.metadata -> 'eTag', old.metadata -> 'size',
            old.metadata -> 'mimetype'
        )
    then
        -- An error, not a skipped row: Storage then drops the new bytes and keeps the old ones.
        raise insufficient_privilege using message = 'This file was sold or sent and does not change.';
    end if;
    -- A member's, whoever writes the row.
    if new.owner_id is not null
        and new.bucket_id in ('avatars', 'banners', 'media', 'product-files', 'attachments')
    then
        -- Held until the row is there: an account that ends just now finds the file and erases it.
        perform from public.profiles as p
        where
            p.id = case when private.is_uuid(new.owner_id) then new.owner_id::uuid end
            and p.deleted_at is null and not p.is_banned
        for share;
        if not found then
            raise insufficient_privilege using message = 'This account does not store files.';
        elsif not private.bucket_takes(new.bucket_id, new.metadata) then
            raise insufficient_privilege using message = 'This bucket does not take files of this size or type.';
        end if;
    end if;
    return new;
end
$function$;

create or replace function private.has_factor_from_before (
    user_id uuid,
    moment timestamp with time zone
)
    returns boolean
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    found_one boolean;
begin
    if to_regclass('auth.mfa_factors') is null then
        return false;
    end if;
    -- Not every Auth has it, so nothing that reads this function may look for it.
    execute format(
        'select exists (select from %I.mfa_factors as f '
        'where f.user_id = $1 and f.status::text = ''verified'' and f.created_at < $2)', 'auth'
    ) into found_one using has_factor_from_before.user_id, moment;
    return found_one;
end
$function$;

create or replace function private.has_liked_article (
    article_id uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.article_likes as s where s.article_id = has_liked_article.article_id and s.user_id = auth.uid()
    );
end
$function$;

create or replace function private.has_liked_comment (
    comment_id uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.comment_likes as s where s.comment_id = has_liked_comment.comment_id and s.user_id = auth.uid()
    );
end
$function$;

create or replace function private.has_liked_post (
    post_id uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.post_likes as s where s.post_id = has_liked_post.post_id and s.user_id = auth.uid()
    );
end
$function$;

create or replace function private.has_shared_post (
    post_id uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.post_shares as s where s.post_id = has_shared_post.post_id and s.user_id = auth.uid()
    );
end
$function$;

create or replace function private.hashtags (
    content text
)
    returns text[]
    language sql
    immutable
    set search_path to ''
    AS $function$
    select coalesce(array_agg(t.tag order by t.place), '{}')
    from (
        select private.tag_form(m.match[1]) as tag, min(m.place) as place
        from regexp_matches(
            hashtags.content,
            concat(
                '(?:^|[^[:alnum:]_&/#\uFF03\u200C\u200D', private.marks(), '])[#\uFF03]',
                '([[:alnum:]_\u200C\u200D', private.marks(), ']+)'
            ),
            'g'
        ) with ordinality as m (match, place)
        where m.match[1] ~ concat('[^[:digit:]_\u200C\u200D', private.marks(), ']')
        group by 1
    ) as t
    where private.is_tag(t.tag)
$function$;

create or replace function private.hold_article (
    article_id uuid
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform from public.articles as t where t.id = hold_article.article_id for key share;
    return true;
end
$function$;

create or replace function private.hold_comment (
    comment_id uuid
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform from public.comments as t where t.id = hold_comment.comment_id for key share;
    return true;
end
$function$;

create or replace function private.hold_item (
    item_id uuid
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform from public.catalog_items as t where t.id = hold_item.item_id for key share;
    return true;
end
$function$;

create or replace function private.hold_post (
    post_id uuid
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform from public.posts as t where t.id = hold_post.post_id for key share;
    return true;
end
$function$;

create or replace function private.hook_branch (
    kind private.kinds,
    hook private.hooks
)
    returns text
    language sql
    stable
    set search_path to ''
    AS $function$
    select case
        when to_regproc(format('private.%I', kind.kind || '_' || hook.hook)) is not null then format(
            '%s private.%I(ids%s)', case when hook.returns = 'void' then 'perform' else 'return query select * from' end,
            kind.kind || '_' || hook.hook, regexp_replace(hook.parameters, '\s*([a-z_]+)\s+[^,]+', ', \1', 'g')
        )
        -- What takes several statements says itself which of them answers.
        else case when hook.returns = 'void' or hook.otherwise like '%return query%' then '' else 'return query ' end
            || replace(replace(hook.otherwise, '{relation}', kind.relation), '{owner}', quote_ident(kind.owner_column))
    end
$function$;

create or replace function private.is_author()
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.profiles as p
        where
            p.id = (select private.member_id()) and p.role >= 'author'
    );
end
$function$;

create or replace function private.is_field_name (
    value text
)
    returns boolean
    language plpgsql
    immutable
    strict
    set search_path to ''
    AS $function$
begin
    return char_length(value) between 2 and 60 and value !~ '[<>]';
end
$function$;

create or replace function private.is_http_url (
    value text
)
    returns boolean
    language plpgsql
    immutable
    strict
    set search_path to ''
    AS $function$
begin
    -- The domain says what an address is.
    perform value::public.http_url;
    return true;
exception when check_violation then
    return false;
end
$function$;

create or replace function private.is_note (
    value text
)
    returns boolean
    language plpgsql
    immutable
    strict
    set search_path to ''
    AS $function$
begin
    return char_length(value) <= 2000;
end
$function$;

create or replace function private.is_reason (
    value text
)
    returns boolean
    language plpgsql
    immutable
    strict
    set search_path to ''
    AS $function$
begin
    return char_length(value) between 1 and 500;
end
$function$;

create or replace function private.is_smart_link (
    value text
)
    returns boolean
    language plpgsql
    immutable
    strict
    set search_path to ''
    AS $function$
begin
    return value ~* '^https?://(www\.)?rolink\.me/[^[:space:][:cntrl:]"<>\\]*$' and private.hides_nothing(value);
end
$function$;

create or replace function private.is_tag (
    value text
)
    returns boolean
    language plpgsql
    immutable
    parallel safe
    strict
    set search_path to ''
    AS $function$
begin
    return char_length(value) between 1 and 50;
end
$function$;

create or replace function private.is_username (
    value text
)
    returns boolean
    language plpgsql
    immutable
    strict
    set search_path to ''
    AS $function$
begin
    return value ~ '^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$' and char_length(value) between 3 and 30;
end
$function$;

create or replace function private.metrics()
    returns table (
        name text,
        labels jsonb,
        value double precision
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select 'avenue_webhook_events', jsonb_build_object('status', s.status), count(e.id)
    from unnest(array['pending', 'dead']::private.webhook_status[]) as s (status)
    left join private.webhook_events as e on e.status = s.status
    group by s.status
    union all
    select 'avenue_webhook_oldest_pending_seconds', '{}', coalesce(max(extract(epoch from now() - e.received_at)), 0)
    from private.webhook_events as e
    where e.status = 'pending'
    union all
    select 'avenue_payouts_open', jsonb_build_object('status', s.status), count(p.id)
    from unnest(enum_range(null, 'processing'::public.payout_status)) as s (status)
    left join public.payouts as p on p.status = s.status
    group by s.status
    union all
    select 'avenue_refunds_open', '{}', count(*) from public.refunds as r where r.is_open
    union all
    select 'avenue_provider_delays', jsonb_build_object('kind', k.kind), count(d.object_id)
    from unnest(array['payout', 'refund']) as k (kind)
    left join private.provider_delays as d on d.kind = k.kind
    group by k.kind
    union all
    select 'avenue_payments_open', '{}', count(*) from public.payments as p
    where p.is_open
    union all
    select 'avenue_money_waiting_' || m.name, jsonb_build_object('account', a.account), m.value
    from unnest(array['refunds_payable', 'payouts_in_transit', 'refunds', 'sale_reviews']) as a (account)
    left join (
        select
            w.account, sum(w.amount_cents) as cents, count(*) filter (where w.needs_person) as stuck,
            extract(epoch from now() - min(w.since)) as age
        from private.money_waiting() as w
        group by w.account
    ) as s on s.account = a.account
    cross join lateral (
        values
        ('cents', coalesce(s.cents, 0)), ('oldest_seconds', coalesce(s.age, 0)), ('stuck', coalesce(s.stuck, 0))
    ) as m (name, value)
$function$;

create or replace function private.note_tags_of_articles()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.note_tags(
        case when tg_op = 'INSERT' or tg_op = 'UPDATE' and new.author_audience = old.author_audience then new.author_id end,
        case when tg_op <> 'INSERT' and (old.audience = 'public') then old.tags else '{}' end,
        case when tg_op <> 'DELETE' and (new.audience = 'public') then new.tags else '{}' end
    );
    return null;
end
$function$;

create or replace function private.note_tags_of_catalog_items()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.note_tags(
        case when tg_op = 'INSERT' or tg_op = 'UPDATE' and new.seller_is_active = old.seller_is_active then new.seller_id end,
        case when tg_op <> 'INSERT' and (old.is_visible) then old.tags else '{}' end,
        case when tg_op <> 'DELETE' and (new.is_visible) then new.tags else '{}' end
    );
    return null;
end
$function$;

create or replace function private.note_tags_of_groups()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.note_tags(
        case when tg_op <> 'DELETE' then new.owner_id end,
        case when tg_op <> 'INSERT' and (old.visibility <> 'secret') then old.tags else '{}' end,
        case when tg_op <> 'DELETE' and (new.visibility <> 'secret') then new.tags else '{}' end
    );
    return null;
end
$function$;

create or replace function private.note_tags_of_posts()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.note_tags(
        case when tg_op = 'INSERT' or tg_op = 'UPDATE' and new.author_audience = old.author_audience then new.user_id end,
        case when tg_op <> 'INSERT' and (old.audience = 'public') then old.tags else '{}' end,
        case when tg_op <> 'DELETE' and (new.audience = 'public') then new.tags else '{}' end
    );
    return null;
end
$function$;

create or replace function private.notice_actors (
    told public.notifications
)
    returns table (
        user_id uuid,
        acted_at timestamp with time zone
    )
    language sql
    stable
    security definer
    rows 10
    set search_path to ''
    AS $function$
    select a.user_id, a.acted_at
    from (
        select s.user_id, min(s.acted_at) as acted_at
        from (
            select r.user_id, r.created_at as acted_at from private.reactions as r
            where
                r.type = told.type and r.related_id = told.related_id
                and coalesce(r.kind, told.related_type) = told.related_type
            union all
            select m.user_id, m.updated_at from public.group_members as m
            where told.type = 'group_request' and m.group_id = told.related_id and m.status = 'pending'
        ) as s
        where
            -- Of several at the same instant not always the first tells: requests begin seconds before they end.
            s.acted_at > told.created_at - interval '10 seconds' and s.acted_at < told.created_at + interval '1 hour'
        group by s.user_id
        union all
        select f.follower_id, f.created_at from public.follows as f
        where
            told.type in ('follow', 'connected')
            and f.follower_id = told.related_id and f.following_id = told.user_id
            and (
                told.type = 'follow' or exists (
                    select from public.follows as b
                    where b.follower_id = told.user_id and b.following_id = told.related_id
                )
            )
        union all
        select m.sender_id, min(m.created_at)
        from private.unread_messages as u
        inner join public.messages as m on m.id = u.id
        where told.type = 'message' and u.viewer_id = told.user_id and u.conversation_id = told.related_id
        group by m.sender_id
        order by 2, 1
        -- Sorted first: of a thousand who liked it only a page is asked whether they may be named.
        offset 0
    ) as a
    where
        a.user_id <> told.user_id and private.is_visible_to(a.user_id, told.user_id)
        and not exists (
            select from public.user_blocks as b
            where
                b.blocker_id = told.user_id and b.blocked_id = a.user_id
                or b.blocker_id = a.user_id and b.blocked_id = told.user_id
        )
    limit 100
$function$;

create or replace function private.payment_of (
    object jsonb
)
    returns public.payments
    language plpgsql
    set search_path to ''
    AS $function$
declare
    is_intent boolean := coalesce(object ->> 'object' = 'payment_intent', false);
    named text := object #>> '{metadata,payment_id}';
    intent text := case
        when is_intent then object ->> 'id' else coalesce(object #>> '{payment_intent,id}', object ->> 'payment_intent')
    end;
    charge text := case
        when is_intent then null
        when object ->> 'object' = 'charge' then object ->> 'id'
        else coalesce(object #>> '{charge,id}', object ->> 'charge')
    end;
    found public.payments;
    claimed public.payments;
begin
    if charge is not null then
        select * into found from public.payments as p
        where p.provider_ref = charge and p.provider = 'stripe'
        for no key update;
    end if;
    if found.id is null then
        select * into found from public.payments as p
        where p.provider_ref = intent and p.provider = 'stripe'
        for no key update;
        if found.id::text <> lower(named) then
            perform private.fail('event_rejected', format('payment %s is %s, the event names %s', found.id, intent, named));
        end if;
        -- Paid a second time: what is about the second charge waits until that is booked.
        if charge <> found.charge_id and found.succeeded_at is not null then
            perform private.fail('event_too_early', format('payment %s was paid by %s', found.id, found.charge_id));
        end if;
    end if;
    if found.id is null and private.is_uuid(named) then
        select * into claimed from public.payments as p where p.id = named::uuid for no key update;
        if claimed.provider_ref is not null then
            perform private.fail('event_rejected', format(
                'payment %s is %s, the event is about %s', claimed.id, claimed.provider_ref, coalesce(intent, 'nothing')
            ));
        elsif claimed.id is not null and (claimed.provider <> 'stripe' or claimed.started_at is null) then
            perform private.fail('event_rejected', format(
                'payment %s was never started, the event is about %s', claimed.id, coalesce(intent, 'nothing')
            ));
        elsif is_intent and intent is not null
            and (object ->> 'amount_received')::bigint = claimed.amount_cents
            and upper(object ->> 'currency') = claimed.currency::text then
            found := claimed;
        end if;
    end if;
    if found.id is null then
        perform private.fail('event_too_early', 'no such payment: ' || coalesce(named, intent, 'unnamed'));
    end if;
    return found;
end
$function$;

create or replace function private.post_evidence (
    ids uuid[],
    reader uuid
)
    returns SETOF private.reported_content
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select
        p.id, p.user_id,
        to_jsonb(p) - 'search' || jsonb_build_object('poll_options', coalesce((
            select jsonb_agg(o.option order by o.position) from public.poll_options as o where o.post_id = p.id
        ), '[]'))
    from public.posts as p
    where p.id = any (ids)
$function$;

create or replace function private.price_of (
    price_cents bigint,
    minimum_price_cents bigint,
    offered_cents bigint,
    agreed_cents bigint,
    OUT cents bigint,
    OUT least_cents bigint,
    OUT problem text
)
    returns record
    language plpgsql
    immutable
    set search_path to ''
    AS $function$
begin
    cents := price_cents;
    if minimum_price_cents is not null then
        cents := coalesce(offered_cents, price_cents);
        least_cents := case
            when cents > 0 then greatest(minimum_price_cents, private.lowest_price_cents()) else minimum_price_cents
        end;
    end if;
    problem := case when cents < least_cents then 'price_too_low' when cents > agreed_cents then 'price_changed' end;
end
$function$;

create or replace function private.product_lock (
    ids uuid[]
)
    returns SETOF private.content_state
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.hold_each('public.products', ids);
    return query select p.id, not p.is_approved from public.products as p where p.id = any (ids);
end
$function$;

create or replace function private.read_lines (
    buyer uuid,
    wanted jsonb
)
    returns SETOF private.order_line
    language plpgsql
    set search_path to ''
    AS $function$
begin
    return query
    -- The only look at the items: what is checked here is what is written and charged. Locked, so that it is the last
    -- committed state and the item stays; a seller may go on editing, as if the order had been a moment earlier.
    with item as materialized (
        select c.* from public.catalog_items as c
        where c.id in (select (w.line ->> 'item_id')::uuid from jsonb_array_elements(wanted) as w (line))
        order by c.id
        for key share
    ),

    line as (
        select
            w.no,
            (w.line ->> 'item_id')::uuid as item_id,
            (w.line ->> 'quantity')::integer as quantity,
            (w.line ->> 'offered_price_cents')::bigint as offered_cents,
            -- The most a piece may cost: what the cart showed, or what the client says it showed.
            coalesce(w.line ->> 'shown_price_cents', w.line ->> 'offered_price_cents')::bigint as agreed_cents,
            count(*) over (partition by w.line ->> 'item_id') as times
        from jsonb_array_elements(wanted) with ordinality as w (line, no)
    )

    select
        l.no::smallint, l.item_id, c.seller_id, c.is_unique, c.title, coalesce(p.description, a.description),
        p.license_type, p.license_text, p.license_version,
        case c.kind
            when 'product' then jsonb_build_object('technical_details', p.technical_details)
            when 'artwork' then jsonb_build_object(
                'image_url', a.image_url, 'category', a.category, 'dimensions', a.dimensions
            )
        end,
        u.cents, l.quantity, plan.tier, plan.commission_bps, e.problem,
        case
            when e.problem = 'price_too_low'
                then format('%s: minimum is %s cents', l.item_id, u.least_cents)
            else l.item_id::text
        end
    from line as l
    -- Who blocked the buyer, or was blocked by them, sells them nothing; what the buyer cannot see does not exist.
    left join item as c
        on
            c.id = l.item_id and c.seller_id <> all (array(select private.blocked_ids()))
            and (c.is_visible or c.seller_id = buyer or private.owns_item(buyer, c.id))
    left join public.products as p on p.id = c.id
    left join public.artworks as a on a.id = c.id
    left join lateral private.seller_plan(c.seller_id) as plan on true
    cross join lateral private.price_of(
        c.price_cents, c.minimum_price_cents, l.offered_cents, l.agreed_cents
    ) as u
    cross join lateral (
        select case
            when c.id is null then 'item_not_available'
            when l.times > 1 then 'duplicate_item'
            when c.seller_id = buyer then 'own_item'
            when private.owns_item(buyer, l.item_id) then 'already_owned'
            when not c.is_listed and c.is_unique then 'item_sold'
            when not c.is_listed then 'item_not_available'
            when l.quantity < 1 or (c.is_unique and l.quantity > 1) then 'quantity_not_allowed'
            else u.problem
        end as problem
    ) as e
    order by l.no;
end
$function$;

create or replace function private.record_provider_fee (
    payment_id uuid,
    charge_id text,
    fee_cents bigint
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    paid public.payments;
begin
    select * into strict paid from public.payments as p where p.id = record_provider_fee.payment_id for no key update;
    if paid.provider_fee_cents is not null or paid.succeeded_at is null then
        return;
    end if;
    if fee_cents is null or fee_cents not between 0 and private.highest_amount_cents() then
        perform private.fail('event_rejected', format('payment %s has a fee of %s cents', paid.id, fee_cents));
    end if;
    update public.payments as p set charge_id = coalesce(p.charge_id, record_provider_fee.charge_id)
    where p.id = paid.id;
    perform private.set_provider_fee(paid.id, fee_cents, 'fee');
end
$function$;

create or replace function private.refund_line (
    transaction_id uuid,
    amount_cents bigint,
    reason text,
    origin public.refund_origin
)
    returns uuid
    language plpgsql
    set search_path to ''
    AS $function$
declare
    sale public.transactions;
    debt_limit bigint := (select s.seller_debt_cents from private.settings as s);
    wanted bigint;
begin
    perform private.require_reason(reason);
    select * into strict sale from public.transactions as t where t.id = transaction_id;
    -- In the order of book_refund(), which a wallet payment reaches from here.
    perform from public.payments as p where p.id = sale.payment_id for no key update;
    perform from public.transactions as t where t.payment_id = sale.payment_id for no key update;
    -- A refund through the provider is booked later: until then it is this seller's alone.
    perform private.lock_wallets(case
        when sale.payment_processor = 'wallet'
            then array(select t.seller_id from public.transactions as t where t.payment_id = sale.payment_id) || sale.buyer_id
        else array[sale.seller_id]
    end);
    select * into strict sale from public.transactions as t where t.id = transaction_id;
    wanted := coalesce(refund_line.amount_cents, sale.amount_total_cents - sale.refunded_cents);
    -- The provider keeps its fee, so giving back a first sale makes a debt: a small one, or each sale to a friend that
    -- is given back burns another fee at the platform's cost.
    if origin = 'seller' and wanted between 1 and sale.amount_total_cents - sale.refunded_cents
        and private.spendable_cents(sale.seller_id, sale.order_item_id, wanted) < -debt_limit then
        perform private.fail('insufficient_funds', format(
            'a seller may owe at most %s cents after a refund; ask an admin', debt_limit
        ));
    end if;
    return private.create_refund(sale.payment_id, sale.order_item_id, wanted, reason, origin);
end
$function$;

create or replace function private.require_reason (
    reason text
)
    returns text
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    tidy text := private.tidy_body(reason);
begin
    if private.is_reason(tidy) is not true then
        perform private.fail('reason_required');
    end if;
    return tidy;
end
$function$;

create or replace function private.tell_account_banned()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.user_id, 'account_banned', null, 'profile', new.user_id);
    return null;
end
$function$;

create or replace function private.tell_account_restored()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(old.user_id, 'account_restored', null, 'profile', old.user_id);
    return null;
end
$function$;

create or replace function private.tell_article_likes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(t.recipient, 'like', t.actor, t.kind, t.id)
    from (
        select t.author_id as recipient, c.user_id as actor, 'article' as kind, t.id
        from changed as c
        inner join public.articles as t on t.id = c.article_id and t.author_id <> c.user_id
        -- What was told of already ends here.
        where not exists (
            select from public.notifications as n
            where
                n.related_id = t.id and n.type = 'like' and n.user_id = t.author_id
                and n.created_at > now() - interval '01:00:00'
        )
        order by t.id, c.user_id
    ) as t;
    return null;
end
$function$;

create or replace function private.tell_comment_likes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(t.recipient, 'like', t.actor, t.kind, t.id, t.link_url)
    from (
        select t.user_id as recipient, c.user_id as actor, 'comment' as kind, t.id, private.comment_link(t) as link_url
        from changed as c
        inner join public.comments as t on t.id = c.comment_id and t.user_id <> c.user_id
        -- What was told of already ends here.
        where not exists (
            select from public.notifications as n
            where
                n.related_id = t.id and n.type = 'like' and n.user_id = t.user_id
                and n.created_at > now() - interval '01:00:00'
        )
        order by t.id, c.user_id
    ) as t;
    return null;
end
$function$;

create or replace function private.tell_favorites()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(t.recipient, 'favorite', t.actor, t.kind, t.id)
    from (
        select t.seller_id as recipient, c.user_id as actor, t.kind as kind, t.id
        from changed as c
        inner join public.catalog_items as t on t.id = c.item_id and t.seller_id <> c.user_id
        -- What was told of already ends here.
        where not exists (
            select from public.notifications as n
            where
                n.related_id = t.id and n.type = 'favorite' and n.user_id = t.seller_id
                and n.created_at > now() - interval '01:00:00'
        )
        order by t.id, c.user_id
    ) as t;
    return null;
end
$function$;

create or replace function private.tell_field_approved()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(r.user_id, 'field_approved', null, 'custom_field_request', new.id)
    from public.custom_field_requesters as r where r.request_id = new.id;
    return null;
end
$function$;

create or replace function private.tell_field_rejected()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(r.user_id, 'field_rejected', null, 'custom_field_request', new.id)
    from public.custom_field_requesters as r where r.request_id = new.id;
    return null;
end
$function$;

create or replace function private.tell_group_invitation()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.user_id, 'group_invitation', new.invited_by, 'group', new.group_id);
    return null;
end
$function$;

create or replace function private.tell_order()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.user_id, 'order', null, 'order', new.id);
    return null;
end
$function$;

create or replace function private.tell_payout()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.user_id, 'payout', null, 'payout', new.id);
    return null;
end
$function$;

create or replace function private.tell_payout_failed()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.user_id, 'payout_failed', null, 'payout', new.id);
    return null;
end
$function$;

create or replace function private.tell_payout_requested()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.user_id, 'payout_requested', null, 'payout', new.id);
    return null;
end
$function$;

create or replace function private.tell_post_likes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(t.recipient, 'like', t.actor, t.kind, t.id)
    from (
        select t.user_id as recipient, c.user_id as actor, 'post' as kind, t.id
        from changed as c
        inner join public.posts as t on t.id = c.post_id and t.user_id <> c.user_id
        -- What was told of already ends here.
        where not exists (
            select from public.notifications as n
            where
                n.related_id = t.id and n.type = 'like' and n.user_id = t.user_id
                and n.created_at > now() - interval '01:00:00'
        )
        order by t.id, c.user_id
    ) as t;
    return null;
end
$function$;

create or replace function private.tell_post_shares()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(t.recipient, 'share', t.actor, t.kind, t.id)
    from (
        select t.user_id as recipient, c.user_id as actor, 'post' as kind, t.id
        from changed as c
        inner join public.posts as t on t.id = c.post_id and t.user_id <> c.user_id
        -- What was told of already ends here.
        where not exists (
            select from public.notifications as n
            where
                n.related_id = t.id and n.type = 'share' and n.user_id = t.user_id
                and n.created_at > now() - interval '01:00:00'
        )
        order by t.id, c.user_id
    ) as t;
    return null;
end
$function$;

create or replace function private.tell_purchase()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(s.seller_id, 'purchase', null, 'order_item', s.id)
    from (
        select distinct on (i.seller_id) i.seller_id, i.id
        from public.order_items as i
        where i.order_id = new.id
        order by i.seller_id, i.line_no
    ) as s;
    return null;
end
$function$;

create or replace function private.tell_refund_request()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.seller_id, 'refund_request', new.buyer_id, 'refund_request', new.id);
    return null;
end
$function$;

create or replace function private.tell_refund_request_answered()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.buyer_id, 'refund_request_answered', null, 'refund_request', new.id);
    return null;
end
$function$;

create or replace function private.tell_report_resolved()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.reporter_id, 'report_resolved', null, 'report', new.id);
    return null;
end
$function$;

create or replace function private.tell_role_changed()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.id, 'role_changed', null, 'profile', new.id);
    return null;
end
$function$;

create or replace function private.tidy_texts()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    given jsonb := to_jsonb(new);
    tidied jsonb := jsonb '{}';
    rule text;
    field text;
    before jsonb;
    after jsonb;
begin
    foreach rule in array tg_argv loop
        field := split_part(rule, ' ', 1);
        before := given -> field;
        continue when before = 'null';
        after := case split_part(rule, ' ', 2)
            when 'line' then to_jsonb(nullif(private.tidy_name(before #>> '{}'), ''))
            when 'body' then to_jsonb(nullif(private.tidy_body(before #>> '{}'), ''))
            when 'object' then private.tidy_object(before)
        end;
        if after is null and split_part(rule, ' ', 3) = 'required' then
            perform private.fail('text_not_visible', field);
        end if;
        if after is distinct from before then
            tidied := tidied || jsonb_build_object(field, after);
        end if;
    end loop;
    if tidied <> '{}' then
        new := jsonb_populate_record(new, tidied);
    end if;
    return new;
end
$function$;

create or replace function private.username_problem (
    username text,
    user_id uuid default null::uuid
)
    returns text
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select case
        when private.is_username(username) is not true then 'username_invalid'
        when lower(username) like 'deleted-%' or private.is_reserved(username) then 'username_reserved'
        when private.is_held_username(username, user_id) then 'username_taken'
    end
$function$;

create or replace function public.adjust_wallet (
    user_id uuid,
    amount_cents bigint,
    reason text,
    idempotency_key text
)
    returns bigint
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    admin uuid := private.require_admin();
    wallet public.wallets;
    answered jsonb;
    journal bigint;
    memo text;
begin
    if admin = adjust_wallet.user_id then
        perform private.fail('own_wallet');
    end if;
    memo := private.require_reason(adjust_wallet.reason);
    if coalesce(amount_cents, 0) = 0
        or amount_cents not between -private.highest_amount_cents() and private.highest_amount_cents()
        or coalesce(idempotency_key, '') = '' then
        perform private.fail('adjustment_invalid');
    end if;
    answered := private.claim_request(admin, 'adjust_wallet', adjust_wallet.idempotency_key, jsonb_build_object(
        'user_id', adjust_wallet.user_id, 'amount_cents', adjust_wallet.amount_cents, 'reason', memo
    ));
    if answered is not null then
        return (answered #>> '{}')::bigint;
    end if;
    -- Its owner does not keep a chargeback from being booked.
    perform private.hold_rows('public.wallets', 't.user_id = $1', adjust_wallet.user_id);
    select * into wallet from public.wallets as w where w.user_id = adjust_wallet.user_id;
    if wallet.user_id is null then
        perform private.fail('wallet_not_found');
    end if;
    journal := ledger.post(
        'adjustment', 'adjustment:' || gen_random_uuid(),
        ledger.leg(null, 'promotions', -amount_cents) || case
            when amount_cents > 0 then private.credit_legs(adjust_wallet.user_id, amount_cents)
            else private.debit_legs(adjust_wallet.user_id, -amount_cents)
        end,
        null, wallet.currency, memo
    );
    perform private.audit(
        'adjust_wallet', 'wallet', adjust_wallet.user_id,
        jsonb_build_object('amount_cents', amount_cents, 'reason', memo, 'journal_id', journal)
    );
    perform private.answer_request(admin, 'adjust_wallet', adjust_wallet.idempotency_key, to_jsonb(journal));
    return journal;
end
$function$;

create or replace function public.answer_refund_request (
    request_id uuid,
    accept boolean,
    note text default null::text
)
    returns public.refund_requests
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    request public.refund_requests;
    made uuid;
    words text := case
        when answer_refund_request.note is not null then private.require_reason(answer_refund_request.note)
    end;
begin
    select * into request from public.refund_requests as r
    where r.id = request_id and (r.seller_id = member or (private.is_admin() and r.buyer_id <> member))
    for no key update;
    if request.id is null or request.status <> 'open' or request.answer_by <= now() then
        perform private.fail('refund_request_closed');
    end if;
    if accept then
        select private.refund_line(
            t.id, null, 'refund_request',
            case when t.seller_id = member then 'seller' else 'admin' end::public.refund_origin
        ) into strict made
        from public.transactions as t
        where t.order_item_id = request.order_item_id;
    end if;
    update public.refund_requests as r set
        status = case when accept then 'accepted' else 'declined' end::public.refund_request_status,
        answered_at = now(), note = words, refund_id = made
    where r.id = request.id
    returning * into request;
    if request.seller_id <> member then
        perform private.audit(
            'answer_refund_request', 'refund_request', request.id,
            jsonb_build_object('accepted', coalesce(accept, false))
        );
    end if;
    return request;
end
$function$;

create or replace function public.checkout (
    items jsonb default null::jsonb,
    provider public.payment_provider default 'stripe'::public.payment_provider,
    idempotency_key text default null::text,
    shipping_address jsonb default null::jsonb,
    notes text default null::text
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    buyer uuid := private.require_member();
    limits private.settings;
    wanted jsonb := nullif(checkout.items, 'null'::jsonb);
    wanted_address jsonb := nullif(checkout.shipping_address, 'null'::jsonb);
    earlier jsonb;
    lines private.order_line[];
    wrong private.order_line;
    total bigint;
    unique_items uuid[];
    new_order uuid;
    superseded uuid[];
    attempt uuid;
    item uuid;
    culprit text;
    expires timestamptz;
    new_payment uuid;
begin
    select * into strict limits from private.settings;
    -- One checkout of a buyer at a time: a double click, two tabs, or the same key twice line up here.
    perform pg_advisory_xact_lock(hashtextextended('checkout:' || buyer, 0));
    if not private.is_note(private.tidy_body(checkout.notes)) then
        perform private.fail('invalid_checkout', 'notes: at most 2,000 characters');
    end if;
    perform private.require_keys(
        wanted_address,
        '{name,line1,line2,city,state,postal_code,country,phone}', 'invalid_checkout'
    );
    if length(wanted_address::text) > 4000
        or exists (select from jsonb_each(wanted_address) as a where jsonb_typeof(a.value) not in ('string', 'null'))
    then
        perform private.fail('invalid_checkout', 'shipping_address: texts, at most 4,000 characters');
    end if;

    -- What is asked for: the given items, or the cart with what it showed.
    if wanted is null then
        wanted := coalesce((
            select jsonb_agg(jsonb_build_object(
                'item_id', c.item_id, 'quantity', c.quantity, 'offered_price_cents', c.offered_price_cents,
                'shown_price_cents', c.shown_price_cents
            ) order by c.added_at, c.item_id)
            from public.cart_items as c
            where c.user_id = buyer
        ), '[]');
        -- A cart that was paid for is empty: the same request again would look like another one.
        select k.answer into earlier from private.request_keys as k
        inner join public.orders as o on o.id = (k.answer ->> 'order_id')::uuid and o.completed_at is not null
        where k.caller = buyer and k.purpose = 'checkout' and k.key = checkout.idempotency_key;
        if earlier -> 'items' @> wanted then
            wanted := earlier -> 'items';
        end if;
    else
        if jsonb_typeof(wanted) <> 'array' then
            perform private.fail('invalid_checkout', 'items: not an array');
        end if;
        perform private.require_keys(w.line, '{item_id,quantity,offered_price_cents}', 'invalid_checkout')
        from jsonb_array_elements(wanted) as w (line);
        if exists (
            select from jsonb_array_elements(wanted) as w
            where
                private.is_uuid(w ->> 'item_id') is not true
                or coalesce(w ->> 'quantity', '1') !~ '^[0-9]{1,2}$'
                or coalesce(w ->> 'offered_price_cents', '0') !~ '^[0-9]{1,8}$'
        ) then
            perform private.fail('invalid_checkout', 'each item is {item_id, quantity?, offered_price_cents?}');
        end if;
        wanted := coalesce((
            select jsonb_agg(jsonb_build_object(
                'item_id', (w.line ->> 'item_id')::uuid, 'quantity', coalesce((w.line ->> 'quantity')::integer, 1),
                'offered_price_cents', (w.line ->> 'offered_price_cents')::bigint
            ) order by w.no)
            from jsonb_array_elements(wanted) with ordinality as w (line, no)
        ), '[]');
    end if;

    -- Where a retry ends: the order that was made, whatever has become of it.
    earlier := private.claim_request(
        buyer, 'checkout', checkout.idempotency_key,
        jsonb_build_object(
            'items', (
                select jsonb_agg(w.line - 'shown_price_cents' order by w.line ->> 'item_id')
                from jsonb_array_elements(wanted) as w (line)
            ),
            'provider', checkout.provider, 'shipping_address', wanted_address, 'notes', checkout.notes
        )
    );
    if earlier is not null then
        return private.order_summary((earlier ->> 'order_id')::uuid);
    end if;
    if checkout.provider is null or checkout.provider = 'paypal' then
        perform private.fail('provider_not_available', checkout.provider::text);
    end if;
    if jsonb_array_length(wanted) = 0 then
        perform private.fail('empty_checkout');
    elsif jsonb_array_length(wanted) > 50 then
        perform private.fail('too_many_items', jsonb_array_length(wanted)::text);
    end if;

    lines := array(select l from private.read_lines(buyer, wanted) as l);
    select l.* into wrong from unnest(lines) as l where l.problem is not null order by l.line_no limit 1;
    if wrong.problem is not null then
        perform private.fail(wrong.problem, wrong.detail);
    end if;
    select sum(l.unit_price_cents * l.quantity), array_agg(l.item_id order by l.item_id) filter (where l.is_unique)
    into total, unique_items
    from unnest(lines) as l;
    if total > private.highest_amount_cents() then
        perform private.fail('amount_out_of_range', format('at most %s cents', private.highest_amount_cents()));
    end if;

    insert into public.orders (user_id, subtotal_cents, total_cents, shipping_address, notes)
    values (buyer, total, total, wanted_address, checkout.notes)
    returning id into new_order;
    insert into public.order_items (
        order_id, line_no, item_id, buyer_id, seller_id, title, description, license_type, license_text,
        license_version, details, unit_price_cents, quantity, seller_tier, commission_bps
    )
    select
        new_order, l.line_no, l.item_id, buyer, l.seller_id, l.title, l.description, l.license_type, l.license_text,
        l.license_version, l.details, l.unit_price_cents, l.quantity, l.seller_tier, l.commission_bps
    from unnest(lines) as l;
    perform private.answer_request(
        buyer, 'checkout', checkout.idempotency_key, jsonb_build_object('order_id', new_order, 'items', wanted)
    );

    -- The buyer's own earlier attempts at these items give way: nobody pays twice for one thing. Their payments are
    -- locked first, as settlement does, and one-of-a-kind items are held one by one in id order: no two carts wait for
    -- each other. Anybody else's hold stays.
    superseded := array(
        select p.id from public.payments as p
        where
            p.user_id = buyer and p.is_open
            and p.order_id in (
                select i.order_id from public.order_items as i
                where i.buyer_id = buyer and i.item_id in (select l.item_id from unnest(lines) as l)
            )
        order by p.id
        for no key update
    );
    foreach item in array coalesce(unique_items, '{}') loop
        update private.reservations as r set order_id = new_order, created_at = now()
        where
            r.item_id = item
            and r.order_id in (select p.order_id from public.payments as p where p.id = any (superseded));
        continue when found;
        if not private.claim_item(item) then
            perform private.fail('item_reserved', item::text);
        end if;
        insert into private.reservations (item_id, order_id) values (item, new_order) on conflict do nothing;
    end loop;
    foreach attempt in array superseded loop
        perform private.stop_payment(attempt, 'superseded');
    end loop;
    if unique_items is not null then
        -- Sold or withdrawn while this waited for another buyer's hold to end.
        select c.id::text into culprit from public.catalog_items as c
        where c.id = any (unique_items) and not c.is_listed
        limit 1;
        if culprit is not null then
            perform private.fail('item_sold', culprit);
        end if;
        select u.item_id::text into culprit from unnest(unique_items) as u (item_id)
        where not exists (
            select from private.reservations as r where r.item_id = u.item_id and r.order_id = new_order
        )
        limit 1;
        if culprit is not null then
            perform private.fail('item_reserved', culprit);
        end if;
    end if;

    if total = 0 then
        if not private.deliver_order(new_order) then
            perform private.fail('item_not_available');
        end if;
        return private.order_summary(new_order);
    end if;

    expires := case
        when unique_items is null then now() + limits.payment_period
        when checkout.provider = 'wallet' then now() + limits.reservation_period
        else private.begin_holds(buyer, unique_items)
    end;
    insert into public.payments (
        user_id, order_id, amount_cents, provider, fee_estimate_cents, provider_fee_cents, expires_at, status
    ) values (
        buyer, new_order, total, checkout.provider,
        private.processing_fee(checkout.provider, total, 'USD'),
        case when checkout.provider = 'wallet' then 0 end,
        expires,
        case when checkout.provider = 'wallet' then 'processing' else 'requires_payment' end::public.payment_status
    ) returning id into new_payment;
    if checkout.provider = 'wallet' then
        perform private.lock_wallets(
            array(select i.seller_id from public.order_items as i where i.order_id = new_order) || buyer
        );
        if private.spendable_cents(buyer) < total then
            perform private.fail('insufficient_funds');
        end if;
        perform private.settle_payment(new_payment);
    end if;
    return private.order_summary(new_order);
end
$function$;

create or replace function public.connections (
    user_id uuid default auth.uid(),
    after_created_at timestamp with time zone default null::timestamp with time zone,
    after_id uuid default null::uuid,
    max_rows integer default 20
)
    returns table (
        id uuid,
        username text,
        display_name text,
        avatar_url text,
        created_at timestamp with time zone
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
begin
    if not private.can_see(connections.user_id) then
        perform private.fail('user_not_found', connections.user_id::text);
    end if;
    return query
    select p.id, p.username::text, p.display_name, p.avatar_url::text, f.created_at
    from public.follows as f
    inner join public.profiles as p on p.id = f.following_id
    where
        f.follower_id = connections.user_id
        and (f.created_at, f.following_id) < (
            coalesce(after_created_at, 'infinity'), coalesce(after_id, private.last_uuid())
        )
        -- A look-up for each follow, until the page is full.
        and (
            select b.created_at from public.follows as b
            where b.follower_id = f.following_id and b.following_id = connections.user_id
        ) is not null
        and private.is_visible_to(p.id, caller)
    order by f.created_at desc, f.following_id desc
    limit private.page_size(max_rows);
end
$function$;

create or replace function public.export_my_data (
    section text default null::text,
    after jsonb default null::jsonb
)
    returns jsonb
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := auth.uid();
    -- A page of every section is read well within the time a request may take.
    page_rows integer := case when export_my_data.section is null then 500 else 2000 end;
    part private.personal_data;
    page record;
    more jsonb := jsonb '{}';
    result jsonb;
begin
    -- Also for banned users: everybody may have a copy of what is stored about them.
    select jsonb_build_object(
        'exported_at', now(),
        'account', jsonb_build_object(
            'id', u.id, 'email', u.email, 'phone', u.phone, 'metadata', u.raw_user_meta_data,
            'created_at', u.created_at, 'last_sign_in_at', u.last_sign_in_at
        )
    ) into result
    from auth.users as u where u.id = caller;
    if result is null then
        perform private.fail('not_signed_in');
    end if;
    if jsonb_typeof(after) <> 'array' or after is not null and section is null then
        perform private.fail('section_not_found', left(format('after: %s', after), 100));
    end if;
    for part in
        select * from private.personal_data as d
        where
            (export_my_data.section is null or d.section = export_my_data.section)
            and d.condition is not null and to_regclass(d.relation) is not null
        order by d.section
    loop
        page := private.export_rows(
            part, caller, case when export_my_data.section is not null then after end, page_rows
        );
        result := result || jsonb_build_object(part.section, page.records);
        if page.next is not null then
            more := more || jsonb_build_object(part.section, page.next);
        end if;
    end loop;
    if export_my_data.section is not null and not result ? export_my_data.section then
        perform private.fail('section_not_found', left(export_my_data.section, 100));
    end if;
    return result || jsonb_build_object('more', more);
end
$function$;

create or replace function public.feed (
    before_created_at timestamp with time zone default null::timestamp with time zone,
    before_id uuid default null::uuid,
    max_rows integer default 20
)
    returns SETOF public.posts
    language plpgsql
    stable
    security definer
    rows 20
    set plan_cache_mode to 'force_generic_plan'
    set search_path to ''
    AS $function$
declare
    me private.viewer := private.viewer();
    page integer := private.page_size(max_rows);
    last_at timestamptz := coalesce(before_created_at, 'infinity');
    last_id uuid := coalesce(before_id, private.last_uuid());
begin
    return query
    with authors as materialized (
        select f.following_id as user_id, newest.created_at, newest.id
        from public.follows as f
        cross join lateral (
            select p.created_at, p.id from public.posts as p
            where
                p.user_id = f.following_id and p.group_id is null and p.audience <> 'owner'
                and (p.created_at, p.id) < (last_at, last_id)
            order by p.created_at desc, p.id desc
            limit 1
        ) as newest
        where f.follower_id = me.id and f.following_id <> all (me.blocked)
        order by newest.created_at desc, newest.id desc
        limit page
    ),
    entries as (
        select e.id, e.created_at
        from authors as a
        cross join lateral (
            select p.id, p.created_at from public.posts as p
            where
                p.user_id = a.user_id and p.group_id is null and p.audience <> 'owner'
                and (p.created_at, p.id) < (last_at, last_id)
            order by p.created_at desc, p.id desc
            limit page
        ) as e
        union all
        (
            select p.id, p.created_at from public.posts as p
            where p.user_id = me.id and p.group_id is null and (p.created_at, p.id) < (last_at, last_id)
            order by p.created_at desc, p.id desc
            limit page
        )
        union all
        select e.id, e.created_at
        from unnest(me.groups) as g (group_id)
        cross join lateral (
            select p.id, p.created_at from public.posts as p
            where
                p.group_id = g.group_id and (p.created_at, p.id) < (last_at, last_id)
                and (p.audience = 'group' and p.user_id <> all (me.blocked) or p.user_id = me.id)
            order by p.created_at desc, p.id desc
            limit page
        ) as e
    ),
    shown as (
        select e.id from entries as e
        order by e.created_at desc, e.id desc
        limit page
    )
    select p.* from shown as s
    inner join public.posts as p on p.id = s.id
    order by p.created_at desc, p.id desc;
end
$function$;

create or replace function public.inbox (
    before timestamp with time zone default null::timestamp with time zone,
    before_id uuid default null::uuid,
    max_rows integer default 20,
    requests boolean default false
)
    returns table (
        conversation_id uuid,
        is_group boolean,
        group_name text,
        group_avatar_url text,
        last_message_at timestamp with time zone,
        last_message_preview text,
        unread_count integer,
        participants jsonb
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    blocked uuid[] := array(select private.blocked_ids());
begin
    return query
    select
        e.conversation_id, e.is_group, c.group_name, c.group_avatar_url::text, e.last_message_at,
        e.last_message_preview, e.unread_count, o.participants
    from (
        select * from public.inbox_entries as i
        where
            i.user_id = caller and i.last_message_at is not null
            and i.state = (case when requests then 'requested' else 'accepted' end)::public.inbox_state
            and (i.last_message_at, i.conversation_id)
            < (coalesce(before, 'infinity'), coalesce(before_id, private.last_uuid()))
        order by i.last_message_at desc, i.conversation_id desc
        limit private.page_size(max_rows)
    ) as e
    inner join public.conversations as c on c.id = e.conversation_id
    cross join lateral (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', s.id, 'username', s.username, 'display_name', s.display_name, 'avatar_url', s.avatar_url
                )
                order by s.joined_at, s.id
            ), '[]'
        ) as participants
        from (
            select f.id, f.username, f.display_name, f.avatar_url, p.joined_at
            from public.conversation_participants as p
            inner join public.profiles as f on f.id = p.user_id
            where
                p.conversation_id = e.conversation_id and p.user_id <> caller
                and f.deleted_at is null and not f.is_banned and f.profile_visibility <> 'private'
                and f.id <> all(blocked)
            order by p.joined_at, p.user_id
            limit 4
        ) as s
    ) as o
    order by e.last_message_at desc, e.conversation_id desc;
end
$function$;

create or replace function public.liked_by_me (
    post public.posts
)
    returns boolean
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    if auth.uid() is null then
        return false;
    end if;
    return private.has_liked_post(post.id);
end
$function$;

create or replace function public.moderation_queue (
    after_created_at timestamp with time zone default null::timestamp with time zone,
    after_id uuid default null::uuid,
    max_rows integer default 20
)
    returns table (
        report_id uuid,
        target_type text,
        target_id uuid,
        author_id uuid,
        first_reported_at timestamp with time zone,
        reports_count bigint,
        reasons public.report_reason[],
        is_hidden boolean,
        content jsonb
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
begin
    perform private.require_admin();
    return query
    select
        r.id, r.target_type, r.target_id, e.author_id, r.created_at, open.reports_count, open.reasons,
        exists (
            select from public.hidden_content as h
            where h.target_type = r.target_type and h.target_id = r.target_id
        ),
        e.content
    from public.reports as r
    left join public.report_evidence as e on e.report_id = r.id
    cross join lateral (
        select count(*) as reports_count, array_agg(distinct o.reason order by o.reason) as reasons
        from public.reports as o
        where o.state = 'open' and o.target_type = r.target_type and o.target_id = r.target_id
    ) as open
    where
        r.state = 'open'
        and (after_created_at is null or (r.created_at, r.id) > (after_created_at, after_id))
        -- The first open report of each target stands for all of them.
        and not exists (
            select from public.reports as o
            where
                o.state = 'open' and o.target_type = r.target_type and o.target_id = r.target_id
                and (o.created_at, o.id) < (r.created_at, r.id)
        )
    order by r.created_at, r.id
    limit private.page_size(max_rows);
end
$function$;

create or replace function public.nearby_profiles (
    lat double precision,
    lon double precision,
    radius_km double precision default 50,
    after_distance_km integer default null::integer,
    after_id uuid default null::uuid,
    max_rows integer default 20
)
    returns table (
        id uuid,
        username text,
        display_name text,
        avatar_url text,
        city text,
        country text,
        distance_km integer
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    blocked uuid [] := array(select private.blocked_ids());
    here extensions.cube;
    radius double precision;
    box extensions.cube;
begin
    if coalesce(not (lat between -90 and 90 and lon between -180 and 180 and radius_km > 0), true) then
        perform private.fail('location_invalid');
    end if;
    here := private.sphere_point(lat, lon);
    radius := least(radius_km, 1000);
    -- Who shows a city is found within 10 km at least. Half an angle of the radius spans half the box; a little more,
    -- because the index rounds on its own.
    box := extensions.cube_enlarge(here, 2 * sin(greatest(radius, 10) / 6371 / 2) * 1.000001, 3);
    return query
    select f.id, p.username::text, p.display_name, p.avatar_url::text, f.city, f.country, f.distance
    from (
        select
            l.user_id as id, l.city, l.country,
            -- Rounded up: "within 10 km". All that is said of who shows a city comes from their cell.
            case
                when e.exactly then greatest(ceil(d.km), 1)
                else greatest(ceil(d.km / 10) * 10, 10)
            end::integer as distance
        from public.profile_locations as l
        cross join lateral (
            -- Plans are looked up for those who chose exact only.
            select case l.visibility when 'exact' then private.may_share_exactly(l.user_id) else false end as exactly
        ) as e
        cross join lateral (
            -- As distance_km(), which costs more to call than to write out.
            select 2 * 6371 * asin(least(
                extensions.cube_distance(here, case when e.exactly then l.spot else l.cell end) / 2, 1
            )) as km
        ) as d
        where
            (l.cell operator(extensions.<@) box or l.spot operator(extensions.<@) box)
            and d.km <= case when e.exactly then radius else greatest(radius, 10) end
            and l.user_id <> caller
            and l.user_id <> all (blocked)
    ) as f
    inner join public.profiles as p on p.id = f.id
    where
        p.deleted_at is null and not p.is_banned and p.is_confirmed
        and p.profile_visibility in ('public', 'members_only')
        and (
            after_distance_km is null
            or (f.distance, f.id)
            > (after_distance_km, coalesce(after_id, private.last_uuid()))
        )
    order by f.distance, f.id
    limit private.page_size(max_rows);
end
$function$;

create or replace function public.pay_refund_outside (
    refund_id uuid,
    reference text
)
    returns public.refunds
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    made uuid;
    refund public.refunds;
begin
    perform private.require_admin();
    made := private.pay_refund_outside(refund_id, reference, null);
    select * into strict refund from public.refunds as r where r.id = made;
    return refund;
end
$function$;

create or replace function public.pending_posts (
    group_id uuid,
    after_created_at timestamp with time zone default null::timestamp with time zone,
    after_id uuid default null::uuid,
    max_rows integer default 20
)
    returns SETOF public.posts
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.require_member();
    -- Not a moderator, no such group: nothing to see.
    if private.moderates(pending_posts.group_id) or private.is_admin() then
        return query
        select p.* from public.posts as p
        where
            p.group_id = pending_posts.group_id and not p.is_approved and not p.is_hidden
            and p.author_audience <> 'owner'
            and p.user_id <> all(array(select private.blocked_ids()))
            and (after_created_at is null or (p.created_at, p.id) > (after_created_at, coalesce(after_id, p.id)))
        order by p.created_at, p.id
        limit private.page_size(max_rows);
    end if;
end
$function$;

create or replace function public.propose_correction (
    provider public.payment_provider,
    change_cents bigint,
    account text,
    reason text,
    user_id uuid default null::uuid
)
    returns public.book_corrections
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    admin uuid := private.require_admin();
    correction public.book_corrections;
    words text := private.require_reason(propose_correction.reason);
begin
    if propose_correction.provider is null or propose_correction.provider = 'wallet'
        or coalesce(propose_correction.change_cents, 0) = 0
        or propose_correction.change_cents
        not between -private.highest_amount_cents() and private.highest_amount_cents()
        or coalesce(propose_correction.account, '') not in ('member', 'revenue', 'tax_payable', 'promotions', 'bank')
        or (propose_correction.account = 'member') <> (propose_correction.user_id is not null) then
        perform private.fail('correction_invalid');
    end if;
    if propose_correction.user_id = admin then
        perform private.fail('own_wallet');
    end if;
    if propose_correction.user_id is not null
        and not exists (select from public.wallets as w where w.user_id = propose_correction.user_id) then
        perform private.fail('wallet_not_found');
    end if;
    insert into public.book_corrections (provider, change_cents, account, user_id, reason, proposed_by)
    values (
        propose_correction.provider, propose_correction.change_cents, propose_correction.account,
        propose_correction.user_id, words, admin
    ) returning * into correction;
    perform private.audit('propose_correction', 'book_correction', correction.id, jsonb_build_object(
        'provider', correction.provider, 'change_cents', correction.change_cents, 'account', correction.account,
        'user_id', correction.user_id, 'reason', correction.reason
    ));
    return correction;
end
$function$;

create or replace function public.release_sale_review (
    transaction_id uuid,
    note text
)
    returns public.sale_reviews
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    admin uuid := private.require_admin();
    review public.sale_reviews;
    words text := private.require_reason(note);
begin
    select * into review from public.sale_reviews as r
    where r.transaction_id = release_sale_review.transaction_id
    for no key update;
    if review.transaction_id is null then
        perform private.fail('sale_not_found');
    end if;
    if review.seller_id = admin then
        perform private.fail('own_wallet');
    end if;
    if review.released_at is null then
        update public.sale_reviews as r set released_at = now() where r.transaction_id = review.transaction_id
        returning * into review;
        perform private.audit(
            'release_sale_review', 'transaction', review.transaction_id, jsonb_build_object('note', words)
        );
    end if;
    return review;
end
$function$;

create or replace function public.request_payout (
    amount_cents bigint,
    idempotency_key text default null::text
)
    returns public.payouts
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    limits private.settings;
    wallet public.wallets;
    payout public.payouts;
    answered jsonb := private.claim_request(
        member, 'request_payout', request_payout.idempotency_key,
        jsonb_build_object('amount_cents', request_payout.amount_cents)
    );
begin
    if answered is not null then
        select * into strict payout from public.payouts as p where p.id = (answered #>> '{}')::uuid;
        return payout;
    end if;
    select * into strict limits from private.settings;
    -- Everything below is decided under this lock: simultaneous requests come one after the other.
    select * into wallet from public.wallets as w where w.user_id = member for no key update;
    if request_payout.amount_cents is null or request_payout.amount_cents < limits.minimum_payout_cents
        or request_payout.amount_cents > private.highest_amount_cents() then
        perform private.fail('payout_amount_invalid', format(
            'between %s and %s cents', limits.minimum_payout_cents, private.highest_amount_cents()
        ));
    end if;
    if wallet.stripe_account_id is null or wallet.stripe_account_status is distinct from 'enabled' then
        perform private.fail('payouts_not_enabled');
    end if;
    if wallet.payouts_held_until > now() then
        perform private.fail('payouts_held', 'until ' || to_char(
            wallet.payouts_held_until at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
        ));
    end if;
    if exists (
        select from public.payouts as p
        where p.user_id = member and p.is_open
    ) then
        perform private.fail('payout_open');
    end if;
    if private.spendable_cents(member) < request_payout.amount_cents then
        perform private.fail('insufficient_funds');
    end if;

    insert into public.payouts (user_id, amount_cents, currency, destination)
    values (member, request_payout.amount_cents, wallet.currency, wallet.stripe_account_id)
    returning * into payout;
    perform ledger.post(
        'payout_requested', 'payout_requested:' || payout.id,
        array[
            ledger.leg(member, 'available', -payout.amount_cents),
            ledger.leg(null, 'payouts_in_transit', payout.amount_cents)
        ],
        payout.id, payout.currency
    );
    -- The limit is one for a day, too: five payouts just below it are one above it.
    if payout.amount_cents <= limits.payout_approval_above_cents and (
        select sum(p.amount_cents) from public.payouts as p
        where
            p.user_id = member and p.requested_at > now() - interval '24 hours'
            and (p.is_open or p.status = 'completed')
    ) <= limits.payout_daily_cents then
        payout := private.set_payout_approved(payout.id);
    end if;
    perform private.answer_request(member, 'request_payout', request_payout.idempotency_key, to_jsonb(payout.id));
    return payout;
end
$function$;

create or replace function public.request_refund (
    order_item_id uuid,
    reason text
)
    returns public.refund_requests
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    sale public.transactions;
    request public.refund_requests;
    words text := private.require_reason(request_refund.reason);
begin
    select * into sale from public.transactions as t
    where t.order_item_id = request_refund.order_item_id and t.buyer_id = member;
    if sale.id is null or sale.refunded_cents = sale.amount_total_cents then
        perform private.fail('sale_not_found');
    end if;
    perform private.expire_refund_requests(sale.order_item_id);
    insert into public.refund_requests as r (order_item_id, buyer_id, seller_id, reason, answer_by)
    select sale.order_item_id, member, sale.seller_id, words, now() + s.refund_answer_period
    from private.settings as s
    on conflict (order_item_id) where status = 'open' do nothing
    returning * into request;
    if request.id is null then
        perform private.fail('refund_request_open');
    end if;
    return request;
end
$function$;

create or replace function public.search_articles (
    query text,
    before_published_at timestamp with time zone default null::timestamp with time zone,
    before_id uuid default null::uuid,
    max_rows integer default 20
)
    returns SETOF public.articles
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    wanted tsquery := private.search_query(search_articles.query);
    member uuid := case when auth.uid() is not null then private.member_id() end;
begin
    if numnode(wanted) = 0 then
        return;
    end if;
    return query
    select a.* from public.articles as a
    where
        a.search @@ wanted and a.is_published
        and (a.audience = 'public' or (a.audience = 'members' and member is not null))
        and a.author_id <> all (
            case
                when auth.uid() is null then array(select private.hidden_ids()) else array(select private.blocked_ids())
            end
        )
        and (
            before_published_at is null
            or (a.published_at, a.id)
            < (before_published_at, coalesce(before_id, '00000000-0000-0000-0000-000000000000'))
        )
    order by a.published_at desc, a.id desc
    limit private.page_size(max_rows);
end
$function$;

create or replace function public.search_catalog (
    query text,
    kind text default null::text,
    category text default null::text,
    tags text[] default null::text[],
    min_price_cents bigint default null::bigint,
    max_price_cents bigint default null::bigint,
    before_published_at timestamp with time zone default null::timestamp with time zone,
    before_id uuid default null::uuid,
    max_rows integer default 20
)
    returns SETOF public.catalog_items
    language plpgsql
    stable
    security definer
    rows 20
    set plan_cache_mode to 'force_custom_plan'
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    words tsquery := private.search_query(search_catalog.query);
    term text := btrim(private.search_text(left(coalesce(search_catalog.query, ''), 100)));
    pattern text := '%' || regexp_replace(term, '([\\%_])', '\\\1', 'g') || '%';
    blocked uuid [] := case
        when auth.uid() is null then array(select private.hidden_ids()) else array(select private.blocked_ids())
    end;
    last_at timestamptz := coalesce(search_catalog.before_published_at, 'infinity');
    last_id uuid := coalesce(search_catalog.before_id, private.last_uuid());
    page integer := private.page_size(search_catalog.max_rows);
    by_words boolean := numnode(words) > 0 and exists (
        select from public.catalog_items as c where c.is_listed and c.seller_id <> all (blocked) and c.search @@ words
    );
begin
    -- Trigrams need three letters, and know nothing of words that are to be left out.
    if not by_words and (char_length(term) < 3 or words::text like '%!%') then
        return;
    end if;
    return query
    select c.* from public.catalog_items as c
    where
        c.is_listed
        and c.seller_id <> all (blocked)
        and (
            by_words and c.search @@ words
            or not by_words and (
                private.search_text(c.title) like pattern
                or term operator(extensions.<%) private.search_text(c.title)
            )
        )
        and (search_catalog.kind is null or c.kind = search_catalog.kind)
        and (search_catalog.category is null or c.category = search_catalog.category)
        and (search_catalog.tags is null or c.tags @> private.clean_tags(search_catalog.tags))
        and (search_catalog.min_price_cents is null or c.price_cents >= search_catalog.min_price_cents)
        and (search_catalog.max_price_cents is null or c.price_cents <= search_catalog.max_price_cents)
        and (c.published_at, c.id) < (last_at, last_id)
    order by c.published_at desc, c.id desc
    limit page;
end
$function$;

create or replace function public.search_groups (
    query text,
    after_score double precision default null::double precision,
    after_id uuid default null::uuid,
    max_rows integer default 20
)
    returns table (
        id uuid,
        name text,
        slug text,
        description text,
        avatar_url text,
        visibility public.group_visibility,
        members_count integer,
        is_verified boolean,
        score double precision
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    term text := private.search_term(query);
    words tsquery := private.search_query(term);
    term_end text := term || U&'\+10FFFF';
    tag text := private.tag_form(term);
    is_admin boolean := private.is_admin();
    -- Secret groups the caller may know of.
    known uuid [] := array(select private.my_group_ids() union all select private.my_invitations());
    fuzzy boolean := char_length(term) >= 3;
begin
    if coalesce(term, '') = '' then
        return;
    end if;
    return query
    with seen as not materialized (
        select g.* from public.groups as g where g.visibility <> 'secret' or g.id = any(known) or is_admin
    ),
    candidates as (
        (
            select g.id from seen as g
            where
                lower(g.name) operator(pg_catalog.~>=~) term
                and lower(g.name) operator(pg_catalog.~<~) term_end
            order by lower(g.name) using operator(pg_catalog.~<~), g.id
            limit 200
        )
        union all
        (
            select g.id from seen as g where g.tags @> array[tag]
            limit 200
        )
        union all
        (
            select g.id from seen as g
            where private.search_vector(g.name, null, null) operator(pg_catalog.@@) words
            limit 200
        )
        union all
        (
            select g.id from seen as g
            where
                fuzzy
                and term operator(extensions.<%) lower(g.name)
            limit 200
        )
    ),
    ranked as (
        select
            g.*,
            case
                when lower(g.name) = term then 3
                when starts_with(lower(g.name), term) then 2
                when g.tags @> array[tag] then 1
                when position(term in lower(g.name)) > 0 then 1
                else 0
            end
            + (
                extensions.word_similarity(term, lower(g.name)) + extensions.similarity(term, lower(g.name))
            )::double precision / 2
            -- Among equals the larger.
            + least(ln(1 + g.members_count) / 20, 0.9) as score
        from public.groups as g
        where g.id in (select c.id from candidates as c)
    )
    select
        r.id, r.name, r.slug, r.description, r.avatar_url::text, r.visibility, r.members_count, r.is_verified,
        r.score
    from ranked as r
    where
        after_score is null
        or (r.score, r.id) < (after_score, coalesce(after_id, private.last_uuid()))
    order by r.score desc, r.id desc
    limit private.page_size(max_rows);
end
$function$;

create or replace function public.search_posts (
    query text,
    before_created_at timestamp with time zone default null::timestamp with time zone,
    before_id uuid default null::uuid,
    max_rows integer default 20
)
    returns SETOF public.posts
    language plpgsql
    stable
    security definer
    rows 20
    set plan_cache_mode to 'force_custom_plan'
    set search_path to ''
    AS $function$
declare
    me private.viewer := private.viewer();
    page integer := private.page_size(max_rows);
    last_at timestamptz := coalesce(before_created_at, 'infinity');
    last_id uuid := coalesce(before_id, private.last_uuid());
    words tsquery := private.search_query(query);
begin
    if numnode(words) = 0 then
        return;
    end if;
    return query
    select p.* from public.posts as p
    where
        p.search @@ words
        and (p.created_at, p.id) < (last_at, last_id)
        and (
            (
                (
                    p.audience in ('public', 'members')
                    or p.audience = 'group' and p.group_id = any (me.groups)
                )
                and p.user_id <> all (me.blocked)
            )
            or p.user_id = me.id
            or me.is_admin
        )
    order by p.created_at desc, p.id desc
    limit page;
end
$function$;

create or replace function public.search_profiles (
    query text,
    after_score double precision default null::double precision,
    after_id uuid default null::uuid,
    max_rows integer default 20
)
    returns table (
        id uuid,
        username text,
        display_name text,
        avatar_url text,
        followers_count integer,
        score double precision
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    term text := private.search_term(query);
    words tsquery := private.search_query(term);
    -- Bytewise the last text that begins with it.
    term_end text := term || U&'\+10FFFF';
    caller uuid := private.member_id();
    is_admin boolean := private.is_admin();
    blocked uuid [] := array(select private.blocked_ids());
    -- A trigram needs three letters.
    fuzzy boolean := char_length(term) >= 3;
begin
    if coalesce(term, '') = '' then
        return;
    end if;
    return query
    with seen as not materialized (
        select p.* from public.profiles as p
        where
            p.deleted_at is null
            and (
                is_admin
                or p.id = caller
                or not p.is_banned and p.is_confirmed
                and (p.profile_visibility = 'public' or p.profile_visibility = 'members_only' and caller is not null)
                and p.id <> all(blocked)
            )
    ),
    candidates as (
        (select s.id from seen as s where s.username operator(extensions.=) term::extensions.citext)
        union all
        (
            select s.id from seen as s
            where
                lower(s.username::text) operator(pg_catalog.~>=~) term
                and lower(s.username::text) operator(pg_catalog.~<~) term_end
            order by lower(s.username::text) using operator(pg_catalog.~<~)
            limit 200
        )
        union all
        (
            select s.id from seen as s
            where
                lower(s.display_name) operator(pg_catalog.~>=~) term
                and lower(s.display_name) operator(pg_catalog.~<~) term_end
            order by lower(s.display_name) using operator(pg_catalog.~<~), s.id
            limit 200
        )
        union all
        (
            select s.id from seen as s
            where private.search_vector(s.display_name, null, null) operator(pg_catalog.@@) words
            limit 200
        )
        union all
        (
            select s.id from seen as s
            where
                fuzzy
                and (
                    term operator(extensions.<%) lower(s.username::text)
                    or term operator(extensions.<%) lower(s.display_name)
                )
            limit 200
        )
    ),
    ranked as (
        select
            p.id, p.username::text as username, p.display_name, p.avatar_url::text as avatar_url, p.followers_count,
            case
                when lower(p.username::text) = term then 4
                when starts_with(lower(p.username::text), term) then 3
                when starts_with(lower(p.display_name), term) then 2
                when position(term in lower(p.display_name)) > 0 then 1
                else 0
            end
            -- How well a word in the name fits, and how little else the name has.
            + (
                greatest(
                    extensions.word_similarity(term, lower(p.username::text)),
                    extensions.word_similarity(term, lower(p.display_name))
                )
                + greatest(
                    extensions.similarity(term, lower(p.username::text)),
                    extensions.similarity(term, lower(p.display_name))
                )
            )::double precision / 2
            -- Among equals the better known.
            + least(ln(1 + p.followers_count) / 20, 0.9) as score
        from public.profiles as p
        where p.id in (select c.id from candidates as c)
    )
    select r.id, r.username, r.display_name, r.avatar_url, r.followers_count, r.score
    from ranked as r
    where
        after_score is null
        or (r.score, r.id) < (after_score, coalesce(after_id, private.last_uuid()))
    order by r.score desc, r.id desc
    limit private.page_size(max_rows);
end
$function$;

create or replace function public.set_hold_limit (
    user_id uuid,
    max_holds integer default null::integer
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.require_admin();
    if not exists (select from public.profiles as p where p.id = set_hold_limit.user_id) then
        perform private.fail('user_not_found', set_hold_limit.user_id::text);
    end if;
    if set_hold_limit.max_holds is null then
        delete from private.hold_limits as l where l.user_id = set_hold_limit.user_id;
    else
        begin
            insert into private.hold_limits as l (user_id, max_holds)
            values (set_hold_limit.user_id, set_hold_limit.max_holds)
            on conflict on constraint hold_limits_pkey do update set max_holds = excluded.max_holds;
        exception when check_violation then
            perform private.fail('invalid_hold_limit');
        end;
    end if;
    perform private.audit(
        'set_hold_limit', 'profile', set_hold_limit.user_id,
        jsonb_build_object('max_holds', set_hold_limit.max_holds)
    );
end
$function$;

create or replace function public.shared_by_me (
    post public.posts
)
    returns boolean
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    if auth.uid() is null then
        return false;
    end if;
    return private.has_shared_post(post.id);
end
$function$;

create or replace function public.wallet_statement (
    before_journal bigint default null::bigint,
    max_rows integer default 50
)
    returns table (
        journal_id bigint,
        kind text,
        occurred_at timestamp with time zone,
        memo text,
        source_id uuid,
        available_cents bigint,
        pending_cents bigint,
        debt_cents bigint
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    member uuid := private.require_member();
begin
    return query
    select
        j.id, j.kind::text, j.occurred_at, j.memo, j.source_id,
        coalesce(sum(e.amount_cents) filter (where a.code = 'available'), 0)::bigint,
        coalesce(sum(e.amount_cents) filter (where a.code = 'pending'), 0)::bigint,
        coalesce(sum(-e.amount_cents) filter (where a.code = 'debt'), 0)::bigint
    from ledger.accounts as a
    inner join ledger.entries as e on e.account_id = a.id
    inner join ledger.journal as j on j.id = e.journal_id
    where a.owner_id = member and (before_journal is null or j.id < before_journal)
    group by j.id
    order by j.id desc
    limit private.page_size(max_rows, 50, 200);
end
$function$;

alter table public.poll_options
    add constraint poll_options_position_check check ((position > 0));

alter table public.posts
    add constraint posts_hidden_reason_check check (((hidden_reason IS NULL) OR is_hidden));

create view private.reactions with (security_invoker=true) AS  SELECT 'like'::text AS type,
    'post'::text AS kind,
    s.post_id AS related_id,
    s.user_id,
    s.created_at
   FROM public.post_likes s
UNION ALL
 SELECT 'like'::text AS type,
    'article'::text AS kind,
    s.article_id AS related_id,
    s.user_id,
    s.created_at
   FROM public.article_likes s
UNION ALL
 SELECT 'like'::text AS type,
    'comment'::text AS kind,
    s.comment_id AS related_id,
    s.user_id,
    s.created_at
   FROM public.comment_likes s
UNION ALL
 SELECT 'share'::text AS type,
    'post'::text AS kind,
    s.post_id AS related_id,
    s.user_id,
    s.created_at
   FROM public.post_shares s
UNION ALL
 SELECT 'favorite'::text AS type,
    NULL::text AS kind,
    s.item_id AS related_id,
    s.user_id,
    s.created_at
   FROM public.favorites s;

create view private.tag_carriers with (security_invoker=true) AS  SELECT DISTINCT t.id,
    u.name
   FROM (public.posts t
     CROSS JOIN LATERAL unnest(t.tags) u(name))
  WHERE (t.audience = 'public'::public.audience)
UNION ALL
 SELECT DISTINCT t.id,
    u.name
   FROM (public.articles t
     CROSS JOIN LATERAL unnest(t.tags) u(name))
  WHERE (t.audience = 'public'::public.audience)
UNION ALL
 SELECT DISTINCT t.id,
    u.name
   FROM (public.catalog_items t
     CROSS JOIN LATERAL unnest(t.tags) u(name))
  WHERE t.is_visible
UNION ALL
 SELECT DISTINCT t.id,
    u.name
   FROM (public.groups t
     CROSS JOIN LATERAL unnest(t.tags) u(name))
  WHERE (t.visibility <> 'secret'::public.group_visibility);

create trigger _refuse_birth_state
    after insert on private.mails
    for each row
    when ((new.state <> ALL ('{due}'::private.mail_state[])))
    execute function private.refuse_move('state');

create trigger _refuse_move_state
    after update on private.mails
    for each row
    when
        (((old.state IS DISTINCT FROM new.state) AND ((((old.state)::text || '>'::text) || (new.state)::text) <> ALL
        ('{dropped>due,due>dropped,due>failed,due>sent,failed>due,sent>due}'::text[]))))
    execute function private.refuse_move('state');

create trigger _refuse_birth_status
    after insert on private.webhook_events
    for each row
    when ((new.status <> ALL ('{pending}'::private.webhook_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on private.webhook_events
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{dead>pending,ignored>pending,pending>dead,pending>ignored,pending>processed}'::text[]))))
    execute function private.refuse_move('status');

create trigger forget_taken_back
    after delete on public.article_likes referencing OLD table as gone
    for each STATEMENT
    execute function private.forget_article_likes();

create trigger forget_hidden
    after update of is_hidden on public.articles
    for each row
    when ((new.is_hidden AND (NOT old.is_hidden)))
    execute function private.forget_hidden('author_id');

create trigger note_tags_deleted
    after delete on public.articles
    for each row
    when (((old.audience = 'public'::public.audience) AND (old.tags <> '{}'::text[])))
    execute function private.note_tags_of_articles();

create trigger note_tags_inserted
    after insert on public.articles
    for each row
    when (((new.audience = 'public'::public.audience) AND (new.tags <> '{}'::text[])))
    execute function private.note_tags_of_articles();

create trigger note_tags_updated
    after update of tags, is_published, is_hidden, author_audience on public.articles
    for each row
    when ((
        CASE
            WHEN (old.audience = 'public'::public.audience) THEN old.tags
            ELSE '{}'::text[]
        END <>
        CASE
            WHEN (new.audience = 'public'::public.audience) THEN new.tags
            ELSE '{}'::text[]
        END))
    execute function private.note_tags_of_articles();

create trigger _refuse_birth_status
    after insert on public.artworks
    for each row
    when ((new.status <> ALL ('{archived,draft,published}'::public.artwork_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.artworks
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{archived>draft,archived>published,archived>sold,draft>archived,draft>published,draft>sold,published>archived,published>draft,published>sold,sold>archived,sold>draft,sold>published}'::text[]))))
    execute function private.refuse_move('status');

create trigger forget_hidden
    after update of is_hidden on public.artworks
    for each row
    when ((new.is_hidden AND (NOT old.is_hidden)))
    execute function private.forget_hidden('seller_id');

create trigger tell_account_banned
    after insert on public.bans
    for each row
    execute function private.tell_account_banned();

create trigger tell_account_restored
    after delete on public.bans
    for each row
    execute function private.tell_account_restored();

create trigger _refuse_birth_status
    after insert on public.book_corrections
    for each row
    when ((new.status <> ALL ('{proposed}'::public.correction_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.book_corrections
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{proposed>approved,proposed>rejected}'::text[]))))
    execute function private.refuse_move('status');

create trigger note_tags_deleted
    after delete on public.catalog_items
    for each row
    when ((old.is_visible AND (old.tags <> '{}'::text[])))
    execute function private.note_tags_of_catalog_items();

create trigger note_tags_inserted
    after insert on public.catalog_items
    for each row
    when ((new.is_visible AND (new.tags <> '{}'::text[])))
    execute function private.note_tags_of_catalog_items();

create trigger note_tags_updated
    after update of tags, is_published, seller_is_active on public.catalog_items
    for each row
    when ((
        CASE
            WHEN old.is_visible THEN old.tags
            ELSE '{}'::text[]
        END <>
        CASE
            WHEN new.is_visible THEN new.tags
            ELSE '{}'::text[]
        END))
    execute function private.note_tags_of_catalog_items();

create trigger forget_taken_back
    after delete on public.comment_likes referencing OLD table as gone
    for each STATEMENT
    execute function private.forget_comment_likes();

create trigger count_shown
    after update on public.comments
    for each row
    when
        ((((old.audience <> 'owner'::public.audience) <> (new.audience <> 'owner'::public.audience)) AND
        (old.author_audience = new.author_audience) AND (num_nonnulls(new.post_id, new.item_id, new.article_id) > 0)))
    execute function private.count_shown_comments();

create trigger forget_hidden
    after update of is_hidden on public.comments
    for each row
    when ((new.is_hidden AND (NOT old.is_hidden)))
    execute function private.forget_hidden('user_id');

create trigger _refuse_birth_status
    after insert on public.custom_field_requests
    for each row
    when ((new.status <> ALL ('{pending}'::public.custom_field_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.custom_field_requests
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{pending>approved,pending>auto_approved,pending>rejected,rejected>pending}'::text[]))))
    execute function private.refuse_move('status');

create trigger tell_field_approved
    after update of status on public.custom_field_requests
    for each row
    when
        (((old.status = 'pending'::public.custom_field_status) AND (new.status <> ALL
        (ARRAY['pending'::public.custom_field_status, 'rejected'::public.custom_field_status]))))
    execute function private.tell_field_approved();

create trigger tell_field_rejected
    after update of status on public.custom_field_requests
    for each row
    when
        (((old.status = 'pending'::public.custom_field_status) AND (new.status =
        'rejected'::public.custom_field_status)))
    execute function private.tell_field_rejected();

create trigger forget_taken_back
    after delete on public.favorites referencing OLD table as gone
    for each STATEMENT
    execute function private.forget_favorites();

create trigger forget
    after delete on public.group_invitations
    for each row
    execute function private.forget_told('group_invitation', 'group_id');

create trigger tell_group_invitation
    after insert on public.group_invitations
    for each row
    execute function private.tell_group_invitation();

create trigger _refuse_birth_status
    after insert on public.group_members
    for each row
    when ((new.status <> ALL ('{active,banned,pending}'::public.group_member_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.group_members
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{active>banned,pending>active,pending>banned}'::text[]))))
    execute function private.refuse_move('status');

create trigger note_tags_deleted
    after delete on public.groups
    for each row
    when (((old.visibility <> 'secret'::public.group_visibility) AND (old.tags <> '{}'::text[])))
    execute function private.note_tags_of_groups();

create trigger note_tags_inserted
    after insert on public.groups
    for each row
    when (((new.visibility <> 'secret'::public.group_visibility) AND (new.tags <> '{}'::text[])))
    execute function private.note_tags_of_groups();

create trigger note_tags_updated
    after update of tags, visibility on public.groups
    for each row
    when ((
        CASE
            WHEN (old.visibility <> 'secret'::public.group_visibility) THEN old.tags
            ELSE '{}'::text[]
        END <>
        CASE
            WHEN (new.visibility <> 'secret'::public.group_visibility) THEN new.tags
            ELSE '{}'::text[]
        END))
    execute function private.note_tags_of_groups();

create trigger _refuse_birth_state
    after insert on public.inbox_entries
    for each row
    when ((new.state <> ALL ('{accepted,requested}'::public.inbox_state[])))
    execute function private.refuse_move('state');

create trigger _refuse_move_state
    after update on public.inbox_entries
    for each row
    when
        (((old.state IS DISTINCT FROM new.state) AND ((((old.state)::text || '>'::text) || (new.state)::text) <> ALL
        ('{declined>accepted,requested>accepted,requested>declined}'::text[]))))
    execute function private.refuse_move('state');

create trigger forget
    after delete on public.inbox_entries
    for each row
    execute function private.forget_told('message', 'conversation_id');

create trigger _refuse_birth_status
    after insert on public.orders
    for each row
    when ((new.status <> ALL ('{pending}'::public.order_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.orders
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{cancelled>completed,completed>partially_refunded,completed>refunded,partially_refunded>completed,partially_refunded>refunded,pending>cancelled,pending>completed,refunded>completed,refunded>partially_refunded}'::text[]))))
    execute function private.refuse_move('status');

create trigger tell_order
    after update of status on public.orders
    for each row
    when
        (((new.status = 'completed'::public.order_status) AND (old.status = ANY (ARRAY['pending'::public.order_status,
        'processing'::public.order_status, 'cancelled'::public.order_status]))))
    execute function private.tell_order();

create trigger tell_purchase
    after update of status on public.orders
    for each row
    when
        (((new.status = 'completed'::public.order_status) AND (old.status = ANY (ARRAY['pending'::public.order_status,
        'processing'::public.order_status, 'cancelled'::public.order_status]))))
    execute function private.tell_purchase();

create trigger _refuse_birth_status
    after insert on public.payments
    for each row
    when ((new.status <> ALL ('{processing,requires_payment}'::public.payment_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.payments
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{cancelled>succeeded,failed>cancelled,failed>processing,failed>succeeded,partially_refunded>refunded,partially_refunded>succeeded,processing>cancelled,processing>failed,processing>succeeded,refunded>partially_refunded,refunded>succeeded,requires_payment>cancelled,requires_payment>failed,requires_payment>processing,requires_payment>succeeded,succeeded>partially_refunded,succeeded>refunded}'::text[]))))
    execute function private.refuse_move('status');

create trigger _refuse_birth_status
    after insert on public.payouts
    for each row
    when ((new.status <> ALL ('{requested}'::public.payout_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.payouts
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{approved>cancelled,approved>processing,completed>returned,processing>completed,processing>failed,requested>approved,requested>cancelled}'::text[]))))
    execute function private.refuse_move('status');

create trigger tell_payout_failed
    after update of status on public.payouts
    for each row
    when
        (((new.status <> old.status) AND (new.status = ANY (ARRAY['failed'::public.payout_status,
        'cancelled'::public.payout_status,
        'returned'::public.payout_status])) AND (new.failure_reason IS DISTINCT FROM 'by_seller'::text)))
    execute function private.tell_payout_failed();

create trigger tell_payout_requested
    after insert on public.payouts
    for each row
    execute function private.tell_payout_requested();

create trigger tell_payout
    after update of status on public.payouts
    for each row
    when (((new.status <> old.status) AND (new.status = 'completed'::public.payout_status)))
    execute function private.tell_payout();

create trigger count_deleted
    after delete on public.post_likes referencing OLD table as changed
    for each STATEMENT
    execute function private.count_post_likes();

create trigger count_inserted
    after insert on public.post_likes referencing NEW table as changed
    for each STATEMENT
    execute function private.count_post_likes();

create trigger forget_taken_back
    after delete on public.post_likes referencing OLD table as gone
    for each STATEMENT
    execute function private.forget_post_likes();

create trigger count_deleted
    after delete on public.post_shares referencing OLD table as changed
    for each STATEMENT
    execute function private.count_post_shares();

create trigger count_inserted
    after insert on public.post_shares referencing NEW table as changed
    for each STATEMENT
    execute function private.count_post_shares();

create trigger forget_taken_back
    after delete on public.post_shares referencing OLD table as gone
    for each STATEMENT
    execute function private.forget_post_shares();

create trigger count_deleted
    after delete on public.posts referencing OLD table as changed
    for each STATEMENT
    execute function private.count_posts();

create trigger count_inserted
    after insert on public.posts referencing NEW table as changed
    for each STATEMENT
    execute function private.count_posts();

create trigger count_shown
    after update on public.posts
    for each row
    when
        ((((old.audience <> 'owner'::public.audience) <> (new.audience <> 'owner'::public.audience)) AND
        (old.author_audience = new.author_audience) AND (num_nonnulls(new.group_id) > 0)))
    execute function private.count_shown_posts();

create trigger forget_hidden
    after update of is_hidden on public.posts
    for each row
    when ((new.is_hidden AND (NOT old.is_hidden)))
    execute function private.forget_hidden('user_id');

create trigger note_tags_deleted
    after delete on public.posts
    for each row
    when (((old.audience = 'public'::public.audience) AND (old.tags <> '{}'::text[])))
    execute function private.note_tags_of_posts();

create trigger note_tags_inserted
    after insert on public.posts
    for each row
    when (((new.audience = 'public'::public.audience) AND (new.tags <> '{}'::text[])))
    execute function private.note_tags_of_posts();

create trigger note_tags_updated
    after update of content, tags, is_hidden, is_approved, author_audience, group_id on public.posts
    for each row
    when ((
        CASE
            WHEN (old.audience = 'public'::public.audience) THEN old.tags
            ELSE '{}'::text[]
        END <>
        CASE
            WHEN (new.audience = 'public'::public.audience) THEN new.tags
            ELSE '{}'::text[]
        END))
    execute function private.note_tags_of_posts();

create trigger _refuse_birth_status
    after insert on public.products
    for each row
    when ((new.status <> ALL ('{deleted,draft,paused}'::public.product_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.products
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{active>deleted,active>draft,active>paused,draft>active,draft>deleted,draft>paused,paused>active,paused>deleted,paused>draft}'::text[]))))
    execute function private.refuse_move('status');

create trigger forget_hidden
    after update of is_approved on public.products
    for each row
    when ((old.is_approved AND (NOT new.is_approved)))
    execute function private.forget_hidden('seller_id');

create trigger tell_role_changed
    after update of role on public.profiles
    for each row
    when (((new.role <> old.role) AND (new.deleted_at IS NULL)))
    execute function private.tell_role_changed();

create trigger _refuse_birth_status
    after insert on public.refund_requests
    for each row
    when ((new.status <> ALL ('{open}'::public.refund_request_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.refund_requests
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{open>accepted,open>declined,open>expired}'::text[]))))
    execute function private.refuse_move('status');

create trigger tell_refund_request_answered
    after update of status on public.refund_requests
    for each row
    when
        (((old.status = 'open'::public.refund_request_status) AND (new.status <> 'open'::public.refund_request_status)))
    execute function private.tell_refund_request_answered();

create trigger tell_refund_request
    after insert on public.refund_requests
    for each row
    execute function private.tell_refund_request();

create trigger _refuse_birth_status
    after insert on public.refunds
    for each row
    when ((new.status <> ALL ('{pending,requested,succeeded}'::public.refund_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.refunds
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{pending>cancelled,pending>failed,pending>succeeded,requested>cancelled,requested>failed,requested>pending,requested>succeeded,succeeded>cancelled,succeeded>failed}'::text[]))))
    execute function private.refuse_move('status');

create trigger _refuse_birth_state
    after insert on public.reports
    for each row
    when ((new.state <> ALL ('{open}'::public.report_state[])))
    execute function private.refuse_move('state');

create trigger _refuse_move_state
    after update on public.reports
    for each row
    when
        (((old.state IS DISTINCT FROM new.state) AND ((((old.state)::text || '>'::text) || (new.state)::text) <> ALL
        ('{open>dismissed,open>false_report,open>upheld}'::text[]))))
    execute function private.refuse_move('state');

create trigger tell_report_resolved
    after update of state on public.reports
    for each row
    when
        (((old.state = 'open'::public.report_state) AND (new.state = ANY (ARRAY['upheld'::public.report_state,
        'dismissed'::public.report_state]))))
    execute function private.tell_report_resolved();

create trigger _refuse_birth_status
    after insert on public.transactions
    for each row
    when ((new.status <> ALL ('{completed}'::public.transaction_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.transactions
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{completed>partially_refunded,completed>refunded,partially_refunded>completed,partially_refunded>refunded,refunded>completed,refunded>partially_refunded}'::text[]))))
    execute function private.refuse_move('status');

create trigger tell_earnings
    after update of release_journal_id on public.transactions
    for each row
    when (((old.release_journal_id IS NULL) AND (new.release_journal_id IS NOT NULL) AND (old.pending_cents > 0)))
    execute function private.tell_earnings();

create trigger tell_payout_account
    after update of stripe_account_id, stripe_account_status on public.wallets
    for each row
    when
        (((old.stripe_account_id IS DISTINCT FROM new.stripe_account_id) OR (old.stripe_account_status IS DISTINCT FROM
        new.stripe_account_status)))
    execute function private.tell_payout_account();

create policy article_likes_insert on public.article_likes
    for insert
    to authenticated
    with check (((user_id = ( SELECT private.member_id() AS member_id)) AND (( SELECT t.id
   FROM public.articles t
  WHERE (t.id = article_likes.article_id)) IS NOT NULL)));

create policy article_likes_select_anon on public.article_likes
    for select
    to anon
    using (((( select t.id
   from public.articles t
  where (t.id = article_likes.article_id)) is not null) AND private.can_see(user_id)));

create policy article_likes_select on public.article_likes
    for select
    to authenticated
    using (((( select t.id
   from public.articles t
  where (t.id = article_likes.article_id)) is
      not null) AND ((user_id = ( select private.member_id() as member_id)) or private.can_see(user_id))));

create policy comment_likes_insert on public.comment_likes
    for insert
    to authenticated
    with check (((user_id = ( SELECT private.member_id() AS member_id)) AND (( SELECT t.id
   FROM public.comments t
  WHERE ((t.id = comment_likes.comment_id) AND (t.user_id IS NOT NULL))) IS NOT NULL)));

create policy comment_likes_select_anon on public.comment_likes
    for select
    to anon
    using (((( select t.id
   from public.comments t
  where (t.id = comment_likes.comment_id)) is not null) AND private.can_see(user_id)));

create policy comment_likes_select on public.comment_likes
    for select
    to authenticated
    using (((( select t.id
   from public.comments t
  where (t.id = comment_likes.comment_id)) is
      not null) AND ((user_id = ( select private.member_id() as member_id)) or private.can_see(user_id))));

create policy post_likes_insert on public.post_likes
    for insert
    to authenticated
    with check (((user_id = ( SELECT private.member_id() AS member_id)) AND (( SELECT t.id
   FROM public.posts t
  WHERE (t.id = post_likes.post_id)) IS NOT NULL)));

create policy post_likes_select_anon on public.post_likes
    for select
    to anon
    using (((( select t.id
   from public.posts t
  where (t.id = post_likes.post_id)) is not null) AND private.can_see(user_id)));

create policy post_likes_select on public.post_likes
    for select
    to authenticated
    using (((( select t.id
   from public.posts t
  where (t.id = post_likes.post_id)) is
      not null) AND ((user_id = ( select private.member_id() as member_id)) or private.can_see(user_id))));

create policy post_shares_insert on public.post_shares
    for insert
    to authenticated
    with check (((user_id = ( SELECT private.member_id() AS member_id)) AND (( SELECT t.id
   FROM public.posts t
  WHERE (t.id = post_shares.post_id)) IS NOT NULL)));

create policy post_shares_select_anon on public.post_shares
    for select
    to anon
    using (((( select t.id
   from public.posts t
  where (t.id = post_shares.post_id)) is not null) AND private.can_see(user_id)));

create policy post_shares_select on public.post_shares
    for select
    to authenticated
    using (((( select t.id
   from public.posts t
  where (t.id = post_shares.post_id)) is
      not null) AND ((user_id = ( select private.member_id() as member_id)) or private.can_see(user_id))));

comment on column private.counters.counted is 'Condition on those that count, {row}; null: all.';

comment on column private.counters.source is 'Relation whose rows are counted, where 45_shapes built the counting.';

comment on column private.counters.source_key is 'Its column that says on what they count.';

comment on column private.hooks.otherwise is 'Statement for kinds without a function of their own, {relation} and {owner} replaced; null: each needs one. Several statements say return query themselves.';

comment on column public.article_likes.article_id is 'The liked article; one the caller can read.';

comment on column public.article_likes.user_id is 'Who liked it; the caller.';

comment on column public.articles.likes_count is 'Rows in article_likes; kept by triggers.';

comment on column public.catalog_items.favorites_count is 'Rows in favorites; kept by triggers.';

comment on column public.comment_likes.user_id is 'Who liked it; the caller.';

comment on column public.post_likes.user_id is 'Who liked it; the caller.';

comment on constraint bans_reason_check on public.bans is 'reason_required: The reason of a ban has 1 to 1,000 characters.';

comment on function private.count_article_likes() is 'Trigger: articles.likes_count. Built by make_counter().';

comment on function private.count_comment_likes() is 'Trigger: comments.likes_count. Built by make_counter().';

comment on function private.count_comments() is 'Trigger: comments_count of what these rows are about counts those that others than their author read. Built by make_shown_counter().';

comment on function private.count_favorites() is 'Trigger: catalog_items.favorites_count. Built by make_counter().';

comment on function private.count_post_likes() is 'Trigger: posts.likes_count. Built by make_counter().';

comment on function private.count_post_shares() is 'Trigger: posts.shares_count. Built by make_counter().';

comment on function private.count_posts() is 'Trigger: posts_count of what these rows are about counts those that others than their author read. Built by make_shown_counter().';

comment on function private.count_shown_comments() is 'Trigger: one was hidden or shown again. Built by make_shown_counter().';

comment on function private.count_shown_posts() is 'Trigger: one was hidden or shown again. Built by make_shown_counter().';

comment on function private.follow_author_of_articles(uuid, integer) is 'Step of advance_account(): author_audience of articles, and what counts them. Built by make_follow_author().';

comment on function private.follow_author_of_catalog_items(uuid, integer) is 'Step of advance_account(): seller_is_active of catalog_items, and what counts them. Built by make_follow_author().';

comment on function private.follow_author_of_comments(uuid, integer) is 'Step of advance_account(): author_audience of comments, and what counts them. Built by make_follow_author().';

comment on function private.follow_author_of_posts(uuid, integer) is 'Step of advance_account(): author_audience of posts, and what counts them. Built by make_follow_author().';

comment on function private.forget_article_likes() is 'Trigger on article_likes: whoever takes it back is no longer told of. Built by make_tell_reactions().';

comment on function private.forget_comment_likes() is 'Trigger on comment_likes: whoever takes it back is no longer told of. Built by make_tell_reactions().';

comment on function private.forget_favorites() is 'Trigger on favorites: whoever takes it back is no longer told of. Built by make_tell_reactions().';

comment on function private.forget_hidden() is 'Trigger (column of the owner): what becomes hidden is no longer told of to others, nor what was said there.';

comment on function private.forget_post_likes() is 'Trigger on post_likes: whoever takes it back is no longer told of. Built by make_tell_reactions().';

comment on function private.forget_post_shares() is 'Trigger on post_shares: whoever takes it back is no longer told of. Built by make_tell_reactions().';

comment on function private.forget_told() is 'Trigger (type, column of what it is about): what is over for somebody they are no longer told of.';

comment on function private.has_liked_article(uuid) is 'Whether the caller liked the article. Built by make_by_me().';

comment on function private.has_liked_comment(uuid) is 'Whether the caller liked the comment. Built by make_by_me().';

comment on function private.has_liked_post(uuid) is 'Whether the caller liked the post. Built by make_by_me().';

comment on function private.has_shared_post(uuid) is 'Whether the caller shared the post. Built by make_by_me().';

comment on function private.hold_article(uuid) is 'Keeps it from being deleted until the transaction ends; true. For policies on deleting what hangs on it. Built by make_hold().';

comment on function private.hold_comment(uuid) is 'Keeps it from being deleted until the transaction ends; true. For policies on deleting what hangs on it. Built by make_hold().';

comment on function private.hold_item(uuid) is 'Keeps it from being deleted until the transaction ends; true. For policies on deleting what hangs on it. Built by make_hold().';

comment on function private.hold_post(uuid) is 'Keeps it from being deleted until the transaction ends; true. For policies on deleting what hangs on it. Built by make_hold().';

comment on function private.is_field_name(text) is 'Whether a skill or a genre can have this name: 2 to 60 characters, no markup. Null for null.';

comment on function private.is_http_url(text) is 'Whether a text can be stored as an http_url.';

comment on function private.is_note(text) is 'Whether a tidied text can be what somebody has to say about an order, a report or a review: at most 2,000 characters. Null for null.';

comment on function private.is_reason(text) is 'Whether a tidied text can be the reason given to somebody: 1 to 500 characters. Null for null.';

comment on function private.is_smart_link(text) is 'Whether this is an address at rolink.me. Null for null.';

comment on function private.is_tag(text) is 'Whether a text in the form of a tag is one: 1 to 50 characters. Null for null.';

comment on function private.is_username(text) is 'Whether a username is made as they have to be, reserved or not. Null for null.';

comment on function private.note_tags_of_articles() is 'Trigger: tags of articles everybody may read. Built by make_tag_notes().';

comment on function private.note_tags_of_catalog_items() is 'Trigger: tags of catalog_items everybody may read. Built by make_tag_notes().';

comment on function private.note_tags_of_groups() is 'Trigger: tags of groups everybody may read. Built by make_tag_notes().';

comment on function private.note_tags_of_posts() is 'Trigger: tags of posts everybody may read. Built by make_tag_notes().';

comment on function private.post_evidence(uuid[], uuid) is 'Hook evidence: with the options of a poll.';

comment on function private.price_of(bigint, bigint, bigint, bigint) is 'What a piece costs a buyer who offers this much (null: no offer) for an item with this price and this minimum (null: not name-your-price) and agreed to pay so much at most (null: whatever it costs); the least they may offer; and what speaks against it: price_too_low, price_changed. The one rule of the cart and of checkout.';

comment on function private.product_lock(uuid[]) is 'Hook lock: hidden is what is not approved.';

comment on function private.require_reason(text) is 'The reason, tidied. Error: reason_required.';

comment on function private.tell_account_banned() is 'Trigger on bans: tells account_banned. Built by make_tell().';

comment on function private.tell_account_restored() is 'Trigger on bans: tells account_restored. Built by make_tell().';

comment on function private.tell_article_likes() is 'Trigger on article_likes: tells whose it is, once in 01:00:00. Built by make_tell_reactions().';

comment on function private.tell_comment_likes() is 'Trigger on comment_likes: tells whose it is, once in 01:00:00. Built by make_tell_reactions().';

comment on function private.tell_earnings() is 'Trigger on transactions: tells earnings. Built by make_tell().';

comment on function private.tell_favorites() is 'Trigger on favorites: tells whose it is, once in 01:00:00. Built by make_tell_reactions().';

comment on function private.tell_field_approved() is 'Trigger on custom_field_requests: tells field_approved. Built by make_tell().';

comment on function private.tell_field_rejected() is 'Trigger on custom_field_requests: tells field_rejected. Built by make_tell().';

comment on function private.tell_group_invitation() is 'Trigger on group_invitations: tells group_invitation. Built by make_tell().';

comment on function private.tell_order() is 'Trigger on orders: tells order. Built by make_tell().';

comment on function private.tell_payout() is 'Trigger on payouts: tells payout. Built by make_tell().';

comment on function private.tell_payout_account() is 'Trigger on wallets: tells payout_account. Built by make_tell().';

comment on function private.tell_payout_failed() is 'Trigger on payouts: tells payout_failed. Built by make_tell().';

comment on function private.tell_payout_requested() is 'Trigger on payouts: tells payout_requested. Built by make_tell().';

comment on function private.tell_post_likes() is 'Trigger on post_likes: tells whose it is, once in 01:00:00. Built by make_tell_reactions().';

comment on function private.tell_post_shares() is 'Trigger on post_shares: tells whose it is, once in 01:00:00. Built by make_tell_reactions().';

comment on function private.tell_purchase() is 'Trigger on orders: tells purchase. Built by make_tell().';

comment on function private.tell_refund_request() is 'Trigger on refund_requests: tells refund_request. Built by make_tell().';

comment on function private.tell_refund_request_answered() is 'Trigger on refund_requests: tells refund_request_answered. Built by make_tell().';

comment on function private.tell_report_resolved() is 'Trigger on reports: tells report_resolved. Built by make_tell().';

comment on function private.tell_role_changed() is 'Trigger on profiles: tells role_changed. Built by make_tell().';

comment on function public.liked_by_me(public.articles) is 'Computed field of articles: whether the caller liked the article. Built by make_by_me().';

comment on function public.liked_by_me(public.comments) is 'Computed field of comments: whether the caller liked the comment. Built by make_by_me().';

comment on function public.liked_by_me(public.posts) is 'Computed field of posts: whether the caller liked the post. Built by make_by_me().';

comment on function public.shared_by_me(public.posts) is 'Computed field of posts: whether the caller shared the post. Built by make_by_me().';

comment on table public.article_likes is 'Who liked which article. Readable with the article, as far as the reader sees whoever liked it, who alone writes it. Built by make_reactions().';

comment on table public.comment_likes is 'Who liked which comment. Readable with the comment, as far as the reader sees whoever liked it, who alone writes it. Built by make_reactions().';

comment on table public.post_likes is 'Who liked which post. Readable with the post, as far as the reader sees whoever liked it, who alone writes it. Built by make_reactions().';

comment on table public.post_shares is 'Who shared which post. Readable with the post, as far as the reader sees whoever shared it, who alone writes it. Built by make_reactions().';

comment on type public.payout_status is 'requested waits for an admin; approved for a worker; processing is at the provider; completed may still be returned.';

comment on view private.reactions is 'What notifications of several people speak of: who did what to which thing, and when; kind is null where things are of several. Built by make_tell_reactions().';

comment on view private.tag_carriers is 'Every tag of every row everybody may read, once. Built by make_tag_notes().';

revoke all on function private.count_posts() from public;

revoke all on function private.count_shown_comments() from public;

revoke all on function private.count_shown_posts() from public;

revoke all on function private.follow_author_of_articles(uuid, integer) from public;

revoke all on function private.follow_author_of_catalog_items(uuid, integer) from public;

revoke all on function private.forget_article_likes() from public;

revoke all on function private.forget_comment_likes() from public;

revoke all on function private.forget_favorites() from public;

revoke all on function private.forget_hidden() from public;

revoke all on function private.forget_post_likes() from public;

revoke all on function private.forget_post_shares() from public;

revoke all on function private.forget_told() from public;

revoke all on function private.has_liked_post(uuid) from public;

grant execute on function private.has_liked_post(uuid) to authenticated;

revoke all on function private.has_shared_post(uuid) from public;

grant execute on function private.has_shared_post(uuid) to authenticated;

revoke all on function private.is_field_name(text) from public;

grant execute on function private.is_field_name(text) to authenticated;

revoke all on function private.is_http_url(text) from public;

revoke all on function private.is_note(text) from public;

revoke all on function private.is_reason(text) from public;

revoke all on function private.is_smart_link(text) from public;

grant execute on function private.is_smart_link(text) to authenticated;

revoke all on function private.is_tag(text) from public;

grant execute on function private.is_tag(text) to authenticated;

revoke all on function private.is_username(text) from public;

grant execute on function private.is_username(text) to authenticated;

revoke all on function private.note_tags_of_articles() from public;

revoke all on function private.note_tags_of_catalog_items() from public;

revoke all on function private.note_tags_of_groups() from public;

revoke all on function private.note_tags_of_posts() from public;

revoke all on function private.post_evidence(uuid[], uuid) from public;

revoke all on function private.price_of(bigint, bigint, bigint, bigint) from public;

grant execute on function private.price_of(bigint, bigint, bigint, bigint) to authenticated;

revoke all on function private.product_lock(uuid[]) from public;

revoke all on function private.require_reason(text) from public;

revoke all on function private.tell_account_banned() from public;

revoke all on function private.tell_account_restored() from public;

revoke all on function private.tell_field_approved() from public;

revoke all on function private.tell_field_rejected() from public;

revoke all on function private.tell_group_invitation() from public;

revoke all on function private.tell_payout_failed() from public;

revoke all on function private.tell_payout_requested() from public;

revoke all on function private.tell_purchase() from public;

revoke all on function private.tell_refund_request_answered() from public;

revoke all on function private.tell_report_resolved() from public;

revoke all on function private.tell_role_changed() from public;

alter table public.articles
    add constraint articles_slug_check check ((private.is_slug(slug) AND (char_length(slug) <= 100)));

comment on constraint articles_slug_check on public.articles is 'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';

alter table public.artist_profiles
    add constraint artist_profiles_hourly_rate_cents_check check (private.is_price(hourly_rate_cents));

comment on constraint artist_profiles_hourly_rate_cents_check
    on public.artist_profiles is 'invalid_price: An hourly rate is 0 or from 50 to 99999999 cents.';

alter table public.artworks
    add constraint artworks_original_price_cents_check
        check (((original_price_cents > price_cents) AND (original_price_cents <= private.highest_amount_cents())));

comment on constraint artworks_original_price_cents_check on public.artworks is 'invalid_price: An original price is above the price, at most 99999999 cents.';

alter table public.artworks
    add constraint artworks_price_cents_check check (private.is_price(price_cents));

comment on constraint artworks_price_cents_check on public.artworks is 'invalid_price: A price is 0 or from 50 to 99999999 cents.';

alter table public.artworks
    add constraint artworks_slug_check check ((private.is_slug(slug) AND (char_length(slug) <= 100)));

comment on constraint artworks_slug_check on public.artworks is 'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';

alter table public.book_corrections
    add constraint book_corrections_change_check
        check (((change_cents <> 0) AND (abs(change_cents) <= private.highest_amount_cents())));

alter table public.book_corrections
    add constraint book_corrections_reason_check check (private.is_reason(reason));

alter table public.cart_items
    add constraint cart_items_offered_price_check
        check (((offered_price_cents >= 0) AND (offered_price_cents <= private.highest_amount_cents())));

comment on constraint cart_items_offered_price_check on public.cart_items is 'invalid_price: An offer is from 0 to 99999999 cents.';

alter table public.cart_items
    add constraint cart_items_shown_price_cents_check
        check (((shown_price_cents >= 0) AND (shown_price_cents <= private.highest_amount_cents())));

alter table public.catalog_items
    add constraint catalog_items_minimum_price_cents_check
        check
        (((minimum_price_cents IS NULL) OR (private.is_price(minimum_price_cents) AND (minimum_price_cents <=
        price_cents))));

alter table public.catalog_items
    add constraint catalog_items_price_cents_check check (private.is_price(price_cents));

alter table public.categories
    add constraint categories_slug_check check (private.is_slug((slug)::text));

alter table public.custom_field_requesters
    add constraint custom_field_requesters_spelling_check check (private.is_field_name(spelling));

alter table public.custom_field_requests
    add constraint custom_field_requests_field_value_check
        check ((private.is_field_name(field_value) AND (normal_value = private.normal_form(normal_value))));

alter table public.fee_schedules
    add constraint fee_schedules_fixed_check
        check (((fixed_cents >= 0) AND (fixed_cents <= private.highest_amount_cents())));

alter table public.genres
    add constraint genres_name_check check (private.is_field_name(name));

comment on constraint genres_name_check on public.genres is 'invalid_name: A genre has 2 to 60 characters and no markup.';

alter table public.genres
    add constraint genres_slug_check check (private.is_slug(slug));

alter table public.groups
    add constraint groups_slug_check check ((private.is_slug(slug) AND (char_length(slug) <= 100)));

alter table public.hidden_content
    add constraint hidden_content_reason_check check (private.is_reason(reason));

comment on constraint hidden_content_reason_check on public.hidden_content is 'reason_required: A reason has 1 to 500 characters.';

alter table public.order_items
    add constraint order_items_tax_check check (((tax_cents >= 0) AND (tax_cents <= private.highest_amount_cents())));

alter table public.order_items
    add constraint order_items_unit_price_check check (private.is_price(unit_price_cents));

alter table public.orders
    add constraint orders_amounts_check
        check
        (((subtotal_cents >= 0) AND (tax_cents >= 0) AND (shipping_cents >= 0) AND (discount_cents >= 0) AND
        (total_cents = (((subtotal_cents + tax_cents) + shipping_cents) - discount_cents)) AND
        ((total_cents >= 0) AND (total_cents <= private.highest_amount_cents()))));

alter table public.orders
    add constraint orders_notes_check check (private.is_note(notes));

alter table public.payments
    add constraint payments_amount_check
        check (((amount_cents >= 1) AND (amount_cents <= private.highest_amount_cents())));

alter table public.payments
    add constraint payments_fees_check
        check (
            fee_estimate_cents between 0 and private.highest_amount_cents()
            and provider_fee_cents between 0 and private.highest_amount_cents()
        );

alter table public.payouts
    add constraint payouts_amount_check
        check (((amount_cents >= 1) AND (amount_cents <= private.highest_amount_cents())));

alter table public.plans
    add constraint plans_prices_check
        check
        ((private.is_price(monthly_price_cents) AND private.is_price(annual_price_cents) AND ((monthly_price_cents = 0)
        = (annual_price_cents = 0))));

alter table public.product_approvals
    add constraint product_approvals_approval_notes_check check (private.is_note(approval_notes));

comment on constraint product_approvals_approval_notes_check
    on public.product_approvals is 'invalid_note: The notes of a review have at most 2,000 characters.';

alter table public.products
    add constraint products_minimum_price_cents_check check ((((minimum_price_cents IS
        NOT NULL) = allow_name_your_price) AND private.is_price(minimum_price_cents) AND
        (minimum_price_cents <= price_cents)));

comment on constraint products_minimum_price_cents_check on public.products is 'invalid_price: A minimum belongs to name-your-price: 0 or at least 50 cents, not above the price.';

alter table public.products
    add constraint products_price_cents_check check (private.is_price(price_cents));

comment on constraint products_price_cents_check on public.products is 'invalid_price: A price is 0 or from 50 to 99999999 cents.';

alter table public.products
    add constraint products_slug_check check ((private.is_slug(slug) AND (char_length(slug) <= 100)));

comment on constraint products_slug_check on public.products is 'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';

alter table public.profiles
    add constraint profiles_smart_link_check
        check ((private.is_smart_link(smart_link) AND (char_length(smart_link) <= 500)));

comment on constraint profiles_smart_link_check on public.profiles is 'invalid_smart_link: A smart link is a rolink.me address of at most 500 characters.';

alter table public.profiles
    add constraint profiles_username_check check (private.is_username((username)::text));

comment on constraint profiles_username_check on public.profiles is 'username_invalid: Usernames have 3 to 30 characters of A-Z a-z 0-9 _ . - and begin and end with none of . and -.';

alter table public.refund_requests
    add constraint refund_requests_note_check check (private.is_reason(note));

alter table public.refund_requests
    add constraint refund_requests_reason_check check (private.is_reason(reason));

alter table public.refunds
    add constraint refunds_amount_check
        check (((amount_cents >= 1) AND (amount_cents <= private.highest_amount_cents())));

alter table public.refunds
    add constraint refunds_reason_check check (private.is_reason(reason));

alter table public.reports
    add constraint reports_details_check check (private.is_note(details));

comment on constraint reports_details_check on public.reports is 'invalid_details: The details of a report have at most 2,000 characters.';

alter table public.reports
    add constraint reports_resolution_note_check check (private.is_note(resolution_note));

comment on constraint reports_resolution_note_check on public.reports is 'invalid_note: The note on a report has at most 2,000 characters.';

alter table public.skills
    add constraint skills_name_check check (private.is_field_name(name));

comment on constraint skills_name_check on public.skills is 'invalid_name: A skill has 2 to 60 characters and no markup.';

alter table public.skills
    add constraint skills_slug_check check (private.is_slug(slug));

alter table public.tags
    add constraint tags_name_check check (private.is_tag(name));

alter table public.tags
    add constraint tags_slug_check check (private.is_slug(slug));

-- What the registries of pages say now.
update private.counters set truth = 'select t.article_id, count(*) from public.article_likes as t where t.article_id is not null group by 1', source = 'public.article_likes', source_key = 'article_id' where counter = 'articles.likes_count';
update private.counters set truth = 'select t.group_id, count(*) from public.posts as t where t.group_id is not null and (t.audience <> ''owner'') group by 1', source = 'public.posts', source_key = 'group_id', counted = '{row}.audience <> ''owner''' where counter = 'groups.posts_count';
update private.counters set truth = 'select t.post_id, count(*) from public.post_likes as t where t.post_id is not null group by 1', source = 'public.post_likes', source_key = 'post_id' where counter = 'posts.likes_count';
update private.counters set truth = 'select t.post_id, count(*) from public.post_shares as t where t.post_id is not null group by 1', source = 'public.post_shares', source_key = 'post_id' where counter = 'posts.shares_count';
update private.counters set truth = 'select t.post_id, count(*) from public.comments as t where t.post_id is not null and (t.audience <> ''owner'') group by 1', source = 'public.comments', source_key = 'post_id', counted = '{row}.audience <> ''owner''' where counter = 'posts.comments_count';
update private.counters set truth = 'select t.item_id, count(*) from public.comments as t where t.item_id is not null and (t.audience <> ''owner'') group by 1', source = 'public.comments', source_key = 'item_id', counted = '{row}.audience <> ''owner''' where counter = 'catalog_items.comments_count';
update private.counters set truth = 'select t.article_id, count(*) from public.comments as t where t.article_id is not null and (t.audience <> ''owner'') group by 1', source = 'public.comments', source_key = 'article_id', counted = '{row}.audience <> ''owner''' where counter = 'articles.comments_count';
update private.counters set truth = 'select t.comment_id, count(*) from public.comment_likes as t where t.comment_id is not null group by 1', source = 'public.comment_likes', source_key = 'comment_id' where counter = 'comments.likes_count';
update private.counters set truth = 'select t.item_id, count(*) from public.favorites as t where t.item_id is not null group by 1', source = 'public.favorites', source_key = 'item_id' where counter = 'catalog_items.favorites_count';
update private.counters set truth = 'select t.id, count(*) from private.tag_carriers as c inner join public.tags as t on t.name = c.name group by t.id' where counter = 'tags.usage_count';
update private.error_codes set description = 'A one-of-a-kind item is held during another buyer''s checkout. It is sold unless they give up: try later.' where code = 'item_reserved';
update private.hooks set otherwise = 'perform private.hold_each(''{relation}'', ids); return query select t.id, t.is_hidden from {relation} as t where t.id = any (ids)' where hook = 'lock';
update private.standing_steps set statement = 'select private.follow_author_of_catalog_items($1, $2)' where step = 'catalog_items';
update private.standing_steps set statement = 'select private.follow_author_of_articles($1, $2)' where step = 'articles';
insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('private.mails', 'state', null, 'due', 'something is to be told'),
('private.mails', 'state', 'dropped', 'due', 'again, by an operator'),
('private.mails', 'state', 'due', 'dropped', 'nothing to tell, or nobody to tell it to'),
('private.mails', 'state', 'due', 'failed', 'refused for good, or too old'),
('private.mails', 'state', 'due', 'sent', 'the mail server took it'),
('private.mails', 'state', 'failed', 'due', 'again, by an operator'),
('private.mails', 'state', 'sent', 'due', 'again, by an operator'),
('private.webhook_events', 'status', null, 'pending', 'received'),
('private.webhook_events', 'status', 'dead', 'pending', 'replayed, or what it waited for arrived'),
('private.webhook_events', 'status', 'ignored', 'pending', 'replayed'),
('private.webhook_events', 'status', 'pending', 'dead', 'contradicts the books, or failed too often'),
('private.webhook_events', 'status', 'pending', 'ignored', 'not about us'),
('private.webhook_events', 'status', 'pending', 'processed', 'applied'),
('public.artworks', 'status', null, 'archived', 'kept from the start'),
('public.artworks', 'status', null, 'draft', 'its seller begins'),
('public.artworks', 'status', null, 'published', 'on show from the start'),
('public.artworks', 'status', 'archived', 'draft', 'by its seller'),
('public.artworks', 'status', 'archived', 'published', 'by its seller'),
('public.artworks', 'status', 'archived', 'sold', 'reserved while it was published, and paid'),
('public.artworks', 'status', 'draft', 'archived', 'by its seller, or the seller left'),
('public.artworks', 'status', 'draft', 'published', 'by its seller'),
('public.artworks', 'status', 'draft', 'sold', 'reserved while it was published, and paid'),
('public.artworks', 'status', 'published', 'archived', 'by its seller, or the seller left'),
('public.artworks', 'status', 'published', 'draft', 'by its seller'),
('public.artworks', 'status', 'published', 'sold', 'paid'),
('public.artworks', 'status', 'sold', 'archived', 'a full refund, also when the seller left'),
('public.artworks', 'status', 'sold', 'draft', 'a full refund gives back what it was'),
('public.artworks', 'status', 'sold', 'published', 'a full refund gives back what it was'),
('public.book_corrections', 'status', null, 'proposed', 'propose_correction()'),
('public.book_corrections', 'status', 'proposed', 'approved', 'by another admin, and booked'),
('public.book_corrections', 'status', 'proposed', 'rejected', 'decide_correction()'),
('public.custom_field_requests', 'status', null, 'pending', 'somebody asks first'),
('public.custom_field_requests', 'status', 'pending', 'approved', 'approve_custom_field()'),
('public.custom_field_requests', 'status', 'pending', 'auto_approved', 'enough members asked'),
('public.custom_field_requests', 'status', 'pending', 'rejected', 'reject_custom_field()'),
('public.custom_field_requests', 'status', 'rejected', 'pending', 'reopen_custom_field()'),
('public.group_members', 'status', null, 'active', 'joins, or made the group'),
('public.group_members', 'status', null, 'banned', 'kept out before they ever joined'),
('public.group_members', 'status', null, 'pending', 'asks to join'),
('public.group_members', 'status', 'active', 'banned', 'ban_member()'),
('public.group_members', 'status', 'pending', 'active', 'approved or invited'),
('public.group_members', 'status', 'pending', 'banned', 'ban_member()'),
('public.inbox_entries', 'state', null, 'accepted', 'began it, or knows who did'),
('public.inbox_entries', 'state', null, 'requested', 'a stranger began it'),
('public.inbox_entries', 'state', 'declined', 'accepted', 'accepts or writes after all'),
('public.inbox_entries', 'state', 'requested', 'accepted', 'accepts, answers, or follows the sender'),
('public.inbox_entries', 'state', 'requested', 'declined', 'decline_message_request()'),
('public.orders', 'status', null, 'pending', 'checkout()'),
('public.orders', 'status', 'cancelled', 'completed', 'paid late, and still to be had'),
('public.orders', 'status', 'completed', 'partially_refunded', 'a part went back'),
('public.orders', 'status', 'completed', 'refunded', 'all went back'),
('public.orders', 'status', 'partially_refunded', 'completed', 'the refund failed after it had succeeded'),
('public.orders', 'status', 'partially_refunded', 'refunded', 'the rest went back'),
('public.orders', 'status', 'pending', 'cancelled', 'given up, ran out, or no longer to be had'),
('public.orders', 'status', 'pending', 'completed', 'paid, or free'),
('public.orders', 'status', 'refunded', 'completed', 'its only refund failed later'),
('public.orders', 'status', 'refunded', 'partially_refunded', 'one of its refunds failed later'),
('public.payments', 'status', null, 'processing', 'from a wallet, or the second charge of one intent'),
('public.payments', 'status', null, 'requires_payment', 'checkout()'),
('public.payments', 'status', 'cancelled', 'succeeded', 'taken late, which may go back at once'),
('public.payments', 'status', 'failed', 'cancelled', 'cancelled at the provider'),
('public.payments', 'status', 'failed', 'processing', 'the provider works on another charge'),
('public.payments', 'status', 'failed', 'succeeded', 'another charge was taken'),
('public.payments', 'status', 'partially_refunded', 'refunded', 'the rest went back'),
('public.payments', 'status', 'partially_refunded', 'succeeded', 'the refund failed after it had succeeded'),
('public.payments', 'status', 'processing', 'cancelled', 'cancelled at the provider'),
('public.payments', 'status', 'processing', 'failed', 'the charge was declined'),
('public.payments', 'status', 'processing', 'succeeded', 'the money was taken'),
('public.payments', 'status', 'refunded', 'partially_refunded', 'one of its refunds failed later'),
('public.payments', 'status', 'refunded', 'succeeded', 'its only refund failed later'),
('public.payments', 'status', 'requires_payment', 'cancelled', 'never started, or cancelled at the provider'),
('public.payments', 'status', 'requires_payment', 'failed', 'a charge was declined'),
('public.payments', 'status', 'requires_payment', 'processing', 'the provider works on it'),
('public.payments', 'status', 'requires_payment', 'succeeded', 'the money was taken'),
('public.payments', 'status', 'succeeded', 'partially_refunded', 'a part went back'),
('public.payments', 'status', 'succeeded', 'refunded', 'all went back, or the charge was taken back'),
('public.payouts', 'status', null, 'requested', 'request_payout()'),
('public.payouts', 'status', 'approved', 'cancelled', 'called off, or the wallet changed since'),
('public.payouts', 'status', 'approved', 'processing', 'a worker sends it'),
('public.payouts', 'status', 'completed', 'returned', 'the provider took all of it back'),
('public.payouts', 'status', 'processing', 'completed', 'the provider confirmed the transfer'),
('public.payouts', 'status', 'processing', 'failed', 'the provider refused for good'),
('public.payouts', 'status', 'requested', 'approved', 'at once up to the limit, by an admin above'),
('public.payouts', 'status', 'requested', 'cancelled', 'by its seller or an admin'),
('public.products', 'status', null, 'deleted', 'made for nobody'),
('public.products', 'status', null, 'draft', 'its seller begins'),
('public.products', 'status', null, 'paused', 'made for later'),
('public.products', 'status', 'active', 'deleted', 'by its seller, or the seller left'),
('public.products', 'status', 'active', 'draft', 'by its seller'),
('public.products', 'status', 'active', 'paused', 'by its seller'),
('public.products', 'status', 'draft', 'active', 'has files, goes on sale'),
('public.products', 'status', 'draft', 'deleted', 'by its seller, or the seller left'),
('public.products', 'status', 'draft', 'paused', 'by its seller'),
('public.products', 'status', 'paused', 'active', 'goes on sale again'),
('public.products', 'status', 'paused', 'deleted', 'by its seller, or the seller left'),
('public.products', 'status', 'paused', 'draft', 'by its seller'),
('public.refund_requests', 'status', null, 'open', 'request_refund()'),
('public.refund_requests', 'status', 'open', 'accepted', 'answer_refund_request()'),
('public.refund_requests', 'status', 'open', 'declined', 'answer_refund_request()'),
('public.refund_requests', 'status', 'open', 'expired', 'nobody answered in time'),
('public.refunds', 'status', null, 'pending', 'made at the provider'),
('public.refunds', 'status', null, 'requested', 'asked for here'),
('public.refunds', 'status', null, 'succeeded', 'taken back with a declined charge'),
('public.refunds', 'status', 'pending', 'cancelled', 'cancelled at the provider'),
('public.refunds', 'status', 'pending', 'failed', 'the bank refused it'),
('public.refunds', 'status', 'pending', 'succeeded', 'paid back'),
('public.refunds', 'status', 'requested', 'cancelled', 'not sent, or cancelled at the provider'),
('public.refunds', 'status', 'requested', 'failed', 'refused by the provider'),
('public.refunds', 'status', 'requested', 'pending', 'the provider works on it'),
('public.refunds', 'status', 'requested', 'succeeded', 'paid back'),
('public.refunds', 'status', 'succeeded', 'cancelled', 'cancelled at the provider'),
('public.refunds', 'status', 'succeeded', 'failed', 'the bank sent it back'),
('public.reports', 'state', null, 'open', 'report_content()'),
('public.reports', 'state', 'open', 'dismissed', 'resolve_report(), or the account it is about left'),
('public.reports', 'state', 'open', 'false_report', 'resolve_report()'),
('public.reports', 'state', 'open', 'upheld', 'resolve_report()'),
('public.transactions', 'status', null, 'completed', 'its payment was settled'),
('public.transactions', 'status', 'completed', 'partially_refunded', 'a part went back'),
('public.transactions', 'status', 'completed', 'refunded', 'all went back'),
('public.transactions', 'status', 'partially_refunded', 'completed', 'the refund failed after it had succeeded'),
('public.transactions', 'status', 'partially_refunded', 'refunded', 'the rest went back'),
('public.transactions', 'status', 'refunded', 'completed', 'its only refund failed later'),
('public.transactions', 'status', 'refunded', 'partially_refunded', 'one of its refunds failed later');
