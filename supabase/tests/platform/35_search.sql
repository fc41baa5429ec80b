-- Words of texts and of queries.
begin;
\ir ../helpers.psql

select plan(33);

select is(
    private.search_query(query) @@ private.search_vector(title, array['lo-fi'], 'Recorded at the café by whoever'),
    found, format('%s %s %s', query, case when found then 'finds' else 'does not find' end, title)
)
from (values
    ('café', 'Cafe Sessions', true), ('cafe', 'Café Sessions', true), ('CAFÉ', 'Cafe Sessions', true),
    ('ｃａｆｅ', 'Café', true),
    ('session', 'Café Sessions', true), ('"cafe sessions"', 'Café Sessions', true),
    ('"sessions cafe"', 'Café Sessions', false), ('cafe -sessions', 'Café Sessions', false),
    ('drums or sessions', 'Sessions', true), ('lo-fi', 'Sessions', true), ('recorded', 'Sessions', true),
    ('The Who', 'The Who: Live', true), ('who', 'The Who', true), ('the', 'Who', false),
    ('who the', 'The Who', false), ('the live', 'The Who: Live', true),
    ('東京', '夜の東京タワー', true), ('東京タワー', '夜の東京タワー', true), ('京東', '夜の東京タワー', false),
    ('"東京タワー" tape', '夜の東京タワー Tape', true), ('夜', '夜の東京タワー', true), ('서울', '밤의서울거리', true),
    ('東京2024', '東京 2024', true),
    ('cafe ---sessions', 'Café Sessions', false), ('cafe -- - sessions', 'Café', true)
) as c (query, title, found);
select is(numnode(private.search_query(query)), 0, format('%L asks for nothing', query))
from unnest(array['', null, '  ', '-drums']) as query;

-- The parser's stack ends at 32 operators that wait for a word.
select lives_ok(format('select private.search_query(%L)', repeat(dash, 200) || 'a'), format('a row of %L', dash))
from unnest(array['-', '- ', '-(', '—']) as dash;

select * from finish();
rollback;
