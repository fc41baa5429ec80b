-- The options of a poll and who voted for what. How many voted for an option is for everybody who can read the post;
-- who voted for what is for the voter alone.

create table public.poll_options (
    id uuid not null default gen_random_uuid(),
    post_id uuid not null,
    position smallint not null,
    option text not null,
    votes_count integer not null default 0,
    constraint poll_options_pkey primary key (id),
    constraint poll_options_post_id_position_key unique (post_id, position),
    constraint poll_options_post_id_id_key unique (post_id, id),
    constraint poll_options_post_id_fkey foreign key (post_id) references public.posts (id) on delete cascade,
    constraint poll_options_position_check check (position > 0),
    constraint poll_options_votes_count_check check (votes_count >= 0)
)
-- The counter is in no index: room on the page keeps its updates HOT.
with (fillfactor = 70);

comment on table public.poll_options is
'The 2 to 10 options of a poll, made with it by create_poll() and never changed; nor is the question once somebody '
'voted. Readable with the post.';
comment on column public.poll_options.post_id is 'The poll.';
comment on column public.poll_options.position is 'Place in the list, from 1.';
comment on column public.poll_options.option is 'The answer, one line of at most 200 characters.';
comment on column public.poll_options.votes_count is 'Votes for it; kept by triggers. Final once the poll has ended.';

create table public.poll_votes (
    post_id uuid not null,
    user_id uuid not null default auth.uid(),
    option_id uuid not null,
    created_at timestamptz not null default now(),
    constraint poll_votes_pkey primary key (post_id, user_id),
    constraint poll_votes_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint poll_votes_option_id_fkey foreign key (post_id, option_id)
    references public.poll_options (post_id, id) on delete cascade
);

create index poll_votes_post_id_option_id_idx on public.poll_votes (post_id, option_id);
create index poll_votes_user_id_idx on public.poll_votes (user_id, created_at desc);

-- What a client that breaks these is told, see error_catalog().
comment on constraint poll_votes_option_id_fkey on public.poll_votes is
'poll_not_found: There is no such option in this poll.';
comment on constraint poll_votes_pkey on public.poll_votes is
'already_done: A vote was given already; upsert to change it.';

comment on table public.poll_votes is
'One vote per poll and person, until the poll ends: it may be changed and taken back. Only the voter reads it.';
comment on column public.poll_votes.post_id is 'The poll; one the caller can read.';
comment on column public.poll_votes.user_id is 'Who voted; the caller.';
comment on column public.poll_votes.option_id is 'The chosen option of this poll.';

create table private.kept_votes (
    option_id uuid not null,
    votes integer not null,
    constraint kept_votes_pkey primary key (option_id),
    constraint kept_votes_option_id_fkey foreign key (option_id) references public.poll_options (id) on delete cascade
);
comment on table private.kept_votes is
'Votes in ended polls whose voters deleted their accounts: the result stays, who it was does not.';
comment on column private.kept_votes.votes is 'How many.';
alter table private.kept_votes enable row level security;

create function private.count_poll_votes() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    chosen uuid;
    change integer;
begin
    -- After the row's policy was asked, so that the answer tells nothing about polls one cannot read. The clock, not
    -- the transaction's time: a vote that waited is late.
    if tg_op = 'INSERT' and exists (
        select from public.posts as p
        where p.id in (select c.post_id from changed as c) and p.poll_ends_at <= clock_timestamp()
    ) then
        perform private.fail('poll_closed');
    end if;
    if tg_op = 'DELETE' then
        -- From an ended poll nobody takes a vote back: an account ends. The time is hold_open_poll()'s, or a vote taken
        -- back at the last moment would be kept. Options are gone when the poll is.
        insert into private.kept_votes as k (option_id, votes)
        select o.id, count(*)
        from changed as c
        inner join public.posts as p on p.id = c.post_id and p.poll_ends_at <= statement_timestamp()
        inner join public.poll_options as o on o.id = c.option_id
        group by o.id
        order by o.id
        on conflict on constraint kept_votes_pkey do update set votes = k.votes + excluded.votes;
        if found then
            perform private.add_counts('poll_options.votes_count', array_agg(c.option_id), array_agg(sign))
            from changed as c
            inner join public.posts as p
                on p.id = c.post_id and (p.poll_ends_at is null or p.poll_ends_at > statement_timestamp());
            return null;
        end if;
    end if;
    select c.option_id into chosen from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('poll_options.votes_count', array_agg(c.option_id), array_agg(sign))
        from changed as c;
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with the poll: nothing is left to count on.
        select o.id into chosen from public.poll_options as o where o.id = chosen;
    end if;
    if chosen is not null then
        change := private.claim_count('poll_options.votes_count', chosen, sign);
        if change is not null then
            update public.poll_options as o set votes_count = o.votes_count + change where o.id = chosen;
        end if;
    end if;
    return null;
end
$$;
comment on function private.count_poll_votes() is
'Trigger: poll_options.votes_count; fails with poll_closed after the poll''s end, whose result stays.';

