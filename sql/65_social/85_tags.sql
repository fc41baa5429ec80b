-- Which tags there are, how much they are used and which of them are taking off. Tags stay words in the rows that carry
-- them (text arrays); a row here exists exactly while something that everybody may read carries the word, so that no
-- tag tells of what is private, hidden, in a group or a draft.
--
-- Counting a popular tag must not make everybody who uses it wait for each other, nor may the locks of several tags
-- meet other locks in a circle. So the sources only note what changed (row triggers whose conditions cost a like
-- nothing), and the notes of a transaction are counted when it commits: tag by tag in the order of their ids, after
-- everything else it did.

create table public.tags (
    id uuid not null default gen_random_uuid(),
    name text not null,
    slug text not null,
    usage_count integer not null default 0,
    trending_score numeric(10, 2) not null default 0,
    created_at timestamptz not null default now(),
    constraint tags_pkey primary key (id),
    constraint tags_name_key unique (name),
    constraint tags_slug_key unique (slug),
    constraint tags_name_check check (private.is_tag(name)),
    constraint tags_slug_check check (private.is_slug(slug)),
    constraint tags_counts_check check (usage_count >= 0 and trending_score >= 0)
);

-- Completion of what somebody types: name=like.roc*
create index tags_name_prefix_idx on public.tags (name text_pattern_ops);
create index tags_usage_count_id_idx on public.tags (usage_count desc, id);
create index tags_trending_score_id_idx on public.tags (trending_score desc, id);

comment on table public.tags is
'Tags in use on what everybody may read: public posts, visible items, published articles, groups that are not secret. '
'Read by everybody, written by triggers.';
comment on column public.tags.name is 'The tag as rows carry it: lower case, without #, at most 50 characters.';
comment on column public.tags.slug is 'Address part, unique; made from the name.';
comment on column public.tags.usage_count is 'How many publicly readable rows carry it; kept by triggers.';
comment on column public.tags.trending_score is
'How many people used it lately, each counted once a day and half as much after every settings.trending_half_life. '
'Written by update_trending_tags().';

create table private.tag_changes (
    transaction xid8 not null,
    id bigint not null generated always as identity,
    user_id uuid,
    added text[] not null,
    removed text[] not null,
    constraint tag_changes_pkey primary key (transaction, id)
);
comment on table private.tag_changes is
'What the transactions under way did to tags; each counts and removes its own rows when it commits.';
comment on column private.tag_changes.transaction is 'Who noted it.';
comment on column private.tag_changes.user_id is
'Whose use of the added tags this is; null when they only came back into view, for example after a ban.';
comment on column private.tag_changes.added is 'Tags that a row everybody may read carries now.';
comment on column private.tag_changes.removed is 'Tags that no longer are on such a row.';
alter table private.tag_changes enable row level security;

create table private.tag_uses (
    tag_id uuid not null,
    day date not null,
    user_id uuid not null,
    used_at timestamptz not null default now(),
    constraint tag_uses_pkey primary key (tag_id, day, user_id),
    constraint tag_uses_tag_id_fkey foreign key (tag_id) references public.tags (id) on delete cascade,
    constraint tag_uses_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade
);

create index tag_uses_user_id_idx on private.tag_uses (user_id);
create index tag_uses_used_at_idx on private.tag_uses (used_at);

comment on table private.tag_uses is
'Who used a tag on which day, at most once each: what trends is what many use, not what one repeats. Forgotten when it '
'weighs nothing any more.';
comment on column private.tag_uses.day is 'Day of the use, UTC.';
comment on column private.tag_uses.used_at is 'When, the first time that day.';
alter table private.tag_uses enable row level security;

create function private.note_tags(user_id uuid, before text[], after text[]) returns void
language sql
security definer
set search_path = ''
as $$
    insert into private.tag_changes (transaction, user_id, added, removed)
    select pg_current_xact_id(), note_tags.user_id, n.added, n.removed
    from (
        select
            array(select distinct a.tag from unnest(after) as a (tag) where a.tag <> all (before)) as added,
            array(select distinct b.tag from unnest(before) as b (tag) where b.tag <> all (after)) as removed
    ) as n
    where n.added <> '{}' or n.removed <> '{}'
$$;
comment on function private.note_tags(uuid, text[], text[]) is
'Notes for the end of the transaction that a row everybody may read carried some tags and now carries others.';

