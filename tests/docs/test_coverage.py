"""docs/coverage: what a specification asked for, each with a place in the database that is there, or a reason."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from stack.cluster import REPO
from tests.harness.server import Database

# The specifications' own words, which the pages must have.
ASKED = {
    "stageinseconds": {
        "auth_users": "id name email emailVerified image created_at updated_at",
        "auth_accounts": "id userId provider type providerAccountId access_token expires_at refresh_token "
        "id_token scope session_state token_type password created_at",
        "auth_sessions": "id userId expires sessionToken created_at",
        "auth_verification_token": "identifier token expires",
        "photo_jobs": "id user_id prompt photo_count cost status download_url group_name created_at updated_at",
        "user_credits": "id user_id credits free_used created_at updated_at",
        "purchases": "id user_id stripe_session_id amount credits_purchased status created_at",
    },
    "producers-avenue": {
        "users": "id email encrypted_password email_confirmed_at",
        "user_profiles": "user_id username display_name bio avatar_url banner_url smart_link location_city "
        "location_country "
        "location_coords location_source location_visibility location_last_updated experience_level "
        "website_url role profile_visibility is_partner_account followers_count following_count "
        "products_count is_banned ban_reason banned_at banned_by",
        "categories": "id name slug description icon sort_order is_active created_at updated_at",
        "skills": "id category_id name slug is_active is_admin_approved created_at updated_at",
        "user_categories": "id user_id category_id created_at",
        "user_skills": "id user_id skill_id created_at",
        "genres": "id name slug parent_genre_id is_active created_at updated_at",
        "user_genres": "id user_id genre_id created_at",
        "custom_field_requests": "id field_type field_value category_id requested_by request_count status "
        "reviewed_by reviewed_at "
        "rejection_reason created_at updated_at",
        "subscriptions": "id user_id tier interval status stripe_subscription_id stripe_customer_id stripe_price_id "
        "current_period_start current_period_end cancel_at cancelled_at created_at updated_at",
        "followers": "id follower_id following_id created_at",
        "posts": "id user_id content media_urls link_url link_preview post_type poll_options poll_ends_at likes_count "
        "comments_count shares_count is_pinned is_hidden hidden_reason created_at updated_at",
        "post_likes": "id post_id user_id created_at",
        "comments": "id post_id user_id parent_comment_id content likes_count is_hidden hidden_reason created_at "
        "updated_at",
        "groups": "id owner_id name slug description avatar_url banner_url visibility join_approval_required "
        "post_approval_required rules tags members_count posts_count is_verified created_at updated_at",
        "group_members": "id group_id user_id role status joined_at created_at updated_at",
        "group_posts": "id group_id user_id content media_urls link_url link_preview post_type is_pinned is_approved "
        "likes_count comments_count created_at updated_at",
        "products": "id seller_id title slug description product_type source_webinar_id thumbnail_url preview_images "
        "preview_audio_url preview_video_url file_urls file_size_bytes file_types price is_free "
        "allow_name_your_price minimum_price technical_details license_type license_text category_id tags "
        "genre_tags views_count likes_count purchases_count rating_average reviews_count status is_featured "
        "featured_at is_approved approval_notes created_at updated_at",
        "services": "id seller_id title slug description service_type is_mentoring thumbnail_url portfolio_urls "
        "packages "
        "buyer_requirements category_id tags genre_tags views_count orders_count rating_average reviews_count "
        "response_time_hours completion_rate status is_featured created_at updated_at",
        "orders": "id service_id buyer_id seller_id package_name package_price delivery_days revisions_included "
        "requirements requirement_files delivery_files delivery_notes delivered_at status revisions_used "
        "buyer_approved completed_at cancelled_at cancellation_reason created_at updated_at",
        "webinars": "id host_id co_hosts title slug description thumbnail_url cover_image_url scheduled_at "
        "duration_minutes price max_attendees room_id recording_url status category_id tags "
        "registrations_count attendees_count is_recorded recording_available created_at updated_at",
        "webinar_registrations": "id webinar_id user_id payment_status attended attended_at created_at",
        "reviews": "id reviewer_id reviewable_type reviewable_id seller_id rating review_text seller_response "
        "seller_responded_at is_verified_purchase helpful_count created_at updated_at",
        "transactions": "id buyer_id seller_id transaction_type related_id amount_total amount_fees amount_commission "
        "amount_seller commission_rate seller_tier payment_processor stripe_payment_intent_id "
        "stripe_charge_id paypal_transaction_id paypal_order_id payment_method status completed_at "
        "refunded_at metadata created_at updated_at",
        "wallets": "id user_id balance_available balance_pending total_earned_stripe total_earned_paypal total_earned "
        "total_withdrawn_stripe total_withdrawn_paypal total_withdrawn total_spent_on_platform "
        "stripe_account_id stripe_account_status paypal_email paypal_verified payouts_enabled created_at "
        "updated_at",
        "payouts": "id user_id wallet_id amount payout_method stripe_payout_id paypal_batch_id status requested_at "
        "approved_at approved_by completed_at failed_at failure_reason created_at updated_at",
        "conversations": "id participant_ids last_message_at last_message_preview is_group group_name group_avatar_url "
        "created_at updated_at",
        "messages": "id conversation_id sender_id content attachment_urls is_read read_at is_deleted deleted_for "
        "created_at updated_at",
        "notifications": "id user_id type title message link_url actor_id related_id is_read read_at created_at",
        "articles": "id author_id title slug content excerpt thumbnail_url category tags views_count likes_count "
        "comments_count is_published published_at created_at updated_at",
        "report_abuse_tracking": "id user_id false_report_count is_report_banned report_ban_until permanent_ban "
        "created_at updated_at",
        "tags": "id name slug usage_count trending_score created_at updated_at",
    },
}
STATUSES = {
    "stageinseconds": {
        "photo_jobs": "pending processing completed failed",
        "purchases": "pending completed failed",
    },
    "producers-avenue": {
        "custom_field_requests": "pending approved rejected",
        "subscriptions": "active cancelled past_due unpaid",
        "products": "draft active paused deleted",
        "services": "draft active paused deleted",
        "orders": "pending in_progress delivered revision_requested completed cancelled refunded",
        "webinars": "upcoming live ended cancelled",
        "webinar_registrations": "pending paid refunded free",
        "transactions": "pending completed refunded failed disputed",
        "payouts": "pending processing completed failed cancelled",
    },
}


def rows(name: str) -> list[tuple[str, list[str]]]:
    """The page's rows with the headline they stand under; without heads."""
    found, headline = [], ""
    for line in (REPO / f"docs/coverage/{name}.md").read_text().splitlines():
        if line.startswith("## "):
            headline = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith("| specification"):
            found.append((headline, [cell.strip() for cell in line.strip("|").split(" | ")]))
    return found


