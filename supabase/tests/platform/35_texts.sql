-- What texts are made of: the one form they are stored in, addresses, the trigger that sees to it.
begin;
\ir ../helpers.psql
select no_plan();

-- One line.
select is(private.tidy_name(given), wanted, means)
from (values
    (E' two\r\nlines \t here ', 'two lines here', 'no line breaks, single spaces'),
    (U&'pay\202Eme\2066now\2069', 'paymenow', 'no direction overrides and isolates'),
    (U&'\FF21\FF42\FB01', 'Abfi', 'full-width letters and ligatures'),
    (U&'Cafe\0301', U&'Caf\00E9', 'composed'),
    (U&'ad\200Dmin', 'admin', 'no joiner between letters that do not join'),
    (U&'x\+0E0041\+0E0042y', 'xy', 'no tag characters'),
    (U&'A\2800\3000B', 'A B', 'spaces of any width'),
    (U&'\0645\06CC\200C\062E\0648\0627\0647\0645', U&'\0645\06CC\200C\062E\0648\0627\0647\0645', 'joiners of Persian stay'),
    (U&'\0915\094D\200D\0937', U&'\0915\094D\200D\0937', 'those of Indic scripts'),
    (U&'\+01F469\200D\+01F4BB', U&'\+01F469\200D\+01F4BB', 'those of emoji'),
    (U&'\2764\FE0F', U&'\2764\FE0F', 'an emoji''s selector'),
    (U&'\+01F3F4\+0E0067\+0E0062\+0E0073\+0E0063\+0E0074\+0E007F',
        U&'\+01F3F4\+0E0067\+0E0062\+0E0073\+0E0063\+0E0074\+0E007F', 'a flag''s tags'),
    (U&'\05E9\05DC\05D5\05DD\200F', U&'\05E9\05DC\05D5\05DD', 'Hebrew without a mark at its end'),
    (null, null, 'nothing is nothing')
) as t (given, wanted, means);
create temporary table invisible as
select * from unnest(array[
    '', '   ', e'\n\t', U&'\200B', U&'\200D\200C', U&'\3164', U&'\FFA0\115F\1160', U&'\2800\2800', U&'\0301\0302',
    U&'\FE0F', U&'\+0E0041\+0E0042', U&'\202E\200F', U&'\00AD', U&'\2060\FEFF', U&'\180E', U&'\E000', U&'\+01D159',
    U&'\+013430\+01343F', U&'\070F'
]) as t (words);
grant select on invisible to public;
select is(private.tidy_name(i.words) || private.tidy_body(i.words), '', 'shows nothing: ' || to_json(i.words))
from invisible as i;

-- Many lines.
select is(private.tidy_body(given), wanted, means)
from (values
    (e'  one\r\ntwo\n\n\tthree \n', e'one\ntwo\n\n\tthree', 'line breaks and tabs stay'),
    (U&'\05E9\05DC\05D5\05DD\200F!', U&'\05E9\05DC\05D5\05DD\200F!', 'marks of right-to-left texts stay'),
    (U&'1\202E2\202D3', '123', 'overrides go'),
    (e'a\u0007b\u009Bc', 'abc', 'control characters go'),
    (U&'hi\+0E0068\+0E0069', 'hi', 'texts for machines go'),
    (U&'hi\FE0F\FE01\+0E0100\FE0E', U&'hi\FE0F', 'also those made of variation selectors'),
    (U&'\2764\FE0F\2764\FE0E \845B\+0E0100', U&'\2764\FE0F\2764\FE0E \845B\+0E0100', 'one at each character stays'),
    (U&'e\0301', U&'\00E9', 'composed')
) as t (given, wanted, means);

-- One character may become eighteen.
select is(private.tidy_name(repeat(U&'\FDFA', 16385)), repeat(U&'\FDFA', 16385), 'what no column takes is left as it is');
select cmp_ok(char_length(private.slugify(repeat(U&'\FDFA', 16385))), '<', 20000, 'nor does it make an address without end');
select is(pg_temp.code_of($$select private.clean_tags(array[repeat(U&'\FDFA', 16385)])$$), 'invalid_tags', 'nor a tag');
select is(pg_temp.code_of($$select private.clean_tags(array_fill('x'::text, array[201]))$$), 'invalid_tags', 'nor 201');