select private.make_tag_notes(
    'public.posts', 'user_id', '{row}.audience = ''public''',
    'content, tags, is_hidden, is_approved, author_audience, group_id', 'author_audience'
);
select private.make_tag_notes(
    'public.articles', 'author_id', '{row}.audience = ''public''', 'tags, is_published, is_hidden, author_audience',
    'author_audience'
);
select private.make_tag_notes(
    'public.catalog_items', 'seller_id', '{row}.is_visible', 'tags, is_published, seller_is_active', 'seller_is_active'
);
select private.make_tag_notes('public.groups', 'owner_id', '{row}.visibility <> ''secret''', 'tags, visibility');

create function private.hold_tags(names text[]) returns uuid[]
language plpgsql
security definer
set search_path = ''
as $$
declare
    held uuid [];
begin
    -- A tag can go away between being found or made here and being held; then it is made again.
    for attempt in 1..20 loop
        held := array(select t.id from public.tags as t where t.name = any (names) order by t.name for key share);
        exit when cardinality(held) = cardinality(names);
        -- Two names can make one slug, and some make none: then it ends with something of the name's own.
        insert into public.tags (name, slug)
        select n.name, nullif(private.slugify(n.name), '')
        from unnest(names) as n (name)
        where
            private.slugify(n.name) <> ''
            and not exists (select from public.tags as t where t.name = n.name or t.slug = private.slugify(n.name))
        order by n.name
        on conflict do nothing;
        insert into public.tags (name, slug)
        select n.name, concat_ws('-', nullif(private.slugify(n.name), ''), left(md5(n.name), 10))
        from unnest(names) as n (name)
        where not exists (select from public.tags as t where t.name = n.name)
        order by n.name
        on conflict do nothing;
    end loop;
    if cardinality(held) <> cardinality(names) then
        -- A transaction that must not see what others did meanwhile. Not as a serialization failure: PostgREST would
        -- repeat the request for ever.
        perform private.fail('tags_changed');
    end if;
    return held;
end
$$;
comment on function private.hold_tags(text[]) is
'Ids of these tags, made if need be, in the order of the names; none of them goes away before the transaction ends.';

create function private.count_tags() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    names text [];
    tags uuid [];
    changes integer [];
    users uuid [];
    used text [];
    changed record;
    counted integer;
begin
    -- The first note of the transaction counts them all, the others are gone. Each looks for itself alone: a search for
    -- any would wade through all that are gone, for each of the thousands a ban can make.
    if not exists (select from private.tag_changes as c where c.transaction = new.transaction and c.id = new.id) then
        return null;
    end if;
    with taken as (
        delete from private.tag_changes as c where c.transaction = pg_current_xact_id()
        returning c.user_id, c.added, c.removed
    ),
    moves as (
        select a.name, t.user_id, 1 as change from taken as t, unnest(t.added) as a (name)
        union all
        select r.name, null, -1 from taken as t, unnest(t.removed) as r (name)
    ),
    sums as (
        select m.name, sum(m.change)::integer as change from moves as m group by m.name having sum(m.change) <> 0
    )
    select
        (select array_agg(s.name order by s.name) from sums as s),
        (select array_agg(s.change order by s.name) from sums as s),
        u.users, u.used
    into names, changes, users, used
    from (
        select array_agg(m.user_id) as users, array_agg(m.name) as used
        from (
            select distinct m.user_id, m.name from moves as m
            where m.user_id is not null and m.name in (select s.name from sums as s where s.change > 0)
        ) as m
    ) as u;
    if names is null then
        return null;
    end if;

    tags := private.hold_tags(names);
    insert into private.tag_uses (tag_id, day, user_id)
    select t.id, (now() at time zone 'UTC')::date, u.user_id
    from unnest(users, used) as u (user_id, name)
    inner join unnest(tags, names) as t (id, name) on t.name = u.name
    order by t.id, u.user_id
    on conflict do nothing;

    -- Never below zero: a miscounted tag is the recount's to report, not a reason to refuse a deletion.
    if cardinality(tags) <= 20 then
        for changed in select t.id, t.change from unnest(tags, changes) as t (id, change) order by t.id loop
            counted := private.claim_count('tags.usage_count', changed.id, changed.change);
            if counted is not null then
                update public.tags as t set usage_count = greatest(t.usage_count + counted, 0)
                where t.id = changed.id;
            end if;
        end loop;
    else
        perform from public.tags as t where t.id = any (tags) order by t.id for no key update;
        update public.tags as t set usage_count = greatest(t.usage_count + c.change, 0)
        from unnest(tags, changes) as c (id, change)
        where t.id = c.id;
    end if;
    if -1 >= any (changes) then
        perform private.forget_unused_tags(tags);
    end if;
    return null;