create trigger count_poll_votes_inserted after insert on public.poll_votes
referencing new table as changed
for each statement execute function private.count_poll_votes();
create trigger count_poll_votes_deleted after delete on public.poll_votes
referencing old table as changed
for each statement execute function private.count_poll_votes();

create function private.count_changed_votes() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    moved record;
    votes integer;
begin
    if exists (
        select from public.posts as p
        where p.id in (select a.post_id from after as a) and p.poll_ends_at <= clock_timestamp()
    ) then
        perform private.fail('poll_closed');
    end if;
    if (select count(*) from after as a) = 1 then
        -- Ascending ids, as many votes are counted. The vote itself may still be somebody's to add: only who adds what
        -- is pending never takes away what is not there yet.
        for moved in
            select b.option_id as id, -1 as change from before as b
            where b.option_id <> all (select a.option_id from after as a)
            union all
            select a.option_id, 1 from after as a where a.option_id <> all (select b.option_id from before as b)
            order by 1
        loop
            votes := private.claim_count('poll_options.votes_count', moved.id, moved.change);
            if votes is not null then
                update public.poll_options as o set votes_count = o.votes_count + votes where o.id = moved.id;
            end if;
        end loop;
        return null;
    end if;
    perform private.add_counts('poll_options.votes_count', array_agg(v.option_id), array_agg(v.change))
    from (
        select b.option_id, -1 as change from before as b
        union all
        select a.option_id, 1 as change from after as a
    ) as v;
    return null;
end
$$;
comment on function private.count_changed_votes() is
'Trigger: a vote moved from one option to another; fails with poll_closed after the poll''s end.';

create trigger count_changed_votes after update on public.poll_votes
referencing old table as before new table as after
for each statement execute function private.count_changed_votes();

-- An upsert locks the vote it changes before the policy holds the post; who deletes the post takes it the other way
-- round.
create function private.hold_poll() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.hold_post(new.post_id);
    return new;
end
$$;
comment on function private.hold_poll() is 'Trigger: who votes holds the post, see hold_post(), before any vote.';

create trigger hold_poll before insert on public.poll_votes
for each row execute function private.hold_poll();

-- One vote, one poll: the composite foreign key holds the option to the poll, this holds the vote to it.
create function private.keep_vote_in_poll() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.post_id := old.post_id;
    return new;
end
$$;
comment on function private.keep_vote_in_poll() is 'Trigger: a vote never moves to another poll.';

create trigger keep_vote_in_poll before update of post_id on public.poll_votes
for each row execute function private.keep_vote_in_poll();

create function private.keep_question() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Waits for those who vote just now, see hold_poll().
    perform from public.posts as p where p.id = new.id for update;
    if exists (select from public.poll_votes as v where v.post_id = new.id) then
        perform private.fail('poll_has_votes', new.id::text);
    end if;
    return new;
end
$$;
comment on function private.keep_question() is
'Trigger: what people voted on is not turned into something else; fails with poll_has_votes.';

create trigger keep_question before update of content on public.posts
for each row
when (old.post_type = 'poll' and new.content is distinct from old.content)
execute function private.keep_question();

insert into private.counters (counter, relation, key, count_column, truth) values
('poll_options.votes_count', 'public.poll_options', 'id', 'votes_count',
'select option_id, sum(votes) from (select option_id, 1 as votes from public.poll_votes union all '
'select option_id, votes from private.kept_votes) as v group by 1');

