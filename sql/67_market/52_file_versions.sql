-- Versions of a product's files. A seller releases new files with notes; those they replace are removed for whoever
-- buys from now on and stay for whoever bought before (45_product_files). Owners are told, some at a time, by the
-- workers: version_notices is the truth of how far that went.

create table public.product_versions (
    id uuid not null default gen_random_uuid(),
    product_id uuid not null,
    number integer not null,
    name text,
    notes text not null,
    created_at timestamptz not null default now(),
    constraint product_versions_pkey primary key (id),
    constraint product_versions_number_key unique (product_id, number),
    constraint product_versions_product_id_fkey foreign key (product_id)
    references public.products (id) on delete cascade,
    constraint product_versions_number_check check (number >= 2),
    constraint product_versions_name_check check (char_length(name) between 1 and 50),
    constraint product_versions_notes_check check (char_length(notes) between 1 and 5000)
);

comment on constraint product_versions_name_check on public.product_versions is
'invalid_version: A version''s name has at most 50 characters.';
comment on constraint product_versions_notes_check on public.product_versions is
'invalid_version: Notes have 1 to 5,000 characters.';
comment on table public.product_versions is
'What was released of a product after it was made: readable with the product, written by release_version().';
comment on column public.product_versions.number is 'Counts from 2: what a product begins with is the first.';
comment on column public.product_versions.name is 'What its seller calls it, such as 1.4.';
comment on column public.product_versions.notes is 'What is new, at most 5,000 characters.';

-- Apart from what everybody reads: it names an owner.
create table private.version_notices (
    version_id uuid not null,
    told_up_to uuid,
    created_at timestamptz not null default now(),
    constraint version_notices_pkey primary key (version_id),
    constraint version_notices_version_id_fkey foreign key (version_id)
    references public.product_versions (id) on delete cascade
);
create index version_notices_created_at_idx on private.version_notices (created_at);
comment on table private.version_notices is
'Versions that not all owners were told of yet; the row goes when they were.';
comment on column private.version_notices.told_up_to is 'The last owner who was told, by id.';
alter table private.version_notices enable row level security;

alter table public.product_files
add column version_id uuid,
add constraint product_files_version_id_fkey foreign key (version_id)
references public.product_versions (id) on delete set null;
create index product_files_version_id_idx on public.product_files (version_id) where version_id is not null;
comment on column public.product_files.version_id is
'The version that brought it; null: there from the start, or added by itself.';

create function public.release_version(
    product_id uuid, notes text, files jsonb, replaces uuid[] default null, name text default null
) returns public.product_versions
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    product public.products;
    version public.product_versions;
    replaced uuid[];
begin
    perform private.count_activity('version', 1);
    if not exists (
        select from public.products as p where p.id = release_version.product_id and p.seller_id = member
    ) then
        perform private.fail('item_not_found', release_version.product_id::text);
    end if;
    perform private.lock_item(release_version.product_id, null);
    select * into strict product from public.products as p where p.id = release_version.product_id;
    if product.status = 'deleted' then
        perform private.fail('product_deleted', product.id::text);
    elsif jsonb_typeof(files) is distinct from 'array' or files = '[]' then
        perform private.fail('invalid_version', 'files: [{path, name?, position?}]');
    end if;
    perform private.require_keys(f.file, '{path,name,position}', 'invalid_version')
    from jsonb_array_elements(files) as f (file);
    if exists (
        select from jsonb_array_elements(files) as f (file)
        where
            jsonb_typeof(f.file -> 'path') is distinct from 'string'
            or jsonb_typeof(f.file -> 'name') not in ('string', 'null')
            or f.file ? 'position' and coalesce(f.file ->> 'position', '') !~ '^[0-9]{1,4}$'
    ) then
        perform private.fail('invalid_version', 'files: [{path, name?, position?}]');
    end if;
    replaced := array(
        select f.id from public.product_files as f
        where
            f.product_id = product.id and f.removed_at is null
            and (release_version.replaces is null or f.id = any (release_version.replaces))
    );
    if cardinality(release_version.replaces) > cardinality(replaced) then
        perform private.fail('file_not_found');
    end if;
    insert into public.product_versions (product_id, number, name, notes)
    select product.id, 1 + coalesce(max(v.number), 1), release_version.name, coalesce(release_version.notes, '')
    from public.product_versions as v
    where v.product_id = product.id
    returning * into version;
    insert into private.version_notices (version_id) values (version.id);
    -- The last file is only replaced: what comes is there before the others go.
    insert into public.product_files (product_id, version_id, path, name, position)
    select
        product.id, version.id, f.file ->> 'path',
        coalesce(f.file ->> 'name', regexp_replace(f.file ->> 'path', '^.*/', '')),
        coalesce((f.file ->> 'position')::integer, f.no::integer - 1)
    from jsonb_array_elements(files) with ordinality as f (file, no)
    order by f.no;
    delete from public.product_files as f where f.id = any (replaced);
    return version;
