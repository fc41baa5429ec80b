-- Where count=planned and count=estimated are answered: see check_request(). The request goes on as avenue_estimates,
-- which reads public lists and nothing that embeds a person's rows: an estimate of a join would tell of them. What it
-- may select whole is what can be counted; of profiles it knows what a list shows of a seller.
grant usage on schema public to avenue_estimates;
grant select on
public.catalog_items, public.categories, public.fee_schedules, public.genres, public.plans, public.skills
to avenue_estimates;
grant select (id, username, handle, display_name, avatar_url) on public.profiles to avenue_estimates;
grant execute on function private.blocked_ids() to avenue_estimates;

create policy catalog_items_select_estimates on public.catalog_items for select to avenue_estimates
using (is_visible and seller_id <> all(array(select private.blocked_ids())));
create policy categories_select_estimates on public.categories for select to avenue_estimates using (is_active);
create policy fee_schedules_select_estimates on public.fee_schedules for select to avenue_estimates using (true);
create policy genres_select_estimates on public.genres for select to avenue_estimates
using (is_active and is_admin_approved);
create policy plans_select_estimates on public.plans for select to avenue_estimates using (true);
create policy skills_select_estimates on public.skills for select to avenue_estimates
using (is_active and is_admin_approved);
create policy profiles_select_estimates on public.profiles for select to avenue_estimates
using (
    profile_visibility = 'public' and not is_banned and is_confirmed
    and id <> all(array(select private.blocked_ids()))
);

-- Else an estimate tells how many items somebody has, drafts included.
alter table public.catalog_items alter column seller_id set statistics 0;
