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