create function private.hold_open_poll(post_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Held for the reason of hold_post(). One time for the policy and the trigger that counts: the statement's.
    perform from public.posts as p
    where p.id = hold_open_poll.post_id and (p.poll_ends_at is null or p.poll_ends_at > statement_timestamp())
    for key share;
    return found;
end
$$;
comment on function private.hold_open_poll(uuid) is
'Whether votes in this poll may still be taken back; keeps the post from being deleted meanwhile.';
grant execute on function private.hold_open_poll(uuid) to authenticated;

create function private.voted_for(post_id uuid) returns uuid
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return (
        select v.option_id from public.poll_votes as v where v.post_id = voted_for.post_id and v.user_id = auth.uid()
    );
end
$$;
comment on function private.voted_for(uuid) is 'The option the caller voted for in this poll; null without a vote.';
grant execute on function private.voted_for(uuid) to authenticated;

create function public.my_vote(post public.posts) returns uuid
language plpgsql
stable
set search_path = ''
as $$
begin
    if post.post_type <> 'poll' or auth.uid() is null then
        return null;
    end if;
    return private.voted_for(post.id);
end
$$;
comment on function public.my_vote(public.posts) is
'Computed column of posts: id of the option the caller voted for; null without a vote.';
grant execute on function public.my_vote(public.posts) to anon, authenticated;

create function public.create_poll(
    content text, options text[], ends_at timestamptz default null, group_id uuid default null,
    tags text[] default '{}'
) returns public.posts
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    answers text [] := array(
        select private.tidy_name(o.option)
        from unnest(options) with ordinality as o (option, position)
        order by o.position
    );
    post public.posts;
begin
    if coalesce(private.tidy_body(content), '') = '' then
        perform private.fail('invalid_poll', 'the question is missing');
    elsif coalesce(cardinality(options), 0) not between 2 and 10 or array_ndims(options) <> 1 then
        perform private.fail('invalid_poll', 'a poll has 2 to 10 options');
    elsif exists (
        select from unnest(answers) as a (answer) where a.answer is null or char_length(a.answer) not between 1 and 200
    ) then
        perform private.fail('invalid_poll', 'an option has 1 to 200 characters');
    elsif (select count(distinct lower(a.answer)) from unnest(answers) as a (answer)) < cardinality(answers) then
        perform private.fail('invalid_poll', 'two options are the same');
    elsif ends_at <= clock_timestamp() or ends_at > clock_timestamp() + interval '1 year' then
        perform private.fail('invalid_poll', 'a poll ends in the future, within a year');
    end if;
    insert into public.posts as p (user_id, group_id, post_type, content, poll_ends_at, tags)
    values (
        caller, create_poll.group_id, 'poll', create_poll.content, create_poll.ends_at,
        coalesce(create_poll.tags, '{}')
    )
    returning p.* into post;
    insert into public.poll_options (post_id, position, option)
    select post.id, a.position, a.answer from unnest(answers) with ordinality as a (answer, position);
    return post;
end
$$;
comment on function public.create_poll(text, text[], timestamptz, uuid, text[]) is
'Makes a poll: the question, 2 to 10 different options of at most 200 characters, the end of voting (within a year; '
'null: never) and the group it is for (null: the profile). Returns the post. Fails with invalid_poll, '
'group_members_only, invalid_tags.';
grant execute on function public.create_poll(text, text[], timestamptz, uuid, text[]) to authenticated;

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of option on public.poll_options
for each row execute function private.tidy_texts('option line required');

alter table public.poll_options enable row level security;
grant select on public.poll_options to anon, authenticated, service_role;

create policy poll_options_select_anon on public.poll_options for select to anon
using ((select p.id from public.posts as p where p.id = post_id) is not null);
create policy poll_options_select on public.poll_options for select to authenticated
using ((select p.id from public.posts as p where p.id = post_id) is not null);

alter table public.poll_votes enable row level security;
grant select on public.poll_votes to authenticated, service_role;
-- post_id only because an upsert sets every column it sends; keep_vote_in_poll() holds the vote to its poll.
grant insert (post_id, option_id), update (post_id, option_id), delete on public.poll_votes to authenticated;

create policy poll_votes_select on public.poll_votes for select to authenticated
using (
    user_id = (select private.member_id())
    and (select p.id from public.posts as p where p.id = post_id) is not null
);
create policy poll_votes_insert on public.poll_votes for insert to authenticated
with check (
    user_id = (select private.member_id())
    and (select p.id from public.posts as p where p.id = post_id) is not null
);
create policy poll_votes_update on public.poll_votes for update to authenticated
using (user_id = (select private.member_id()) and private.hold_post(post_id))
with check (
    user_id = (select private.member_id())
    and (select p.id from public.posts as p where p.id = post_id) is not null
);
create policy poll_votes_delete on public.poll_votes for delete to authenticated
using (user_id = (select private.member_id()) and private.hold_open_poll(post_id));

create function private.post_evidence(ids uuid[], reader uuid) returns setof private.reported_content
language sql
stable
security definer
set search_path = ''
as $$
    select
        p.id, p.user_id,
        to_jsonb(p) - 'search' || jsonb_build_object('poll_options', coalesce((
            select jsonb_agg(o.option order by o.position) from public.poll_options as o where o.post_id = p.id
        ), '[]'))
    from public.posts as p
    where p.id = any (ids)
$$;
comment on function private.post_evidence(uuid[], uuid) is 'Hook evidence: with the options of a poll.';

insert into private.error_codes (code, sqlstate, message, description) values
('invalid_poll', 'PT400', 'This poll is not complete.',
'The detail says what is missing or wrong: the question, 2 to 10 different options, an end in the future.'),
('poll_closed', 'PT409', 'Voting in this poll has ended.', 'poll_ends_at has passed; the counts are final.'),
('poll_has_votes', 'PT409', 'People have voted on this question.',
'The question of a poll can be corrected until the first vote. Delete the poll and make another one.');

insert into private.personal_data (section, relation, condition) values
('poll_options', 'public.poll_options', 't.post_id in (select p.id from public.posts as p where p.user_id = $1)'),
('poll_votes', 'public.poll_votes', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('poll_votes', 'reactions', '{public.poll_votes}',
    'delete from public.poll_votes where user_id = $1',
    'select private.erase_rows(''public.poll_votes'', ''user_id = $1'', $1, $2)');