-- Every text that clients write themselves.
select pg_temp.people();
create temporary table made (what text primary key, id uuid);
insert into made values ('product', pg_temp.product(1, 500)), ('artwork', pg_temp.artwork(1, 500));
insert into public.posts (id, user_id, content) values (pg_temp.id(100), pg_temp.id(1), 'Post');
insert into public.groups (id, owner_id, name) values (pg_temp.id(101), pg_temp.id(1), 'Group');
insert into public.comments (id, user_id, post_id, content) values (pg_temp.id(102), pg_temp.id(1), pg_temp.id(100), 'Hi');
update public.profiles set role = 'author' where id = pg_temp.id(1);
select pg_temp.be(pg_temp.id(1));
insert into public.artist_profiles (artist_name) values ('Artist');
insert into public.articles (title) values ('Article');
reset role;
select is(
    array_agg(distinct pg_temp.code_as(pg_temp.id(1), format('update public.%s set %I = %L', t.place, t.field, i.words))),
    '{text_not_visible}', t.field || ' of ' || t.place || ' shows something'
)
from (values
    ('products', 'title'), ('artworks', 'title'), ('groups', 'name'), ('comments', 'content'), ('articles', 'title'),
    ('artist_profiles', 'artist_name')
) as t (place, field)
cross join invisible as i
group by t.place, t.field;
select is(
    pg_temp.code_as(pg_temp.id(1), format('update public.posts set content = %L', U&'\200B')), '23514',
    'a post without anything to see is refused'
);
select is(
    pg_temp.code_as(pg_temp.id(1), format('update public.%s set %I = %L', t.place, t.field, e'two\nlines')), null,
    t.field || ' of ' || t.place || ' is written'
)
from (values
    ('products', 'title'), ('artworks', 'title'), ('groups', 'name'), ('articles', 'title'), ('articles', 'category'),
    ('artist_profiles', 'artist_name'), ('artist_profiles', 'genre'), ('profiles', 'display_name'),
    ('profiles', 'full_name'), ('product_files', 'name'), ('artworks', 'dimensions')
) as t (place, field);
select results_eq(
    $$select title from public.products union all select title from public.artworks
    union all select name from public.groups union all select title from public.articles
    union all select artist_name from public.artist_profiles union all select name from public.product_files
    union all select display_name from public.profiles where id = pg_temp.id(1)$$,
    $$select 'two lines' from generate_series(1, 7)$$, 'on one line'
);
select is(pg_temp.code_as(pg_temp.id(1), format('update public.profiles set bio = %L, display_name = %1$L', U&'\2800')), null,
    'what may be left out');
select results_eq(
    'select bio, display_name from public.profiles where id = pg_temp.id(1)', 'values (null::text, null::text)',
    'is left out'
);
select is(
    pg_temp.code_as(pg_temp.id(1), format('update public.artist_profiles set social_links = %L',
        jsonb_build_object(U&'in\200Bsta', 'https://e.com/x'))), null, 'objects'
);
select is((select social_links from public.artist_profiles), '{"insta": "https://e.com/x"}', 'are tidied inside');
select is(
    pg_temp.code_as(pg_temp.id(1), format('select public.create_poll(%L, %L)', q, o)), 'invalid_poll',
    'a poll''s question and options show something'
)
from (values (U&'\200B', '{a,b}'::text[]), ('Which?', array['a', U&'\3164'])) as t (q, o);
select is(
    pg_temp.code_as(pg_temp.id(2), format('select public.report_content(''post'', %L, ''spam'', %L)', pg_temp.id(100), U&'\200B\2800')),
    null, 'a report without a word'
);
select is((select details from public.reports), null, 'has no details');

-- Reasons.
select is(pg_temp.code_of(format('select private.require_reason(%L)', given)), code, means)
from (values
    ('Broken.', null, 'a reason'), (repeat('x', 500), null, 'of 500 characters'),
    (repeat('x', 501), 'reason_required', 'not of more'), ('', 'reason_required', 'an empty one is none'),
    (null, 'reason_required', 'nor is nothing'), (U&' \200B\2800', 'reason_required', 'nor what shows nothing')
) as t (given, code, means);
select is(private.require_reason(e' Broken.\r\nAgain.\u0007 '), e'Broken.\nAgain.', 'it is tidied');

-- Tags and addresses.
select is(private.hashtags(given), wanted, means)
from (values
    (U&'#\0939\093F\0928\094D\0926\0940', array[U&'\0939\093F\0928\094D\0926\0940'], 'marks belong to the word'),
    (U&'#Cafe\0301 #caf\00E9 #\FF23\FF21\FF26\00C9', array[U&'caf\00E9'], 'one word has one form'),
    (U&'#\0645\06CC\200C\062E\0648\0627\0647\0645.', array[U&'\0645\06CC\200C\062E\0648\0627\0647\0645'], 'joiners too'),
    (U&'\FF03\65E5\672C', array[U&'\65E5\672C'], 'a wide # is one'),
    (U&'\0928\093F#no a#no &#39; #12 #\0967\0968 #1\FE0F\20E3', '{}', 'inside words and numbers are none'),
    ('#' || repeat('x', 51), '{}', 'nor is half of a long word')
) as t (given, wanted, means);
select is(
    private.clean_tags(array[U&'Cafe\0301', U&'CAF\00C9', ' #caf' || U&'\00E9', U&'\200B']), array[U&'caf\00E9'],
    'named tags have the same form'
);
select is(private.slugify(given), wanted, given)
from (values
    ('Рассвет', 'rassvet'), ('Щедрик', 'shchedrik'), ('Київ', 'kiyiv'), ('Μουσική', 'mousiki'), ('საქართველო', 'sakartvelo'),
    ('Երաժշտություն', 'erazhshtutyun'), ('שיר', 'shyr'), ('موسيقى', 'mwsyqa'), ('संगीत', 'sangit'), ('とうきょう', 'toukyou'),
    ('ロック', 'rokku'), ('서울', 'seoul'), ('Łódź & Ærø', 'lodz-aero'), ('ＦＵＬＬ', 'full'), ('🎹', '')
) as t (given, wanted);

select * from finish();
rollback;
