-- How things move from state to state. A page with a status column says which moves there are, and has the guard
-- written from them: whatever else a function does to the column is refused. docs/schema/states.md draws them.

create table private.state_moves (
    relation text not null,
    state_column text not null,
    from_state text,
    to_state text not null,
    meaning text not null,
    move text not null generated always as (coalesce(from_state, '') || '>' || to_state) stored,
    constraint state_moves_pkey primary key (relation, state_column, move),
    constraint state_moves_move_check check (from_state <> to_state and move ~ '^[a-z_]*>[a-z_]+$'),
    constraint state_moves_meaning_check check (meaning ~ '^[^:;#]{1,60}$')
);
comment on table private.state_moves is
'Which moves of a status column there are: rows inserted on the page that makes it, which then calls build_moves().';
comment on column private.state_moves.relation is 'Schema-qualified relation.';
comment on column private.state_moves.state_column is 'The column; never null.';
comment on column private.state_moves.from_state is 'The state that is left; null: a row may be born in to_state.';
comment on column private.state_moves.to_state is 'The state that is entered.';
comment on column private.state_moves.meaning is 'What has happened then, for the picture: at most 60 characters.';
comment on column private.state_moves.move is 'Both states, as the guard compares them.';
alter table private.state_moves enable row level security;

create function private.refuse_move() returns trigger
language plpgsql
set search_path = ''
as $$
declare
    before text := case when tg_op = 'UPDATE' then to_jsonb(old) ->> tg_argv[0] else 'nothing' end;
begin
    perform private.fail('move_not_allowed', format(
        '%s.%s: from %s to %s', tg_relid::regclass, tg_argv[0], before, to_jsonb(new) ->> tg_argv[0]
    ));
    return null;
end
$$;
comment on function private.refuse_move() is
'Trigger: refuses a state; its column is the argument. Which ones the trigger''s condition says: see build_moves().';

create function private.build_moves(relation text, state_column text) returns void
language plpgsql
set search_path = ''
as $$
declare
    births text[];
    moves text[];
begin
    select
        array_agg(m.to_state order by m.to_state collate "C") filter (where m.from_state is null),
        array_agg(m.move order by m.move collate "C") filter (where m.from_state is not null)
    into strict births, moves
    from private.state_moves as m
    where m.relation = build_moves.relation and m.state_column = build_moves.state_column;
    -- After the row, when constraints and the page's own triggers have refused what they know; before all other
    -- triggers there, so that nothing acts on a wrong move first. Honest ones cost a comparison.
    execute format(
        'create or replace trigger %1$I after insert on %2$s for each row when (new.%3$I <> all (%4$L)) '
        'execute function private.refuse_move(%3$L)',
        '_refuse_birth_' || state_column, relation::regclass, state_column, coalesce(births, '{}')
    );
    execute format(
        'create or replace trigger %1$I after update on %2$s for each row when ('
        'old.%3$I is distinct from new.%3$I and old.%3$I::text || ''>'' || new.%3$I::text <> all (%4$L)) '
        'execute function private.refuse_move(%3$L)',
        '_refuse_move_' || state_column, relation::regclass, state_column, coalesce(moves, '{}')
    );
end
$$;
comment on function private.build_moves(text, text) is
'Writes the guard of a status column from its rows of state_moves: two triggers whose conditions hold the moves. The '
'column''s page calls it, and a migration that changes its moves.';

create function private.refuse_state(kind text, state anyelement) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform private.fail('state_changed', jsonb_build_object('kind', kind, 'state', state)::text);
end
$$;
comment on function private.refuse_state(text, anyelement) is
'Fails with state_changed for a move that its state does not allow: detail {kind, state}.';

insert into private.error_codes (code, sqlstate, message, description) values
('state_changed', 'PT409', 'This is not possible in its state.',
'It has moved on, or has not got there yet. The detail, {kind, state}, says of what kind it is and its state now.'),
('move_not_allowed', 'AV003', 'This thing cannot go from its state to that one.',
'A mistake in our functions, not the caller''s: private.state_moves does not have the move that the detail names. '
'Nothing was changed.');
