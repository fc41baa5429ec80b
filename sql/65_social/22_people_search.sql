-- Finding people and groups by name: how it begins, words and pairs of CJK letters in it, with typing errors. Each way
-- to match gives a limited number of candidates, which are then ranked: the work is bounded. Definer functions, because
-- the index of trigrams cannot be used behind a policy; they filter as the policies do.

create index profiles_username_prefix_idx on public.profiles (lower(username::text) text_pattern_ops);
create index profiles_display_name_prefix_idx on public.profiles (lower(display_name) text_pattern_ops, id);
create index profiles_names_trgm_idx on public.profiles using gin (
    lower(username::text) extensions.gin_trgm_ops, lower(display_name) extensions.gin_trgm_ops
);
create index profiles_display_name_words_idx
on public.profiles using gin (private.search_vector(display_name, null, null));
create index groups_name_prefix_idx on public.groups (lower(name) text_pattern_ops, id);
create index groups_name_trgm_idx on public.groups using gin (lower(name) extensions.gin_trgm_ops);
create index groups_name_words_idx on public.groups using gin (private.search_vector(name, null, null));

create function private.search_term(query text) returns text
language sql
immutable
set search_path = ''
as $$
    select lower(ltrim(left(private.tidy_name(left(query, 200)), 100), '@# '))
$$;
comment on function private.search_term(text) is
'What is searched for names: tidied, lower case, at most 100 characters, without a leading @ or #.';

create function public.search_profiles(
    query text, after_score double precision default null, after_id uuid default null, max_rows integer default 20
)
returns table (
    id uuid, username text, display_name text, avatar_url text, followers_count integer, score double precision
)
language plpgsql
stable
security definer
set search_path = ''
as $$
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
$$;
comment on function public.search_profiles(text, double precision, uuid, integer) is
'People whose username or display name is, begins with, contains or resembles the query, best first; only those the '
'caller may see. At most some 800 matches are ranked. For the next page pass the last row''s score and id.';
grant execute on function public.search_profiles(text, double precision, uuid, integer) to anon, authenticated;

create function public.search_groups(
    query text, after_score double precision default null, after_id uuid default null, max_rows integer default 20
)
returns table (
    id uuid, name text, slug text, description text, avatar_url text, visibility public.group_visibility,
    members_count integer, is_verified boolean, score double precision
)
language plpgsql
stable
security definer
set search_path = ''
as $$
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
$$;
comment on function public.search_groups(text, double precision, uuid, integer) is
'Groups whose name begins with, contains or resembles the query or that have it as a tag, best first; secret ones only '
'for those who may know of them. For the next page pass the last row''s score and id.';
grant execute on function public.search_groups(text, double precision, uuid, integer) to anon, authenticated;