end
$$;
comment on function public.release_version(uuid, text, jsonb, uuid[], text) is
'The seller releases files ([{path, name?, position?}], uploaded before) with notes, in place of these files of the '
'product or of all it has. Whoever bought before keeps those too; owners are told unless they switched it off '
'(notification updated). Errors: item_not_found, product_deleted, invalid_version, text_not_visible, file_not_found, '
'file_not_uploaded, too_many_files, already_done (a path is listed already), too_many_actions.';
grant execute on function public.release_version(uuid, text, jsonb, uuid[], text) to authenticated;

create function private.tell_versions(max_rows integer default 500) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    notice private.version_notices;
    version public.product_versions;
    owners uuid[];
begin
    select * into notice from private.version_notices as n
    order by n.created_at, n.version_id
    limit 1
    for update skip locked;
    if notice.version_id is null then
        return 0;
    end if;
    select * into strict version from public.product_versions as v where v.id = notice.version_id;
    owners := array(
        select distinct p.owner_id from public.purchases as p
        where
            p.item_id = version.product_id and p.revoked_at is null and p.purchased_at <= version.created_at
            and (notice.told_up_to is null or p.owner_id > notice.told_up_to)
        order by p.owner_id
        limit max_rows
    );
    perform private.notify_many(array(
        select row('updated', o.id, null, 'product', version.product_id, null)::private.notice
        from unnest(owners) as o (id)
    ));
    if cardinality(owners) < max_rows then
        delete from private.version_notices as n where n.version_id = version.id;
    else
        update private.version_notices as n set told_up_to = owners[cardinality(owners)]
        where n.version_id = version.id;
    end if;
    return greatest(cardinality(owners), 1);
end
$$;
comment on function private.tell_versions(integer) is
'Tells the next owners of the oldest version that not all of them know of; 0 when there is none. A job calls it until '
'then.';
grant execute on function private.tell_versions(integer) to avenue_worker;

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of name, notes on public.product_versions
for each row execute function private.tidy_texts('name line', 'notes body required');

alter table public.product_versions enable row level security;
grant select on public.product_versions to anon, authenticated, service_role;
create policy product_versions_select on public.product_versions for select to anon, authenticated
using ((select p.id from public.products as p where p.id = product_versions.product_id) is not null);

insert into private.notification_types (type, title, message, link_template, collapse, email, can_switch_off) values
('updated', 'New version', 'Something you own has a new version.', null, null, 'digest', true);

insert into private.personal_data (section, relation, condition, stays, reason) values
('product_versions', 'public.product_versions',
    't.product_id in (select p.id from public.products as p where p.seller_id = $1)', '{name, notes}',
    'sold: its buyers keep it as they bought it');

insert into private.personal_data (section, relation, condition, stays, reason) values
('version_notices', 'private.version_notices', null, '{told_up_to}', 'how far a job is; gone when it is done');

insert into private.activity_limits (kind, fresh, established, period, description) values
('version', 10, 20, '1 day', 'Versions of files released');

insert into private.error_codes (code, sqlstate, message, description) values
('invalid_version', 'PT400', 'This is no version.',
'Send notes and at least one file as {path, name?, position?}; the detail names what is wrong.');
