-- Who wants nothing to do with whom. A block works both ways: neither finds, reads, hears of or writes to the other,
-- wherever profiles' policies or private.blocked_ids() decide. Only who blocked knows that there is a block.

create table public.user_blocks (
    blocker_id uuid not null default auth.uid(),
    blocked_id uuid not null,
    created_at timestamptz not null default now(),
    constraint user_blocks_pkey primary key (blocker_id, blocked_id),
    constraint user_blocks_blocker_id_fkey foreign key (blocker_id) references public.profiles (id) on delete cascade,
    constraint user_blocks_blocked_id_fkey foreign key (blocked_id) references public.profiles (id) on delete cascade,
    constraint user_blocks_self_check check (blocker_id <> blocked_id),
    constraint user_blocks_platform_check check (not private.is_platform(blocked_id))
);

create index user_blocks_blocked_id_idx on public.user_blocks (blocked_id);

-- What a client that breaks these is told, see error_catalog().
comment on constraint user_blocks_self_check on public.user_blocks is
'cannot_block_yourself: Blocks are between two people.';
comment on constraint user_blocks_platform_check on public.user_blocks is
'user_not_found: The platform itself is nobody to block.';
comment on constraint user_blocks_blocked_id_fkey on public.user_blocks is 'user_not_found: There is no such account.';
comment on constraint user_blocks_pkey on public.user_blocks is 'already_done: The account is blocked already.';

comment on table public.user_blocks is 'Blocks; each is read and written by who blocked only.';
comment on column public.user_blocks.blocker_id is 'Who blocked; the caller.';
comment on column public.user_blocks.blocked_id is 'Who is blocked.';

create function public.blocked_profiles()
returns table (id uuid, username text, display_name text, avatar_url text, blocked_at timestamptz)
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
begin
    return query
    select p.id, p.username::text, p.display_name, p.avatar_url::text, b.created_at
    from public.user_blocks as b
    inner join public.profiles as p on p.id = b.blocked_id
    where b.blocker_id = caller
    order by b.created_at desc, p.id;
end
$$;
comment on function public.blocked_profiles() is
'Whom the caller blocked, latest first: their profiles cannot be read any more, and one must know whom to unblock.';
grant execute on function public.blocked_profiles() to authenticated;

create function private.pair(one uuid, other uuid) returns uuid
language sql
immutable
strict
set search_path = ''
as $$
    select md5(least(one, other)::text || greatest(one, other)::text)::uuid
$$;
comment on function private.pair(uuid, uuid) is 'Two people as one id, whoever comes first: names their gate.';

-- Who ends an account takes its conversations, then its blocks; who takes a block back, the block, then conversations.
create function private.hold_accounts(one uuid, other uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.lock_gates('account', array[one, other]);
    return true;
end
$$;
comment on function private.hold_accounts(uuid, uuid) is
'Keeps both accounts from ending until the transaction does; true. For the policy on taking a block back.';
grant execute on function private.hold_accounts(uuid, uuid) to authenticated;

create function private.has_blocked(user_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.user_blocks as b where b.blocker_id = auth.uid() and b.blocked_id = has_blocked.user_id
    )
$$;
comment on function private.has_blocked(uuid) is 'Whether the caller blocked this account.';
grant execute on function private.has_blocked(uuid) to authenticated;

-- Who cannot be seen cannot be blocked: an answer would tell that they exist. But again who is blocked already, as an
-- upsert does.
select private.make_own_rows(
    'public.user_blocks', 'blocked_id', owner_column => 'blocker_id',
    insertable => 'private.can_see(blocked_id) or private.has_blocked(blocked_id)',
    deletable => 'private.hold_accounts(blocker_id, blocked_id)'
);

insert into private.personal_data (section, relation, condition) values
('blocks', 'public.user_blocks', 't.blocker_id = $1');

-- Not in batches: what a block hides is counted anew by nobody when it goes with its account, so the conversations
-- go in
-- the same transaction.
insert into private.erasure_steps (step, phase, erases, statement) values
('user_blocks', 'standing', '{public.user_blocks}',
    'delete from public.user_blocks where $1 in (blocker_id, blocked_id)');
