-- Sale reviews: first large sales of new sellers wait for an admin before they are paid out, as what is sold to oneself
-- and given back costs the platform the provider's fee each time.

create table public.sale_reviews (
    transaction_id uuid not null,
    seller_id uuid not null,
    released_at timestamptz,
    created_at timestamptz not null default now(),
    constraint sale_reviews_pkey primary key (transaction_id),
    constraint sale_reviews_transaction_id_fkey foreign key (transaction_id) references public.transactions (id),
    constraint sale_reviews_seller_id_fkey foreign key (seller_id) references public.profiles (id)
);

create index sale_reviews_seller_id_idx on public.sale_reviews (seller_id, created_at desc);
create index sale_reviews_open_idx on public.sale_reviews (created_at) where released_at is null;

comment on table public.sale_reviews is
'Sales whose earnings stay pending until an admin has looked. Its seller and admins read; settlement and '
'release_sale_review() write.';
comment on column public.sale_reviews.seller_id is 'Whose sale, repeated so that the policy needs no join.';
comment on column public.sale_reviews.released_at is
'When an admin let it go: its money becomes available at transactions.release_at. Null while it waits.';

alter table public.sale_reviews enable row level security;
grant select on public.sale_reviews to authenticated, service_role;
create policy sale_reviews_select on public.sale_reviews for select to authenticated
using (seller_id = (select private.member_id()) or (select private.is_admin()));

create function public.release_sale_review(transaction_id uuid, note text) returns public.sale_reviews
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
    review public.sale_reviews;
    words text := private.require_reason(note);
begin
    select * into review from public.sale_reviews as r
    where r.transaction_id = release_sale_review.transaction_id
    for no key update;
    if review.transaction_id is null then
        perform private.fail('sale_not_found');
    end if;
    if review.seller_id = admin then
        perform private.fail('own_wallet');
    end if;
    if review.released_at is null then
        update public.sale_reviews as r set released_at = now() where r.transaction_id = review.transaction_id
        returning * into review;
        perform private.audit(
            'release_sale_review', 'transaction', review.transaction_id, jsonb_build_object('note', words)
        );
    end if;
    return review;
end
$$;

comment on function public.release_sale_review(uuid, text) is
'Admin: lets a held sale go, with a note for the audit log, not one''s own. Repeated calls change nothing. One that '
'should not be paid out is refunded instead. Errors: admin_only, own_wallet, sale_not_found, reason_required.';
grant execute on function public.release_sale_review(uuid, text) to authenticated;

insert into private.personal_data (section, relation, condition, stays, reason) values
('sale_reviews', 'public.sale_reviews',
    null, '{seller_id}', 'part of the books; the transaction says to its seller that it is held');
