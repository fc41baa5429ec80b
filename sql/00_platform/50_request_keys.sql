-- Idempotency keys of clients. A key belongs to its caller and its purpose; the same key with the same request gets the
-- first answer, with another request it is refused: whoever reuses a key by mistake must not be told that it was done.

create table private.request_keys (
    caller uuid not null,
    purpose text not null,
    key text not null,
    fingerprint bytea not null,
    answer jsonb,
    created_at timestamptz not null default now(),
    constraint request_keys_pkey primary key (caller, purpose, key)
);

comment on table private.request_keys is
'Idempotency keys that were used. A refused request leaves no row: its transaction is undone. Kept as long as the '
'account: an old key must not charge twice.';
comment on column private.request_keys.caller is 'Who used it. No foreign key: the row goes with the account.';
comment on column private.request_keys.purpose is 'The function it was given to.';
comment on column private.request_keys.key is 'As the client chose it, 1 to 200 characters.';
comment on column private.request_keys.fingerprint is 'SHA-256 of the request''s meaning.';
comment on column private.request_keys.answer is
'What was answered, or the id of what was made; set in the same transaction.';

alter table private.request_keys enable row level security;

create function private.claim_request(caller uuid, purpose text, key text, request jsonb) returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    print bytea := sha256(convert_to(request::text, 'UTF8'));
    earlier private.request_keys;
begin
    if claim_request.key is null then
        return null;
    end if;
    if char_length(claim_request.key) not between 1 and 200 then
        perform private.fail('idempotency_key_invalid');
    end if;
    -- A second request with the key waits here until the first has committed or failed.
    insert into private.request_keys (caller, purpose, key, fingerprint)
    values (claim_request.caller, claim_request.purpose, claim_request.key, print)
    on conflict do nothing;
    if found then
        return null;
    end if;
    select * into strict earlier from private.request_keys as k
    where k.caller = claim_request.caller and k.purpose = claim_request.purpose and k.key = claim_request.key;
    if earlier.fingerprint <> print then
        perform private.fail('idempotency_key_reused', claim_request.purpose);
    end if;
    return earlier.answer;
end
$$;

comment on function private.claim_request(uuid, text, text, jsonb) is
'Begins a request under an idempotency key: null when it is new (or has no key), else what answer_request() noted. '
'Request: every argument that matters, normalised. Errors: idempotency_key_invalid, idempotency_key_reused.';

create function private.answer_request(caller uuid, purpose text, key text, answer jsonb) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    if answer_request.key is not null then
        update private.request_keys as k set answer = answer_request.answer
        where k.caller = answer_request.caller and k.purpose = answer_request.purpose and k.key = answer_request.key;
    end if;
end
$$;

comment on function private.answer_request(uuid, text, text, jsonb) is
'Notes the answer of a request begun by claim_request(), in the same transaction. Without a key it does nothing.';

insert into private.erasure_steps (step, phase, erases, statement) values
('request_keys', 'records', '{private.request_keys}', 'delete from private.request_keys where caller = $1');

insert into private.personal_data (section, relation, condition, stays, reason) values
('request_keys', 'private.request_keys', null, '{}', 'keys the callers own application made, for repeated requests');

insert into private.error_codes (code, sqlstate, message, description) values
('idempotency_key_invalid', 'PT400', 'The idempotency key is not valid.', 'A key has 1 to 200 characters.'),
('idempotency_key_reused', 'PT409', 'This idempotency key was used for another request.',
'The same key with the same request gets the first answer. Use a new key for a new request.');
