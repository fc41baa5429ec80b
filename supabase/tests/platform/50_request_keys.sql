-- Idempotency keys: same request same answer, another request refused, keys belong to caller and purpose.
begin;
\ir ../helpers.psql

select plan(10);

select is(private.claim_request('00000000-0000-0000-0000-00000000000a', 'buy', 'k', '{"a": 1}'), null,
    'a new key has no answer yet');
select lives_ok($$select private.answer_request('00000000-0000-0000-0000-00000000000a', 'buy', 'k', '"first"')$$,
    'the answer is noted');
select is(private.claim_request('00000000-0000-0000-0000-00000000000a', 'buy', 'k', '{"a": 1}'), '"first"',
    'the same request gets the first answer');
select is(pg_temp.code_of(
    $$select private.claim_request('00000000-0000-0000-0000-00000000000a', 'buy', 'k', '{"a": 2}')$$
), 'idempotency_key_reused', 'another request under the key is refused');
select is(private.claim_request('00000000-0000-0000-0000-00000000000b', 'buy', 'k', '{"a": 2}'), null,
    'another member''s key is another key');
select is(private.claim_request('00000000-0000-0000-0000-00000000000a', 'refund', 'k', '{"a": 2}'), null,
    'a key of another purpose is another key');
select is(private.claim_request('00000000-0000-0000-0000-00000000000a', 'buy', null, '{"a": 2}'), null,
    'without a key every request is new');
select is(pg_temp.code_of(
    format($$select private.claim_request('00000000-0000-0000-0000-00000000000a', 'buy', %L, '{}')$$, k)
), 'idempotency_key_invalid', format('a key of %s characters is refused', length(k)))
from unnest(array['', repeat('x', 201)]) as u (k);
select ok(not has_table_privilege('authenticated', 'private.request_keys', 'select'), 'clients do not read keys');

select * from finish();
rollback;
