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