end
$$;
comment on function private.count_tags() is
'Trigger at the end of a transaction: counts what it did to tags, remembers who used them today, forgets unused ones.';

create constraint trigger count_tags after insert on private.tag_changes
deferrable initially deferred
for each row execute function private.count_tags();

create function private.forget_unused_tags(tags uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    unused uuid [];
begin
    -- Who is about to count on a tag holds it: then it is left to them.
    unused := array(
        select t.id from public.tags as t
        where t.id = any (forget_unused_tags.tags) and t.usage_count = 0
        order by t.id
        for update skip locked
    );
    delete from public.tags as t
    where
        t.id = any (unused) and t.usage_count = 0
        and not exists (
            select from private.pending_counts as p where p.target = t.id and p.counter = 'tags.usage_count'
        );
end
$$;
comment on function private.forget_unused_tags(uuid[]) is 'Removes those of these tags that nothing public carries.';

create function private.update_trending_tags() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    half_life double precision;
    tags uuid [];
    scores numeric [];
begin
    -- One at a time; the next run makes up for one left out.
    if not pg_try_advisory_xact_lock(hashtextextended('avenue:trending', 0)) then
        return 0;
    end if;
    select extract(epoch from s.trending_half_life) into half_life from private.settings as s;
    -- After ten half-lives a use weighs a thousandth.
    delete from private.tag_uses as u where u.used_at < now() - make_interval(secs => 10 * half_life);
    -- From the uses themselves, whatever was computed before and however long ago.
    select array_agg(t.id order by t.id), array_agg(coalesce(s.score, 0) order by t.id) into tags, scores
    from public.tags as t
    left join (
        select
            u.tag_id,
            round(sum(power(0.5, extract(epoch from now() - u.used_at)::double precision / half_life))::numeric, 2)
            as score
        from private.tag_uses as u
        inner join public.profiles as p on p.id = u.user_id
        where not p.is_banned and p.deleted_at is null
        group by u.tag_id
    ) as s on s.tag_id = t.id
    where t.trending_score <> coalesce(s.score, 0);
    perform from public.tags as t where t.id = any (tags) order by t.id for no key update;
    update public.tags as t set trending_score = s.score
    from unnest(tags, scores) as s (id, score)
    where t.id = s.id;
    perform private.forget_unused_tags(array(select t.id from public.tags as t where t.usage_count = 0));
    return coalesce(cardinality(tags), 0);
end
$$;
comment on function private.update_trending_tags() is
'Recomputes trending_score: the sum over people and days of 0.5 ^ (age of the use / settings.trending_half_life). Says '
'the same however often it is called. Returns how many scores changed.';
grant execute on function private.update_trending_tags() to avenue_worker;

alter table public.tags enable row level security;
grant select on public.tags to anon, authenticated, service_role;

-- Nothing here is anybody's, and a condition would keep prefix searches off their index.
create policy tags_select on public.tags for select to anon, authenticated
using (true);

insert into private.counters (counter, relation, key, count_column, truth) values
(
    'tags.usage_count', 'public.tags', 'id', 'usage_count',
    'select t.id, count(*) from private.tag_carriers as c inner join public.tags as t on t.name = c.name group by t.id'
);

insert into private.error_codes (code, sqlstate, message, description) values
('tags_changed', 'PT409', 'The tags changed meanwhile.',
'Somebody changed the same tags at the same instant. Try again.');

insert into private.personal_data (section, relation, condition, stays, reason) values
('tag_uses', 'private.tag_uses', 't.user_id = $1', '{}', null),
('tag_changes', 'private.tag_changes', null, '{user_id, added, removed}', 'noted and removed within a transaction');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('tag_uses', 'traces', '{private.tag_uses}',
    'delete from private.tag_uses where user_id = $1',
    'select private.erase_rows(''private.tag_uses'', ''user_id = $1'', $1, $2)');
