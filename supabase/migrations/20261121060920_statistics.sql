-- Statistics.
-- Texts clients can read are not sampled any more: count=planned answered with estimates made from hidden rows, too.

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- sql/97_statistics/10_texts.sql --------------------------------------------------------------------------------------
-- What the planner learns of texts. `Prefer: count=planned` answers with its estimate, made from samples of all rows,
-- also of those a policy hides: whoever compares texts with eq, gt and lt gets from it how often a text occurs, and by
-- halving the interval the text itself. So nothing is sampled of texts clients can read. A unique index tells the
-- planner all it needs; where an index is not unique, its column is looked up by, and keeps its samples.
--
-- The page says it with a loop over the catalog; here is what the loop finds. Samples taken before this migration stay
-- in pg_statistic until a superuser deletes them.

alter table public.articles
    alter column title set statistics 0,
    alter column slug set statistics 0,
    alter column content set statistics 0,
    alter column excerpt set statistics 0,
    alter column thumbnail_url set statistics 0,
    alter column hidden_reason set statistics 0;

alter table public.artist_profiles
    alter column artist_name set statistics 0,
    alter column banner_image_url set statistics 0,
    alter column website set statistics 0;

alter table public.artworks
    alter column title set statistics 0,
    alter column slug set statistics 0,
    alter column description set statistics 0,
    alter column image_url set statistics 0,
    alter column thumbnail_url set statistics 0,
    alter column dimensions set statistics 0,
    alter column hidden_reason set statistics 0;

alter table public.audit_log
    alter column actor_label set statistics 0,
    alter column action set statistics 0,
    alter column target_type set statistics 0;

alter table public.bans
    alter column reason set statistics 0;

alter table public.catalog_items
    alter column title set statistics 0,
    alter column slug set statistics 0,
    alter column thumbnail_url set statistics 0;

alter table public.categories
    alter column name set statistics 0,
    alter column description set statistics 0,
    alter column icon set statistics 0;

alter table public.comments
    alter column content set statistics 0,
    alter column hidden_reason set statistics 0;

alter table public.conversations
    alter column group_name set statistics 0,
    alter column group_avatar_url set statistics 0;

alter table public.custom_field_requesters
    alter column spelling set statistics 0;

alter table public.custom_field_requests
    alter column field_value set statistics 0,
    alter column normal_value set statistics 0,
    alter column rejection_reason set statistics 0;

alter table public.genres
    alter column slug set statistics 0;

alter table public.groups
    alter column name set statistics 0,
    alter column slug set statistics 0,
    alter column description set statistics 0,
    alter column avatar_url set statistics 0,
    alter column banner_url set statistics 0,
    alter column rules set statistics 0;

alter table public.hidden_content
    alter column reason set statistics 0;

alter table public.inbox_entries
    alter column last_message_preview set statistics 0;

alter table public.messages
    alter column content set statistics 0;

alter table public.notifications
    alter column title set statistics 0,
    alter column message set statistics 0,
    alter column link_url set statistics 0,
    alter column related_type set statistics 0;

alter table public.order_items
    alter column title set statistics 0,
    alter column seller_tier set statistics 0;

alter table public.orders
    alter column order_number set statistics 0,
    alter column status_reason set statistics 0,
    alter column notes set statistics 0,
    alter column idempotency_key set statistics 0;

alter table public.payments
    alter column provider_ref set statistics 0,
    alter column charge_id set statistics 0,
    alter column failure_reason set statistics 0;

alter table public.payouts
    alter column destination set statistics 0,
    alter column provider_ref set statistics 0,
    alter column failure_reason set statistics 0;

alter table public.plans
    alter column key set statistics 0,
    alter column tier set statistics 0,
    alter column name set statistics 0,
    alter column description set statistics 0,
    alter column stripe_price_id_monthly set statistics 0,
    alter column stripe_price_id_annual set statistics 0,
    alter column paypal_plan_id_monthly set statistics 0,
    alter column paypal_plan_id_annual set statistics 0;

alter table public.poll_options
    alter column option set statistics 0;

alter table public.posts
    alter column content set statistics 0,
    alter column link_url set statistics 0,
    alter column hidden_reason set statistics 0;

alter table public.product_approvals
    alter column approval_notes set statistics 0;

alter table public.product_files
    alter column path set statistics 0,
    alter column name set statistics 0,
    alter column content_type set statistics 0;

alter table public.products
    alter column title set statistics 0,
    alter column slug set statistics 0,
    alter column description set statistics 0,
    alter column thumbnail_url set statistics 0,
    alter column preview_audio_url set statistics 0,
    alter column preview_video_url set statistics 0,
    alter column license_text set statistics 0;

alter table public.profile_locations
    alter column city set statistics 0,
    alter column country set statistics 0;

alter table public.profile_settings
    alter column language set statistics 0,
    alter column phone set statistics 0;

alter table public.profiles
    alter column display_name set statistics 0,
    alter column full_name set statistics 0,
    alter column bio set statistics 0,
    alter column avatar_url set statistics 0,
    alter column banner_url set statistics 0,
    alter column smart_link set statistics 0,
    alter column website_url set statistics 0;

alter table public.refunds
    alter column reason set statistics 0,
    alter column idempotency_key set statistics 0,
    alter column provider_ref set statistics 0,
    alter column failure_reason set statistics 0;

alter table public.reports
    alter column details set statistics 0,
    alter column resolution_note set statistics 0;

alter table public.skills
    alter column slug set statistics 0;

alter table public.subscriptions
    alter column stripe_subscription_id set statistics 0,
    alter column stripe_price_id set statistics 0,
    alter column paypal_subscription_id set statistics 0,
    alter column paypal_plan_id set statistics 0;

alter table public.tags
    alter column slug set statistics 0;

alter table public.transactions
    alter column seller_tier set statistics 0,
    alter column payment_method set statistics 0,
    alter column stripe_payment_intent_id set statistics 0,
    alter column stripe_charge_id set statistics 0,
    alter column paypal_order_id set statistics 0,
    alter column paypal_transaction_id set statistics 0;

alter table public.wallets
    alter column stripe_account_id set statistics 0,
    alter column paypal_email set statistics 0;
