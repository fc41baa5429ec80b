-- Search across kinds. One index knows of each listed item its words and everything a search can ask for or begin with:
-- which words are in the title, the whole title, kind, category, tags, how popular it is and when it was published. So
-- whatever is asked is one look into one index, and what is common is narrowed in the index too: among many matches the
-- most popular, and the newest, are found without reading the others.
--
-- Ranking costs, matching does not: of the matches at most 1,000 candidates are ranked, chosen by how well the title
-- fits, by popularity and by age, never by where their rows happen to lie. A sample of one item in 256 says beforehand
-- how many there will be.
--
-- It reads past row level security, which cannot use such an index, and asks what the policies ask.

create function private.title_form(title text) returns text
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
    form text := left(title, 500);
begin
    -- Most titles are ASCII, which has no accents.
    form := case when octet_length(form) = char_length(form) then lower(form) else private.search_text(form) end;
    return btrim(case when form ~ '\s\s|[^\S ]' then regexp_replace(form, '\s+', ' ', 'g') else form end);
end
$$;
comment on function private.title_form(text) is
'A title to be compared as a whole: without accents, case and wide gaps.';

create function private.item_entries(
    search tsvector, title text, kind text, category text, tags text[], popularity smallint, published_at timestamptz,
    id uuid
) returns tsvector
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
    day integer := coalesce(floor(extract(epoch from published_at) / 86400), 0);
    -- Days, 32 days and 512 days. Without queries: this is what an index costs.
    entries text [] := array[
        '=' || md5(private.title_form(title)), '@' || kind, '<d' || day, '<m' || day / 32, '<y' || day / 512
    ] || (array['*1', '*4', '*8', '*12', '*16', '*20', '*24', '*28', '*32', '*40', '*48'])[
        1:width_bucket(popularity::integer, array[1, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48])
    ];
    word text;
begin
    foreach word in array tsvector_to_array(ts_filter(search, '{a}')) loop
        entries := entries || ('^' || word);
    end loop;
    foreach word in array tags loop
        entries := entries || ('#' || word);
    end loop;
    if category <> '' then
        entries := entries || ('%' || category);
    end if;
    if uuid_hash(id) & 255 = 0 then
        entries := entries || '~'::text;
    end if;
    return search || array_to_tsvector(entries);
end
$$;
comment on function private.item_entries(tsvector, text, text, text, text[], smallint, timestamptz, uuid) is
'What the index of searches knows of an item: its words, and with a sign before them, which no word begins with, the '
'title''s words (^), the whole title (=), kind (@), category (%), tags (#), steps of popularity it reaches '
'(*), day, 32 '
'and 512 days of its publication (<d, <m, <y), and whether it is in the sample (~).';

-- In place of one on search and one of trigrams of titles. Whatever its columns are, an index has them already: a sale
-- that changes no step of popularity goes on writing none of them.
create index catalog_items_entries_idx on public.catalog_items using gin (
    private.item_entries(search, title, kind, category, tags, popularity, published_at, id)
) where is_listed;
-- Ratings change far more seldom than anything is sold.
create index catalog_items_rating_id_idx on public.catalog_items ((coalesce(rating_average, 0)) desc, id desc)
where is_listed;

-- Typing errors and beginnings are looked up among the words there are, not among a million titles.
create function private.variants(word text) returns text[]
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return array(
        select distinct left(word, n) || substr(word, n + 2)
        from generate_series(0, case when char_length(word) between 3 and 20 then char_length(word) else 0 end) as n
    );
end
$$;
comment on function private.variants(text) is
'The word, and the word without each one of its letters. Of two that differ by one letter too many, too few, '
'changed or '
'swapped with the next, one variant is the same.';

create table private.title_words (
    id bigint not null generated always as identity,
    word text not null,
    variants text[] not null generated always as (private.variants(word)) stored,
    added_at timestamptz not null default now(),
    constraint title_words_pkey primary key (id)
);
-- Not unique: two who publish the same new word at one instant would wait for each other.
create index title_words_word_idx on private.title_words (word text_pattern_ops);
create index title_words_variants_idx on private.title_words using gin (variants);
create index title_words_word_trgm_idx on private.title_words using gin (word extensions.gin_trgm_ops);

comment on table private.title_words is
'The words of titles that are or were shown, each at least once: what a mistyped or unfinished word may have meant. '
'forget_title_words() removes those that no title has any more.';
comment on column private.title_words.word is 'As search_text() makes it.';
comment on column private.title_words.variants is 'See variants(); to find it by when one letter of it is wrong.';
alter table private.title_words enable row level security;

