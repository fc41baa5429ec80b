-- What Realtime sends to subscribers: the rows of these tables as they change. INSERT and UPDATE go to who may read the
-- row (Realtime asks the policies, by primary key, as each subscriber). DELETE goes to everybody with the old row's
-- replica identity, which therefore stays the primary key: random ids that say nothing.

do $$
declare
    wanted text;
begin
    -- A hosted project has the publication, empty, from the start.
    if not exists (select from pg_catalog.pg_publication as p where p.pubname = 'supabase_realtime') then
        create publication supabase_realtime;
    end if;
    foreach wanted in array array[
        'messages', 'notifications', 'orders', 'photo_jobs', 'photo_job_items', 'service_orders'
    ] loop
        if not exists (
            select from pg_catalog.pg_publication_tables as t
            where t.pubname = 'supabase_realtime' and t.schemaname = 'public' and t.tablename = wanted
        ) then
            execute format('alter publication supabase_realtime add table public.%I', wanted);
        end if;
    end loop;
end
$$;
