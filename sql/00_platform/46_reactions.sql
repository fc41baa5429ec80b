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
