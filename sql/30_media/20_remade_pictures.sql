-- What lies in the public buckets from before pictures were made by the workers, or is still uploaded there: `avenue
-- remake-pictures` makes it again. The same address then answers without what the file said of its maker, and what
-- shows it refers to a picture of media.

create table private.remade_pictures (
    object_id uuid not null,
    version text,
    failure text,
    constraint remade_pictures_pkey primary key (object_id)
);
comment on table private.remade_pictures is
'Stored objects of public buckets that were made again, or gave no picture, in the version they have since.';
comment on column private.remade_pictures.object_id is 'The stored object.';
comment on column private.remade_pictures.version is 'Its version then; with another one it is looked at again.';
comment on column private.remade_pictures.failure is
'Why it is as it was uploaded: see media_failure. Null: it is not.';
alter table private.remade_pictures enable row level security;

create function private.pictures_to_remake(after_bucket text, after_path text, max_rows integer)
returns table (bucket text, path text, version text)
language sql
stable
security definer
set search_path = ''
as $$
    select o.bucket_id, o.name, o.version from storage.objects as o
    where
        o.bucket_id in ('avatars', 'banners', 'media') and o.metadata ->> 'mimetype' like 'image/%'
        and (o.bucket_id, o.name) > (coalesce(after_bucket, ''), coalesce(after_path, ''))
        and not exists (
            select from private.remade_pictures as r
            where r.object_id = o.id and r.version is not distinct from o.version
        )
    order by o.bucket_id, o.name
    limit max_rows
$$;
comment on function private.pictures_to_remake(text, text, integer) is
'Pictures in public buckets that are as they were uploaded, after this bucket and path.';
grant execute on function private.pictures_to_remake(text, text, integer) to avenue_worker;

create function private.picture_remade(bucket text, path text, failure text) returns void
language sql
security definer
set search_path = ''
as $$
    insert into private.remade_pictures as r (object_id, version, failure)
    select o.id, o.version, picture_remade.failure from storage.objects as o
    where o.bucket_id = picture_remade.bucket and o.name = picture_remade.path
    on conflict on constraint remade_pictures_pkey do update set
        version = excluded.version, failure = excluded.failure
$$;
comment on function private.picture_remade(text, text, text) is
'Notes that a stored object was made again, or why not.';
grant execute on function private.picture_remade(text, text, text) to avenue_worker;

-- By the folder's owner, whose rows an index finds: nobody else's picture can become a picture of theirs anyway.
create function private.shown_at(owner uuid, address text, place private.media_columns) returns text
language sql
stable
set search_path = ''
as $$
    select format(
        't.%I = %L and t.%I is null and (%s)', place.owner_column, owner, place.media_column,
        (
            -- Whatever host the address was of, and whatever was asked of it.
            select string_agg(
                format('right(split_part(t.%I, ''?'', 1), %s) = %L', u.name, char_length(address), address), ' or '
            )
            from jsonb_object_keys(place.urls) as u (name)
        )
    )
$$;
comment on function private.shown_at(uuid, text, private.media_columns) is
'Condition on rows t of a relation, of this owner, that show what lies at a path of the project.';

create function private.purposes_of_address(owner uuid, address text)
returns table (purpose text, sizes text[])
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    place private.media_columns;
    is_shown boolean;
begin
    for place in select * from private.media_columns as c order by c.relation, c.media_column loop
        execute format(
            'select exists (select from %s as t where %s)', place.relation,
            private.shown_at(owner, address, place)
        ) into is_shown;
        if is_shown then
            return query select p.purpose, p.sizes from private.media_purposes as p where p.purpose = place.purpose;
        end if;
    end loop;
end
$$;
comment on function private.purposes_of_address(uuid, text) is
'What shows a stored object by its address, a path of the project, and could refer to a picture instead.';
grant execute on function private.purposes_of_address(uuid, text) to avenue_worker;

create function private.show_remade(owner uuid, address text, purpose text, media_id uuid, picture jsonb)
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    was_verified boolean := exists (
        select from public.artist_profiles as a where a.user_id = show_remade.owner and a.is_verified
    );
    place private.media_columns;
    changed integer;
    total integer := 0;
begin
    perform private.publish_media(owner, show_remade.purpose, show_remade.media_id, picture);
    for place in
        select * from private.media_columns as c
        where c.purpose = show_remade.purpose
        order by c.relation, c.media_column
    loop
        execute format(
            'update %s as t set %I = $1 where %s', place.relation, place.media_column,
            private.shown_at(owner, address, place)
        ) using show_remade.media_id;
        get diagnostics changed = row_count;
        total := total + changed;
    end loop;
    if total = 0 then
        -- Changed meanwhile.
        update public.media as m set expires_at = now() where m.id = show_remade.media_id;
    end if;
    -- It is the same face.
    update public.artist_profiles as a set is_verified = true
    where was_verified and a.user_id = show_remade.owner and not a.is_verified;
    return total;
end
$$;
comment on function private.show_remade(uuid, text, text, uuid, jsonb) is
'What shows a stored object by its address, a path of the project, refers to this picture of it from now on; how many '
'rows.';
grant execute on function private.show_remade(uuid, text, text, uuid, jsonb) to avenue_worker;

insert into private.personal_data (section, relation, condition, stays, reason) values
('remade_pictures', 'private.remade_pictures',
    null, '{object_id, version, failure}', 'names stored files, which are erased');