def places(cell: str) -> Iterator[str]:
    """Relations and columns that a cell names."""
    yield from re.findall(r"\b(?:auth|public|private|ledger|storage)\.\w+(?:\.\w+)?", cell)


@pytest.mark.parametrize("name", ASKED)
def test_nothing_is_left_out(name: str) -> None:
    said = {cells[0] for _, cells in rows(name)}
    wanted = set(ASKED[name])
    wanted |= {f"{table}.{column}" for table, columns in ASKED[name].items() for column in columns.split()}
    wanted |= {f"{table} {status}" for table, statuses in STATUSES[name].items() for status in statuses.split()}
    assert wanted - said == set()


@pytest.mark.parametrize("name", ASKED)
def test_every_place_is_there(name: str, database: Database) -> None:
    for headline, cells in rows(name):
        assert len(cells) == 3, f"{headline}: {cells}"
        assert all(cells), f"{headline}: an empty cell: {cells}"
        what, here, _ = cells
        named = list(places(here))
        if here == "none":
            continue
        assert named, f"{what}: {here} names nothing"
        for place in named:
            schema, relation, *column = place.split(".")
            assert database.value(
                "select count(*) from pg_catalog.pg_attribute as a where a.attrelid = to_regclass(%s) "
                "and not a.attisdropped and (%s = '' or a.attname = %s)",
                f"{schema}.{relation}",
                *(["".join(column)] * 2),
            ), f"{what}: there is no {place}"
        if status := re.search(r"= (\w+)$", here):
            relation, column = named[0].rsplit(".", 1)
            definition = database.value(
                "select string_agg(coalesce(pg_catalog.pg_get_constraintdef(c.oid), '') || coalesce(("
                "select string_agg(e.enumlabel, ' ') from pg_catalog.pg_enum as e where e.enumtypid = a.atttypid"
                "), ''), ' ') "
                "from pg_catalog.pg_attribute as a left join pg_catalog.pg_constraint as c on c.conrelid = a.attrelid "
                "where a.attrelid = to_regclass(%s) and a.attname = %s",
                relation,
                column,
            )
            assert re.search(rf"\b{status[1]}\b", definition), f"{what}: {here} is no state of it"