create function private.words_of(value text) returns text[]
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return array(
        select w.word
        from unnest(tsvector_to_array(
            to_tsvector('pg_catalog.simple', private.letter_pairs(private.search_text(value), false))
        )) as w (word)
        where char_length(w.word) between 2 and 40
    );
end
$$;
comment on function private.words_of(text) is 'The different words of a title or a query, not stemmed.';

create function private.note_title_words() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into private.title_words (word)
    select w.word from unnest(private.words_of(new.title)) as w (word)
    where not exists (select from private.title_words as k where k.word = w.word);
    return null;
end
$$;
comment on function private.note_title_words() is 'Trigger on catalog_items: remembers the words of what is shown.';

create trigger note_title_words_inserted after insert on public.catalog_items
for each row when (new.is_visible) execute function private.note_title_words();
create trigger note_title_words_changed after update on public.catalog_items
for each row when (new.is_visible and (not old.is_visible or old.title <> new.title))
execute function private.note_title_words();

create function private.forget_title_words(max_rows integer default 10000) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    gone bigint [];
begin
    -- The oldest notes first; what is still used is noted anew, so that all come round.
    with looked as materialized (
        select k.id, k.word from private.title_words as k
        where k.added_at < now() - interval '30 days'
        order by k.id
        limit max_rows
    ), used as (
        select l.id, l.word from looked as l
        where exists (
            select from public.catalog_items as c
            where
                c.is_listed
                and private.item_entries(
                    c.search, c.title, c.kind, c.category, c.tags, c.popularity, c.published_at, c.id
                ) @@ private.entry('^', l.word)
        )
    ), renewed as (
        insert into private.title_words (word) select distinct u.word from used as u
    )
    select array_agg(l.id) into gone from looked as l;
    delete from private.title_words as k where k.id = any (gone);
    return coalesce(cardinality(gone), 0);
end
$$;
comment on function private.forget_title_words(integer) is
'Looks at the oldest noted words and forgets those that no listed title has; returns how many it looked at. A job '
'calls it each night.';
grant execute on function private.forget_title_words(integer) to avenue_worker;

