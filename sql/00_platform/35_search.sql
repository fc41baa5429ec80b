-- What every search shares: how a text becomes words, and how a query does. Accents and letter case do not matter.
-- Words are stemmed as English; names made of stop words ("The Who") are found as they stand; Chinese, Japanese and
-- Korean have no spaces between words, so each two neighboring letters count as one.

create function private.search_text(value text) returns text
language plpgsql
-- The rules of the dictionary never change, so indexes may rest on it.
immutable
parallel safe
set search_path = ''
as $$
begin
    -- One character may become eighteen; longer than any text we keep it does not get.
    return lower(
        extensions.unaccent('extensions.unaccent'::regdictionary, left(normalize(left(value, 200000), nfkc), 200000))
    );
end
$$;
comment on function private.search_text(text) is
'A text in lower case without accents and compatibility forms, to be compared and indexed by trigrams.';
grant execute on function private.search_text(text) to anon, authenticated, service_role;

create function private.letter_pairs(value text, is_query boolean) returns text
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
    letter constant text := '[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]';
begin
    if value !~ letter then
        return value;
    end if;
    return string_agg(
        case
            when not l.is_letter then l.here
            when l.before_next then ' ' || l.here || l.next || ' '
            -- The last letter of a text is a word too, so that a phrase may end with it; a query asks for pairs.
            when is_query and l.after_letter then ' '
            else ' ' || l.here || ' '
        end, '' order by l.place
    )
    from (
        select
            s.here, s.place, s.here ~ letter as is_letter,
            lead(s.here) over places as next,
            coalesce(lead(s.here) over places ~ letter, false) as before_next,
            coalesce(lag(s.here) over places ~ letter, false) as after_letter
        from string_to_table(value, null) with ordinality as s (here, place)
        window places as (order by s.place)
    ) as l;
end
$$;
comment on function private.letter_pairs(text, boolean) is
'The text with each run of Chinese, Japanese or Korean letters cut into overlapping pairs: 東京都 becomes 東京 京都.';
grant execute on function private.letter_pairs(text, boolean) to anon, authenticated, service_role;

create function private.search_vector(title text, tags text[], body text) returns tsvector
language sql
immutable
parallel safe
set search_path = ''
as $$
    select
        setweight(to_tsvector('pg_catalog.english', plain.title), 'A')
        || setweight(to_tsvector('pg_catalog.english', plain.tags), 'B')
        || setweight(to_tsvector('pg_catalog.english', plain.body), 'C')
        -- Names are found by their stop words as well; texts are not: "the" is in all of them.
        || setweight(to_tsvector('pg_catalog.simple', plain.title), 'A')
        || setweight(to_tsvector('pg_catalog.simple', plain.tags), 'B')
    from (
        select
            private.letter_pairs(private.search_text(coalesce(search_vector.title, '')), false) as title,
            private.letter_pairs(
                private.search_text(coalesce(array_to_string(search_vector.tags, ' ', ''), '')), false
            ) as tags,
            private.letter_pairs(private.search_text(coalesce(search_vector.body, '')), false) as body
    ) as plain
$$;
comment on function private.search_vector(text, text[], text) is
'Weighted search vector: title (A), tags (B), body (C). What search_query() makes of a query fits it.';
grant execute on function private.search_vector(text, text[], text) to anon, authenticated, service_role;

create function private.search_query(query text) returns tsquery
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
    -- Not of not of not is more than the parser takes; people who draw a line mean one.
    plain text := regexp_replace(
        private.letter_pairs(private.search_text(left(coalesce(query, ''), 200)), true), '-[^[:alnum:]"]*-', '-', 'g'
    );
    words tsquery := websearch_to_tsquery('pg_catalog.english', plain);
begin
    if numnode(words) = 0 then
        -- Nothing but stop words: they stand next to each other, as in a name.
        words := phraseto_tsquery('pg_catalog.simple', plain);
    elsif btrim(plain) ~ '^[^[:ascii:]]$' then
        -- One letter begins the pairs it stands in.
        words := (quote_literal(btrim(plain)) || ':*')::tsquery;
    end if;
    -- "Everything but …" would read the whole table.
    if querytree(words) in ('', 'T') then
        return ''::tsquery;
    end if;
    return words;
end
$$;
comment on function private.search_query(text) is
'What people type ("exact words", or, -not; the first 200 characters) as a query for search_vector(). Empty (numnode '
'0) when there is nothing to look for, or only what is to be left out.';
grant execute on function private.search_query(text) to anon, authenticated, service_role;