create function private.entry(sign text, value text) returns tsquery
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return ('''' || replace(replace(sign || value, '\', '\\'), '''', '''''') || '''')::tsquery;
end
$$;
comment on function private.entry(text, text) is 'A query for one entry, whatever is in the value.';

create function private.any_entry(sign text, words text[]) returns tsquery
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return (
        select string_agg('''' || replace(replace(sign || v.value, '\', '\\'), '''', '''''') || '''', ' | ')
        from unnest(words) as v (value)
    )::tsquery;
end
$$;
comment on function private.any_entry(text, text[]) is 'A query for any of these entries; null without any.';

create function private.both(one tsquery, other tsquery) returns tsquery
language sql
immutable
parallel safe
set search_path = ''
as $$
    select case when one is null then other when other is null then one else one && other end
$$;
comment on function private.both(tsquery, tsquery) is 'Both of two queries, of which either may be null: anything.';

create function private.unordered(words tsquery) returns tsquery
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
    said text := words::text;
begin
    if said !~ '<(-|\d+)>' then
        return words;
    end if;
    -- Where words next to each other are unwanted, each of them may stand somewhere: that is seen in the row.
    said := regexp_replace(said, ' & !\( [^()|]*<(-|\d+)>[^()|]* \)', '', 'g');
    said := regexp_replace(said, '^(!\( [^()|]*<(-|\d+)>[^()|]* \) & )+', '');
    return regexp_replace(said, '<(-|\d+)>', '&', 'g')::tsquery;
end
$$;
comment on function private.unordered(tsquery) is
'What has to be in a row with these words, wherever they stand.';

create function private.in_title(words tsquery) returns tsquery
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return regexp_replace(words::text, '(''(?:[^'']|'''')+'')(?::(\*)?)?', '\1:\2A', 'g')::tsquery;
end
$$;
comment on function private.in_title(tsquery) is 'The same words, in titles only.';

create function private.published_between(first_day integer, last_day integer) returns tsquery
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
    span integer := last_day - first_day;
    sign text := case when span <= 16 then '<d' when span <= 1024 then '<m' else '<y' end;
    unit integer := case sign when '<d' then 1 when '<m' then 32 else 512 end;
begin
    return private.any_entry(sign, array(select generate_series(first_day / unit, last_day / unit)::text));
end
$$;
comment on function private.published_between(integer, integer) is
'A query for what was published on these days (since 1970) or shortly before or after.';

create type private.catalog_filter as (
    must tsquery,
    kinds text [],
    category text,
    tags text [],
    min_price_cents bigint,
    max_price_cents bigint,
    min_rating numeric,
    hidden uuid [],
    until timestamptz
);
comment on type private.catalog_filter is
'What items have to be besides their words, some of it as entries, too (must); by none of these sellers, and published '
'by then.';

create type private.candidate as (id uuid, fits_title boolean, popularity smallint, published_at timestamptz);
comment on type private.candidate is 'An item that matches, and what is looked at to choose among many.';

create function private.matching(entries tsquery, words tsquery, title_words tsquery, wanted private.catalog_filter)
returns setof private.candidate
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
set enable_indexscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    select c.id, coalesce(c.search @@ title_words, false), c.popularity, c.published_at
    from public.catalog_items as c
    where
        c.is_listed
        and private.item_entries(
            c.search, c.title, c.kind, c.category, c.tags, c.popularity, c.published_at, c.id
        ) @@ entries
        and (words is null or c.search @@ words)
        and (wanted.min_price_cents is null or c.price_cents >= wanted.min_price_cents)
        and (wanted.max_price_cents is null or c.price_cents <= wanted.max_price_cents)
        and (wanted.min_rating is null or coalesce(c.rating_average, 0) >= wanted.min_rating)
        and c.published_at <= wanted.until
        and c.seller_id <> all (wanted.hidden);
end
$$;
comment on function private.matching(tsquery, tsquery, tsquery, private.catalog_filter) is
'Listed items with these entries. words: looked at in each row, where entries alone say too little (words next to each '
'other).';

create function private.best_matching(
    entries tsquery, words tsquery, title_words tsquery, wanted private.catalog_filter, sample private.candidate[],
    most integer
) returns setof uuid
language plpgsql
stable
set search_path = ''
as $$
declare
    steps constant integer [] := array[1, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48];
    step integer;
    last_day constant integer := floor(extract(epoch from wanted.until) / 86400);
    days integer;
    ids uuid [];
begin
    -- As popular as the most popular of the sample are some 256; of the others nothing is read.
    step := greatest(1, (
        select count(*) from unnest(steps) as s (least)
        where s.least <= (select max(m.popularity) from unnest(sample) as m)
    ));
    loop
        ids := array(
            select m.id
            from private.matching(
                private.both(entries, private.entry('*', steps[step]::text)), words, title_words, wanted
            ) as m
            order by m.popularity desc, m.published_at desc, m.id desc
            limit most
        );
        exit when cardinality(ids) >= most or step = 1;
        step := step - 1;
    end loop;
    return query select unnest(ids);
    if cardinality(ids) >= most then
        return;
    end if;
    -- The same with age.
    days := greatest(
        0, last_day - (select floor(extract(epoch from max(m.published_at)) / 86400) from unnest(sample) as m)
    );
    loop
        ids := array(
            select m.id
            from private.matching(
                private.both(entries, private.published_between(greatest(last_day - days, 0), last_day)),
                words, title_words, wanted
            ) as m
            order by m.published_at desc, m.id desc
            limit most
        );
        exit when cardinality(ids) >= most or days >= last_day;
        -- As many times the days as there are too few, and half as much again.
        days := least(
            ceil((days + 1) * least(8, 1.5 * most / greatest(cardinality(ids), 1)))::integer, last_day
        );
    end loop;
    return query select unnest(ids);
end
$$;
comment on function private.best_matching(
    tsquery, tsquery, tsquery, private.catalog_filter, private.candidate[], integer
) is
'Of very many matches the most popular, and when fewer were ever sold the newest, most of each; sample: one '
'match in 256.';

create type private.found as (ids uuid [], is_capped boolean, sampled integer);
comment on type private.found is
'Candidates; capped: there are more matches; sampled: how many were in the sample of one in 256.';

create function private.candidates(words tsquery, title text, wanted private.catalog_filter, is_ranked boolean)
returns private.found
language plpgsql
stable
set search_path = ''
as $$
declare
    most constant integer := 150;
    -- Entries know of no order of words; their rows do.
    entries tsquery := private.both(private.unordered(words), wanted.must);
    ordered tsquery := case when words::text ~ '<(-|\d+)>' then words end;
    title_words tsquery := private.in_title(words);
    titled tsquery;
    sample private.candidate [];
    found private.found;
begin
    sample := array(
        select m from private.matching(private.both(entries, '''~'''), ordered, title_words, wanted) as m
    );
    found.sampled := cardinality(sample);
    -- A thousand have four in it; that they have nine happens once in fifty times, that two hundred have, never.
    found.is_capped := found.sampled > 8;
    found.ids := '{}';
    if not found.is_capped then
        found.ids := array(
            select m.id
            from private.matching(
                coalesce(
                    entries, private.published_between(0, floor(extract(epoch from wanted.until) / 86400)::integer)
                ), ordered, title_words, wanted
            ) as m
            limit 1001
        );
        found.is_capped := cardinality(found.ids) > 1000;
        if not found.is_capped then
            return found;
        end if;
        found.ids := '{}';
    end if;
    if not is_ranked then
        return found;
    end if;
    if words is not null then
        -- Named exactly so; then with the words in the title.
        found.ids := array(
            select m.id
            from private.matching(
                private.both(private.entry('=', md5(private.title_form(title))), wanted.must),
                words, title_words, wanted
            ) as m
            order by m.popularity desc, m.published_at desc, m.id desc
            limit most
        );
        titled := private.both(
            regexp_replace(private.unordered(words)::text, '''((?:[^'']|'''')+)''', '''^\1''', 'g')::tsquery,
            wanted.must
        );
        if (select count(*) from unnest(sample) as s where s.fits_title) <= 1 then
            found.ids := found.ids || array(
                select m.id from private.matching(titled, words, title_words, wanted) as m
                order by m.popularity desc, m.published_at desc, m.id desc
                limit 2 * most
            );
        else
            found.ids := found.ids || array(
                select private.best_matching(
                    titled, words, title_words, wanted,
                    array(select s from unnest(sample) as s where s.fits_title), most
                )
            );
        end if;
    end if;
    if cardinality(found.ids) < most then
        found.ids := found.ids || array(
            select private.best_matching(entries, ordered, title_words, wanted, sample, most)
        );
    end if;
    found.ids := array(select distinct i.id from unnest(found.ids) as i (id));
    return found;
end
$$;
comment on function private.candidates(tsquery, text, private.catalog_filter, boolean) is
'At most 1,000 items with these words (null: any) that are worth ranking: all of them where there are no more, else '
'those called exactly so, with the words in the title, and the most popular or newest; none of many when they are not '
'to be ranked.';

-- What else a query may mean when hardly anything has its words. Only plain words are guessed at.

create function private.words_to_find(query text) returns tsquery
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
    words tsquery;
begin
    if btrim(query) <> '' then
        words := private.search_query(query);
    end if;
    return case when numnode(words) > 0 then words end;
end
$$;
comment on function private.words_to_find(text) is 'search_query(), null when there is nothing to look for.';

create function private.begun_words(query text, until timestamptz) returns tsquery
language plpgsql
stable
set search_path = ''
as $$
declare
    plain text := private.search_text(left(coalesce(query, ''), 200));
    last_word text := substring(plain from '([[:alnum:]]{3,40})$');
    known text [];
begin
    if last_word is null then
        return null;
    end if;
    known := array(
        select k.word from private.title_words as k
        where k.word ~>=~ last_word and k.word ~<~ (last_word || U&'\+10FFFF') and k.added_at <= until
        group by k.word
        order by char_length(k.word), k.word
        limit 30
    );
    if known = '{}' then
        return null;
    end if;
    return private.both(
        private.words_to_find(left(plain, -char_length(last_word))), private.any_entry('', known)
    );
end
$$;
comment on function private.begun_words(text, timestamptz) is
'The query with its last word as the beginning of one that titles have; null when there is none.';

create function private.meant_words(query text, also_known boolean, until timestamptz) returns tsquery
language plpgsql
stable
set search_path = ''
as $$
declare
    typed text;
    known text [];
    meant tsquery;
    guessed boolean := false;
begin
    foreach typed in array (private.words_of(left(coalesce(query, ''), 200)))[:8] loop
        known := '{}';
        if char_length(typed) >= 3 and (
            also_known or not exists (select from private.title_words as k where k.word = typed)
        ) then
            known := array(
                select k.word from private.title_words as k
                where
                    (
                        k.variants && private.variants(typed)
                        or k.word operator(extensions.%) typed
                        or k.word like '%' || typed || '%'
                    )
                    and k.added_at <= until
                group by k.word
                order by
                    k.word like '%' || typed || '%' desc, bool_or(k.variants && private.variants(typed)) desc,
                    extensions.similarity(k.word, typed) desc, k.word
                limit 8
            );
        end if;
        guessed := guessed or known <> '{}';
        meant := private.both(
            meant,
            case
                when known = '{}' then private.words_to_find(typed)
                when private.words_to_find(typed) is null then private.any_entry('', known)
                else private.words_to_find(typed) || private.any_entry('', known)
            end
        );
    end loop;
    return case when guessed then meant end;
end
$$;
comment on function private.meant_words(text, boolean, timestamptz) is
'The query with words of titles that resemble or contain its own, in place of those that no title has, or of all; null '
'when nothing resembles them.';

create type private.search as (words tsquery, ids uuid [], is_capped boolean, sampled integer);
comment on type private.search is 'What was looked for, what it may have meant included, and what was found.';

create function private.search_items(
    query text, wanted private.catalog_filter, is_ranked boolean, guesses boolean default true
) returns private.search
language plpgsql
stable
set search_path = ''
as $$
declare
    words tsquery := private.words_to_find(query);
    also tsquery;
    found private.found;
    ids uuid [];
begin
    if words is null and btrim(query) <> '' then
        -- Nothing one can look for, or only what is to be left out.
        return row(null, '{}', false, 0)::private.search;
    end if;
    found := private.candidates(words, query, wanted, is_ranked);
    if
        not guesses or words is null or found.is_capped or cardinality(found.ids) >= 20
        or words::text ~ '[!|]' or position('"' in query) > 0
    then
        return row(words, found.ids, found.is_capped, found.sampled)::private.search;
    end if;
    ids := found.ids;
    also := private.begun_words(query, wanted.until);
    if also is not null then
        found := private.candidates(also, query, wanted, is_ranked);
        ids := ids || found.ids;
        words := words || also;
    end if;
    if cardinality(ids) < 3 and not found.is_capped then
        also := private.meant_words(query, ids = '{}', wanted.until);
        if also is not null then
            found := private.candidates(also, query, wanted, is_ranked);
            ids := ids || found.ids;
            words := words || also;
        end if;
    end if;
    return row(
        words, array(select distinct i.id from unnest(ids) as i (id)), found.is_capped, found.sampled
    )::private.search;
end
$$;
comment on function private.search_items(text, private.catalog_filter, boolean, boolean) is
'Candidates for a query: with its words; when they are fewer than 20 also with its last word begun, and when they are '
'fewer than 3 with words it may have meant.';

create function private.wanted_items(
    kinds text[], category text, tags text[], min_price_cents bigint, max_price_cents bigint, min_rating numeric,
    until timestamptz
) returns private.catalog_filter
language plpgsql
stable
set search_path = ''
as $$
declare
    wanted private.catalog_filter;
begin
    if cardinality(kinds) > 20 then
        perform private.fail('invalid_search', 'kinds: at most 20');
    elsif char_length(category) > 200 then
        perform private.fail('invalid_search', 'category: at most 200 characters');
    end if;
    wanted.kinds := nullif(array(select k.kind from unnest(kinds) as k (kind) where k.kind is not null), '{}');
    wanted.category := nullif(category, '');
    wanted.tags := nullif(private.clean_tags(tags), '{}');
    wanted.must := private.both(
        private.any_entry('@', wanted.kinds),
        private.both(
            private.any_entry('%', array_remove(array[wanted.category], null)), private.any_entry('#', wanted.tags)
        )
    );
    wanted.min_price_cents := min_price_cents;
    wanted.max_price_cents := max_price_cents;
    wanted.min_rating := min_rating;
    wanted.until := until;
    wanted.hidden := case
        when auth.uid() is null then array(select private.hidden_ids()) else array(select private.blocked_ids())
    end;
    return wanted;
end
$$;
comment on function private.wanted_items(text[], text, text[], bigint, bigint, numeric, timestamptz) is
'What a search is limited to, the caller''s blocks included. Errors: invalid_search, invalid_tags.';

create type public.search_sort as enum ('relevance', 'newest', 'price_up', 'price_down', 'popular', 'rated');
comment on type public.search_sort is
'How what was found is ordered. relevance: the best first. rated: the best rated first, unrated last.';

create type public.found_item as (
    id uuid,
    kind text,
    seller_id uuid,
    title text,
    slug text,
    thumbnail_url text,
    price_cents bigint,
    minimum_price_cents bigint,
    currency character (3),
    category text,
    tags text [],
    is_unique boolean,
    requires_shipping boolean,
    is_featured boolean,
    views_count bigint,
    favorites_count integer,
    comments_count integer,
    popularity smallint,
    rating_average numeric,
    reviews_count integer,
    published_at timestamptz,
    cursor text
);
comment on type public.found_item is
'An item as catalog_items has it, and the cursor after which the next page begins.';

create function private.write_cursor(value text, id uuid, until timestamptz, filters text) returns text
language plpgsql
stable
set search_path = ''
as $$
begin
    return translate(encode(convert_to(
        jsonb_build_array(value, id, extract(epoch from until)::text, filters)::text, 'utf8'
    ), 'base64'), E'+/\n', '-_');
end
$$;
comment on function private.write_cursor(text, uuid, timestamptz, text) is
'Where a page ends: the value it is sorted by, the id, until when published items are looked at, and of which filters.';

create type private.cursor_parts as (value text, id uuid, until timestamptz, filters text);
comment on type private.cursor_parts is 'What write_cursor() wrote.';

create function private.read_cursor(cursor text, filters text, sort public.search_sort) returns private.cursor_parts
language plpgsql
stable
set search_path = ''
as $$
declare
    written jsonb;
    parts private.cursor_parts;
begin
    begin
        written := convert_from(decode(translate(left(cursor, 500), '-_', '+/'), 'base64'), 'utf8')::jsonb;
        parts.value := written ->> 0;
        parts.id := (written ->> 1)::uuid;
        parts.until := to_timestamp((written ->> 2)::double precision);
        parts.filters := written ->> 3;
    exception when data_exception then
        perform private.fail('cursor_invalid');
    end;
    -- Made up: each day up to then would be looked at. Between this server's clock and another's lie moments.
    if
        parts.value is null or parts.id is null
        or (parts.until between 'epoch' and clock_timestamp() + interval '1 minute') is not true
    then
        perform private.fail('cursor_invalid');
    end if;
    if parts.filters is distinct from read_cursor.filters then
        perform private.fail('cursor_mismatch');
    end if;
    begin
        perform case sort
            when 'newest' then parts.value::timestamptz is null
            when 'relevance' then parts.value::double precision is null
            when 'popular' then parts.value::smallint is null
            when 'rated' then parts.value::numeric is null
            else parts.value::bigint is null
        end;
    exception when data_exception then
        perform private.fail('cursor_invalid');
    end;
    return parts;
end
$$;
comment on function private.read_cursor(text, text, public.search_sort) is 'Errors: cursor_invalid, cursor_mismatch.';

create function private.sorted_items(
    done private.search, wanted private.catalog_filter, sort public.search_sort, after private.cursor_parts,
    most integer
) returns uuid[]
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    expression text := case sort
        when 'newest' then 'c.published_at' when 'popular' then 'c.popularity'
        when 'rated' then 'coalesce(c.rating_average, 0)' else 'c.price_cents'
    end;
    type text := case sort
        when 'newest' then 'timestamptz' when 'popular' then 'smallint' when 'rated' then 'numeric' else 'bigint'
    end;
    direction text := case sort when 'price_up' then 'asc' else 'desc' end;
    rest text := case when after.id is null then 'true' else format(
        '(%s, c.id) %s ($1::%s, $2)', expression, case sort when 'price_up' then '>' else '<' end, type
    ) end;
    ordered text := format('order by %s %s, c.id %2$s', expression, direction);
    page uuid [];
begin
    if not done.is_capped then
        execute format(
            'select array(select c.id from public.catalog_items as c where c.id = any ($3) and %s %s limit $4)',
            rest, ordered
        ) into page using after.value, after.id, done.ids, most;
        return page;
    end if;
    -- Of very many matches a page is soon full: along the index, but not without end.
    if done.sampled > 8 then
        execute format($sql$
            select array(
                select c.id
                from (
                    select c.* from public.catalog_items as c
                    where
                        c.is_listed and %s
                        and c.price_cents between coalesce($5, 0) and coalesce($6, 9223372036854775807)
                    %s
                    limit 20000
                ) as c
                where
                    ($7 is null or c.search @@ $7)
                    and ($8 is null or c.kind = any ($8))
                    and ($9 is null or c.category = $9)
                    and ($10 is null or c.tags && $10)
                    and ($11 is null or coalesce(c.rating_average, 0) >= $11)
                    and c.published_at <= $12
                    and c.seller_id <> all ($13)
                %2$s
                limit $4
            )
        $sql$, rest, ordered) into page
        using
            after.value, after.id, null::integer, most, wanted.min_price_cents, wanted.max_price_cents, done.words,
            wanted.kinds, wanted.category, wanted.tags, wanted.min_rating, wanted.until, wanted.hidden;
        if cardinality(page) >= most then
            return page;
        end if;
    end if;
    execute format(
        'select array(select c.id from private.matching($3, $5, null, $6) as m '
        'inner join public.catalog_items as c on c.id = m.id where %s %s limit $4)', rest, ordered
    ) into page
    using
        after.value, after.id,
        coalesce(
            private.both(private.unordered(done.words), wanted.must),
            private.published_between(0, floor(extract(epoch from wanted.until) / 86400)::integer)
        ),
        most, done.words, wanted;
    return page;
end
$$;
comment on function private.sorted_items(
    private.search, private.catalog_filter, public.search_sort, private.cursor_parts, integer
) is
'A page in the order of a column: of what was found, or, where that is too much, along the index of the column.';

create function public.search_catalog(
    query text default null,
    kinds text[] default null,
    category text default null,
    tags text[] default null,
    min_price_cents bigint default null,
    max_price_cents bigint default null,
    min_rating numeric default null,
    sort public.search_sort default null,
    cursor text default null,
    max_rows integer default 20
) returns setof public.found_item
language plpgsql
stable
security definer
rows 20
set search_path = ''
as $$
#variable_conflict use_column
declare
    is_worded boolean := btrim(coalesce(search_catalog.query, '')) <> '';
    sort_by public.search_sort := case
        when not is_worded and coalesce(search_catalog.sort, 'relevance') = 'relevance' then 'newest'
        else coalesce(search_catalog.sort, 'relevance')
    end;
    filters text := md5(jsonb_build_array(
        btrim(coalesce(search_catalog.query, '')),
        (select array_agg(distinct k.kind) from unnest(search_catalog.kinds) as k (kind)), search_catalog.category,
        (select array_agg(distinct t.tag) from unnest(search_catalog.tags) as t (tag)),
        search_catalog.min_price_cents, search_catalog.max_price_cents, search_catalog.min_rating, sort_by
    )::text);
    after private.cursor_parts;
    -- What is published from now on is on no later page, so that none is shifted.
    until timestamptz := clock_timestamp();
    page integer := private.page_size(search_catalog.max_rows);
    term text := private.title_form(search_catalog.query);
    wanted private.catalog_filter;
    done private.search;
    first_words tsquery;
    title_words tsquery;
begin
    if search_catalog.cursor is not null then
        after := private.read_cursor(search_catalog.cursor, filters, sort_by);
        until := after.until;
    end if;
    wanted := private.wanted_items(
        search_catalog.kinds, search_catalog.category, search_catalog.tags, search_catalog.min_price_cents,
        search_catalog.max_price_cents, search_catalog.min_rating, until
    );
    done := private.search_items(search_catalog.query, wanted, sort_by = 'relevance');

    if sort_by = 'relevance' then
        first_words := private.words_to_find(search_catalog.query);
        title_words := private.in_title(first_words);
        return query
        select
            c.id, c.kind, c.seller_id, c.title, c.slug, c.thumbnail_url::text, c.price_cents, c.minimum_price_cents,
            c.currency, c.category, c.tags, c.is_unique, c.requires_shipping, c.is_featured, c.views_count,
            c.favorites_count, c.comments_count, c.popularity, c.rating_average::numeric, c.reviews_count,
            c.published_at, private.write_cursor(r.score::text, c.id, until, filters)
        from (
            select s.id, s.score
            from (
                select
                    c.id,
                    (
                        -- Of titles about as long as the query; letters become a little more without accents.
                        case
                            when char_length(c.title) not between char_length(term) - 20 and char_length(term) + 2
                                then 0
                            when private.title_form(c.title) = term then 8
                            else 0
                        end
                        + case when c.search @@ title_words then 4 else 0 end
                        + case when c.search @@ first_words then 2 else 0 end
                        + ts_rank(c.search, done.words)::double precision
                        + c.popularity::double precision / 100
                    ) as score
                from public.catalog_items as c
                where c.id = any (done.ids)
            ) as s
            where after.id is null or (s.score, s.id) < (after.value::double precision, after.id)
            order by s.score desc, s.id desc
            limit page
        ) as r
        inner join public.catalog_items as c on c.id = r.id
        order by r.score desc, r.id desc;
        return;
    end if;
    return query
    select
        c.id, c.kind, c.seller_id, c.title, c.slug, c.thumbnail_url::text, c.price_cents, c.minimum_price_cents,
        c.currency, c.category, c.tags, c.is_unique, c.requires_shipping, c.is_featured, c.views_count,
        c.favorites_count, c.comments_count, c.popularity, c.rating_average::numeric, c.reviews_count,
        c.published_at,
        private.write_cursor(
            case sort_by
                when 'newest' then c.published_at::text when 'popular' then c.popularity::text
                when 'rated' then coalesce(c.rating_average, 0)::text else c.price_cents::text
            end, c.id, until, filters
        )
    from unnest(private.sorted_items(done, wanted, sort_by, after, page)) with ordinality as p (id, place)
    inner join public.catalog_items as c on c.id = p.id
    order by p.place;
end
$$;
comment on function public.search_catalog(
    text, text[], text, text[], bigint, bigint, numeric, public.search_sort, text, integer
) is
'Items on sale, of any kind, that match. query: words (stemmed, without accents; "exact words", or, -not; the '
'first 200 '
'characters), the last one may be unfinished and where little is found they may be mistyped; without it whatever the '
'filters leave. Filters: any of the kinds, a category, any of the tags (at most 20), a range of prices, a '
'least rating. '
'sort: relevance with words, newest without, unless told; by relevance at most 1,000 are shown. The next page begins '
'after the last row''s cursor, given with the same query, filters and sort; what is published meanwhile is '
'not on it. 1 '
'to 100 rows, 20 unless told. Errors: cursor_invalid, cursor_mismatch, invalid_search, invalid_tags.';
grant execute on function public.search_catalog(
    text, text[], text, text[], bigint, bigint, numeric, public.search_sort, text, integer
) to anon, authenticated;

create type public.catalog_facet as (facet text, value text, items_count integer, is_capped boolean);
comment on type public.catalog_facet is
'How many items a filter would leave. facet: kind, category, tag, price, rating. value: what to filter by; of '
'price the '
'least of a range in cents, of rating the least rating. is_capped: there are more; counted among 1,000 candidates.';

create function private.facet_of(facet text, query text, wanted private.catalog_filter)
returns setof public.catalog_facet
language plpgsql
stable
set search_path = ''
as $$
declare
    done private.search := private.search_items(query, wanted, true);
begin
    return query
    select n.facet, n.value, n.items::integer, done.is_capped
    from (
        select
            v.facet, v.value, count(*) as items,
            row_number() over (partition by v.facet order by count(*) desc, v.value) as place
        from public.catalog_items as c
        cross join lateral (
            select 'kind' as facet, c.kind as value
            union all
            select 'category', c.category where c.category <> ''
            union all
            select 'tag', t.tag from unnest(c.tags) as t (tag)
            union all
            select 'price', (
                select max(s.least) from unnest(array[0, 1, 1000, 2500, 5000, 10000, 25000, 50000, 100000]) as s (least)
                where s.least <= c.price_cents
            )::text
            union all
            select 'rating', s.least::text from generate_series(1, 4) as s (least)
            where coalesce(c.rating_average, 0) >= s.least
        ) as v
        where c.id = any (done.ids) and (facet_of.facet is null or v.facet = facet_of.facet)
        group by v.facet, v.value
    ) as n
    where n.place <= 20;
end
$$;
comment on function private.facet_of(text, text, private.catalog_filter) is
'What items with these words are, as counts: of one facet, or of all (null). The 20 most frequent of each.';

create function public.catalog_facets(
    query text default null,
    kinds text[] default null,
    category text default null,
    tags text[] default null,
    min_price_cents bigint default null,
    max_price_cents bigint default null,
    min_rating numeric default null
) returns setof public.catalog_facet
language plpgsql
stable
security definer
rows 50
set search_path = ''
as $$
declare
    wanted private.catalog_filter := private.wanted_items(
        kinds, category, tags, min_price_cents, max_price_cents, min_rating, clock_timestamp()
    );
    -- What is chosen of a facet does not count in it: one sees what else there is.
    chosen text [] := array_remove(array[
        case when wanted.kinds is not null then 'kind' end,
        case when wanted.category is not null then 'category' end,
        case when wanted.tags is not null then 'tag' end,
        case when coalesce(min_price_cents, max_price_cents) is not null then 'price' end,
        case when min_rating is not null then 'rating' end
    ], null);
    own text;
begin
    return query
    select f.* from private.facet_of(null, catalog_facets.query, wanted) as f
    where f.facet <> all (chosen)
    order by f.facet, f.items_count desc, f.value;
    foreach own in array chosen loop
        return query
        select f.*
        from private.facet_of(own, catalog_facets.query, private.wanted_items(
            case when own <> 'kind' then kinds end, case when own <> 'category' then category end,
            case when own <> 'tag' then tags end, case when own <> 'price' then min_price_cents end,
            case when own <> 'price' then max_price_cents end, case when own <> 'rating' then min_rating end,
            wanted.until
        )) as f
        order by f.items_count desc, f.value;
    end loop;
end
$$;
comment on function public.catalog_facets(text, text[], text, text[], bigint, bigint, numeric) is
'How many of what search_catalog() finds there are of each kind, category, tag, range of prices and rating: '
'the 20 most '
'frequent of each. Each facet is counted as if nothing of it were chosen. Whom the caller does not see is not counted. '
'Errors: invalid_search, invalid_tags.';
grant execute on function public.catalog_facets(text, text[], text, text[], bigint, bigint, numeric)
to anon, authenticated;

insert into private.personal_data (section, relation, condition, stays, reason) values
('title_words', 'private.title_words', null, '{word}',
    'single words of titles, of nobody; forgotten when no title on sale has them');

insert into private.error_codes (code, sqlstate, message, description) values
('cursor_invalid', 'PT400', 'This page cannot be found.',
'The cursor is not one that a page answered. Begin without one.'),
('cursor_mismatch', 'PT400', 'This page belongs to another search.',
'A cursor goes on with the query, filters and sort it was answered to. Begin without one.'),
('invalid_search', 'PT400', 'This search asks for too much.', 'The detail says what there is too much of.');
