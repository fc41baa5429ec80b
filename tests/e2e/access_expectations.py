"""The whole answer to who may do what: relation by relation and function by function. test_access_over_http.py compares
it with what really happens; what is not in here fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# owner: whose row it is. counterparty: sold to and bought from the owner. banned: owner of such rows too, since banned,
# asking for the own row. stranger: signed up claiming to be an admin. anon: only the public key.
ROLES = ("anon", "stranger", "owner", "counterparty", "banned", "admin")


@dataclass(frozen=True)
class Rules:
    """Who reads a row, which of its columns its owner (or whom `updaters` names) updates, what members insert, who
    deletes it. Nobody else may.
    """

    read: str = ""
    update: str = ""
    insert: str = ""
    delete: str = ""
    updaters: str = "owner"


EVERYBODY = "anon stranger owner counterparty banned admin"
SHOP_WINDOW = "anon stranger owner counterparty admin"
BOTH_SIDES = "owner counterparty admin"
PARTICIPANTS = "owner counterparty"  # not even admins

_PRODUCT = (
    "title slug description thumbnail_url preview_images preview_audio_url preview_video_url price_cents "
    "allow_name_your_price minimum_price_cents technical_details license_type license_text category_id tags genre_tags "
    "status is_featured image_media_id license_seats"
)
_ARTWORK = (
    "title slug description image_url thumbnail_url price_cents original_price_cents category tags dimensions "
    "file_size_bytes status is_featured is_for_sale edition_size is_physical image_media_id"
)
_SERVICE = (
    "title slug description service_type is_mentoring session_minutes thumbnail_url buyer_requirements category_id "
    "tags genre_tags status is_featured image_media_id"
)
_PIECE = "title url position image_media_id"
_BUNDLE = "title slug description thumbnail_url category_id tags status is_featured image_media_id"
_EXTRA = "title description price_cents delivery_days is_active position"
_AVAILABILITY = (
    "time_zone slot_minutes buffer_before_minutes buffer_after_minutes notice_minutes window_days cancel_before_hours"
)
_HOURS = "weekday from_time until_time"
_DAY = "day from_time until_time"
_OPTION = "title price_cents stock is_set_aside is_active position details"
_RATE = "name countries price_cents free_above_cents"
_COUPON = (
    "code percent_bps amount_cents kinds item_ids option_ids minimum_cents usage_limit usage_limit_per_customer "
    "budget_cents starts_at ends_at is_active"
)
_JAR = "suggested_cents minimum_cents is_open"
_PACK = "title price_cents bonus_cents valid_days is_active"
_WEBINAR = (
    "title slug description thumbnail_url cover_image_url image_media_id price_cents max_attendees category_id tags "
    "is_recorded"
)
_ARTIST = "artist_name genre banner_image_url website social_links hourly_rate_cents"
_PROFILE = (
    "username display_name full_name bio avatar_url banner_url smart_link website_url experience_level avatar_media_id "
    "banner_media_id"
)
_GROUP = "name description avatar_url banner_url visibility join_approval_required post_approval_required rules tags"
_ARTICLE = "title slug content excerpt thumbnail_url category tags is_published thumbnail_media_id"
_POST = "content media_urls link_url link_preview tags"

EXPECTED = {
    # platform
    "app_settings": Rules(EVERYBODY),
    # identity
    "profiles": Rules(EVERYBODY, update=_PROFILE),
    "profile_settings": Rules("owner", update="theme language notification_preferences phone marketing_consent"),
    "artist_profiles": Rules(EVERYBODY, update=_ARTIST, insert=_ARTIST, delete="owner"),
    "bans": Rules("banned admin"),
    "categories": Rules(EVERYBODY),
    "skills": Rules(EVERYBODY, update="category_id name is_active is_admin_approved", updaters="admin"),
    "genres": Rules(EVERYBODY, update="parent_genre_id name is_active is_admin_approved", updaters="admin"),
    # As far as the profile: also by the banned, who read their own.
    "user_categories": Rules(EVERYBODY, update="category_id", insert="category_id", delete="owner"),
    "user_skills": Rules(EVERYBODY, update="skill_id", insert="skill_id", delete="owner"),
    "user_genres": Rules(EVERYBODY, update="genre_id", insert="genre_id", delete="owner"),
    "custom_field_requests": Rules("owner admin"),
    "custom_field_requesters": Rules("owner admin"),
    "profile_locations": Rules("owner"),
    "mail_bounces": Rules("owner admin", delete="owner"),
    # billing
    "plans": Rules(EVERYBODY),
    "subscriptions": Rules("owner admin"),
    # A private one; what is shown is seen by who sees what shows it (test_media).
    "media": Rules("owner admin"),
    # catalog
    "profile_counts": Rules(EVERYBODY),
    "catalog_items": Rules(SHOP_WINDOW),
    "catalog_options": Rules(SHOP_WINDOW, update=_OPTION, insert=f"{_OPTION} item_id is_exclusive", delete="owner"),
    "products": Rules(SHOP_WINDOW, update=_PRODUCT, insert=f"{_PRODUCT} product_type", delete="owner"),
    "product_pictures": Rules(SHOP_WINDOW, update="position", insert="product_id media_id position", delete="owner"),
    "product_approvals": Rules("owner admin"),
    "product_files": Rules(
        BOTH_SIDES, update="name position", insert="product_id artwork_id path name position", delete="owner"
    ),
    "artworks": Rules(SHOP_WINDOW, update=_ARTWORK, insert=_ARTWORK, delete="owner"),
    # commerce
    "cart_items": Rules(
        "owner",
        update="item_id option_id quantity offered_price_cents",
        insert="item_id option_id quantity offered_price_cents",
        delete="owner",
    ),
    "coupons": Rules("owner admin", update=_COUPON, insert=f"{_COUPON} seller_id", delete="owner"),
    "orders": Rules("owner admin"),
    "order_items": Rules(BOTH_SIDES),
    "gifts": Rules("owner admin"),  # the receiver is the admin
    "payables": Rules("owner admin"),
    "purchases": Rules("owner admin"),
    "shipping_rates": Rules(EVERYBODY, update=_RATE, insert=_RATE, delete="owner"),
    # money
    "wallets": Rules("owner admin"),
    "fee_schedules": Rules(EVERYBODY),
    "payments": Rules("owner admin"),
    "transactions": Rules(BOTH_SIDES),
    "transaction_payees": Rules("owner admin"),  # who earns; the counterparty bought
    "shipments": Rules(BOTH_SIDES),
    "tip_jars": Rules(SHOP_WINDOW, update=_JAR, insert=_JAR),
    "tips": Rules(BOTH_SIDES),
    "refunds": Rules(BOTH_SIDES),
    "refund_lines": Rules(BOTH_SIDES),
    "refund_requests": Rules(BOTH_SIDES),
    "sale_reviews": Rules("owner admin"),
    "book_corrections": Rules("admin"),
    "payouts": Rules("owner admin"),
    # market
    "offers": Rules(BOTH_SIDES),
    "offer_versions": Rules(BOTH_SIDES),
    "service_orders": Rules(BOTH_SIDES),
    "service_order_events": Rules(BOTH_SIDES),
    "service_deliveries": Rules(BOTH_SIDES),
    "service_order_extras": Rules(BOTH_SIDES),
    "resolution_requests": Rules(BOTH_SIDES),
    "services": Rules(SHOP_WINDOW, update=_SERVICE, insert=_SERVICE, delete="owner"),
    "portfolio_pieces": Rules(SHOP_WINDOW, update=_PIECE, insert=f"{_PIECE} service_id", delete="owner"),
    "service_extras": Rules(SHOP_WINDOW, update=_EXTRA, insert=f"{_EXTRA} service_id", delete="owner"),
    "availability": Rules("owner", update=_AVAILABILITY, insert=_AVAILABILITY, delete="owner"),
    "availability_hours": Rules("owner", update=_HOURS, insert=_HOURS, delete="owner"),
    "availability_overrides": Rules("owner", update=_DAY, insert=_DAY, delete="owner"),
    "reviews": Rules(SHOP_WINDOW),
    "item_ratings": Rules(SHOP_WINDOW),
    "review_votes": Rules("owner"),
    "license_keys": Rules(BOTH_SIDES),
    "license_activations": Rules("owner"),
    "product_versions": Rules(SHOP_WINDOW),
    "bundles": Rules(SHOP_WINDOW, update=_BUNDLE, insert=_BUNDLE, delete="owner"),
    "bundle_parts": Rules(SHOP_WINDOW),
    "bundle_sellers": Rules(BOTH_SIDES),  # the counterparty's part is in it
    "webinars": Rules(
        SHOP_WINDOW,
        update=_WEBINAR,
        insert=f"{_WEBINAR} starts_local time_zone is_second_hour duration_minutes cancel_before_hours",
    ),
    "webinar_counts": Rules(SHOP_WINDOW),
    "webinar_co_hosts": Rules(SHOP_WINDOW),
    "webinar_registrations": Rules(BOTH_SIDES),  # the counterparty hosts
    "webinar_recordings": Rules(BOTH_SIDES),  # the counterparty co-hosts
    # studio
    "credit_packs": Rules(EVERYBODY, update=_PACK, insert=_PACK, updaters="admin"),
    "credit_lots": Rules("owner admin"),
    "photo_jobs": Rules("owner admin", update="group_name"),
    "photo_job_items": Rules("owner admin"),
    # social
    "user_blocks": Rules("owner", update="blocked_id", insert="blocked_id", delete="owner"),
    "follows": Rules(EVERYBODY, update="following_id", insert="following_id", delete="owner"),
    "groups": Rules(EVERYBODY, update=_GROUP, insert=_GROUP, updaters="owner admin"),
    "group_members": Rules(BOTH_SIDES),  # the counterparty is in it
    "group_invitations": Rules("stranger owner admin"),  # the stranger is invited
    "articles": Rules(SHOP_WINDOW, update=_ARTICLE, insert=_ARTICLE, delete="owner"),
    "article_likes": Rules(EVERYBODY, update="article_id", insert="article_id", delete="owner"),
    "posts": Rules(SHOP_WINDOW, update=_POST, insert=f"{_POST} group_id post_type", delete="owner"),
    "post_likes": Rules(EVERYBODY, update="post_id", insert="post_id", delete="owner"),
    "post_shares": Rules(EVERYBODY, update="post_id", insert="post_id", delete="owner"),
    "poll_options": Rules(SHOP_WINDOW),
    "poll_votes": Rules("owner", update="post_id option_id", insert="post_id option_id", delete="owner"),
    # Said under something of the counterparty's, who may have it removed.
    "comments": Rules(
        SHOP_WINDOW,
        update="content",
        insert="post_id item_id article_id parent_comment_id content",
        delete=PARTICIPANTS,
    ),
    "comment_likes": Rules(EVERYBODY, update="comment_id", insert="comment_id", delete="owner"),
    "favorites": Rules("owner", update="item_id", insert="item_id", delete="owner"),
    "tags": Rules(EVERYBODY),
    # market
    "item_statistics": Rules("owner admin"),
    "trending_items": Rules(EVERYBODY),
    "wish_lists": Rules("owner", update="name", insert="name", delete="owner"),
    "wish_list_items": Rules("owner", update="list_id item_id", insert="list_id item_id", delete="owner"),
    # A group chat of the owner's, who manages it.
    "conversations": Rules(PARTICIPANTS, update="group_name group_avatar_url"),
    "conversation_participants": Rules(PARTICIPANTS),
    "inbox_entries": Rules("owner"),
    "messages": Rules(PARTICIPANTS, insert="id conversation_id content attachments"),
    "message_deletions": Rules("owner"),
    "notifications": Rules("owner", delete="owner"),
    # admin
    "audit_log": Rules("admin"),
    "reports": Rules("owner admin"),
    "report_evidence": Rules("admin"),
    "report_abuse_tracking": Rules("owner admin"),
    "hidden_content": Rules("owner admin"),  # in the owner's group
}

# The row a person has of each relation (for those that belong to nobody: any row), and the one to try deleting.
ROWS = {
    "profiles": "id = %(me)s",
    "bans": "user_id = %(banned)s",
    "audit_log": "target_id = %(banned)s",
    "categories": "true",
    "plans": "true",
    "fee_schedules": "true",
    "app_settings": "true",
    "profile_counts": "user_id = %(me)s and kind = 'product'",
    "catalog_items": "seller_id = %(me)s and kind = 'product' and purchases_count = 1",
    "products": "id in (select id from public.catalog_items where seller_id = %(me)s and purchases_count = 1)",
    "product_pictures": "product_id in (select id from public.products where seller_id = %(me)s)",
    "product_approvals": "product_id in (select id from public.products where seller_id = %(me)s)",
    "product_files": "product_id in (select product_id from public.product_approvals) and path like %(me)s || '/%%'",
    "artworks": "seller_id = %(me)s and status = 'published'",
    "catalog_options": "item_id in (select id from public.products where seller_id = %(me)s)",
    "media": "owner_id = %(me)s and purpose = 'photo_input'",
    "order_items": "buyer_id = %(me)s",
    "gifts": "payer_id = %(me)s",
    "payables": "buyer_id = %(me)s",
    "purchases": "owner_id = %(me)s",
    "coupons": "seller_id = %(me)s",
    "shipping_rates": "seller_id = %(me)s",
    "transactions": "buyer_id = %(me)s",
    "transaction_payees": "payee_id = %(me)s",
    "shipments": "order_item_id in (select id from public.order_items where buyer_id = %(me)s)",
    "tip_jars": "seller_id = %(me)s",
    "services": "seller_id = %(me)s and title = 'Mentoring'",
    "portfolio_pieces": "seller_id = %(me)s",
    "service_extras": "service_id in (select id from public.services where seller_id = %(me)s)",
    "webinars": "host_id = %(me)s",
    "webinar_counts": "webinar_id in (select id from public.webinars where host_id = %(me)s)",
    "webinar_co_hosts": "webinar_id in (select id from public.webinars where host_id = %(me)s)",
    "webinar_registrations": "user_id = %(me)s",
    "webinar_recordings": "webinar_id in (select id from public.webinars where host_id = %(me)s)",
    "credit_packs": "price_cents = 1000",
    "credit_lots": "user_id = %(me)s",
    "photo_jobs": "user_id = %(me)s",
    "photo_job_items": "job_id in (select id from public.photo_jobs where user_id = %(me)s)",
    "tips": "sender_id = %(me)s",
    "offers": "buyer_id = %(me)s",
    "offer_versions": "offer_id in (select id from public.offers where buyer_id = %(me)s)",
    "service_orders": "buyer_id = %(me)s",
    "service_order_events": "service_order_id in (select id from public.service_orders where buyer_id = %(me)s)",
    "service_deliveries": "service_order_id in (select id from public.service_orders where buyer_id = %(me)s)",
    "service_order_extras": "service_order_id in (select id from public.service_orders where buyer_id = %(me)s)",
    "resolution_requests": "service_order_id in (select id from public.service_orders where buyer_id = %(me)s)",
    "reviews": "reviewer_id = %(me)s",
    "item_ratings": "item_id in (select id from public.catalog_items where seller_id = %(me)s)",
    "license_keys": "owner_id = %(me)s",
    "license_activations": "license_key_id in (select id from public.license_keys where owner_id = %(me)s)",
    "bundles": "seller_id = %(me)s and status = 'active'",
    "bundle_parts": "bundle_id in (select id from public.bundles where seller_id = %(me)s)",
    "bundle_sellers": "bundle_id in (select id from public.bundles where seller_id = %(me)s)",
    "product_versions": "product_id in (select id from public.products where seller_id = %(me)s)",
    "refunds": "payment_id in (select id from public.payments where user_id = %(me)s)",
    "refund_requests": "buyer_id = %(me)s",
    "sale_reviews": "seller_id = %(me)s",
    "book_corrections": "true",
    "refund_lines": "transaction_id in (select id from public.transactions where buyer_id = %(me)s)",
    "skills": "true",
    "genres": "true",
    "custom_field_requests": ("id in (select request_id from public.custom_field_requesters where user_id = %(me)s)"),
    "user_blocks": "blocker_id = %(me)s",
    "follows": "follower_id = %(me)s",
    "groups": "owner_id = %(me)s and visibility = 'public'",
    "group_members": "user_id = %(me)s and group_id in (select id from public.groups where visibility = 'public')",
    "group_invitations": "invited_by = %(me)s",
    "articles": "author_id = %(me)s and title like 'article%%'",
    "posts": "user_id = %(me)s and post_type = 'text' and group_id is null",
    "poll_options": "post_id in (select id from public.posts where user_id = %(me)s)",
    "comments": "user_id = %(me)s and post_id in (select id from public.posts where user_id <> %(me)s)",
    "tags": "usage_count > 0",
    "conversations": "created_by = %(me)s and is_group",
    "messages": "sender_id = %(me)s and id not in (select message_id from public.message_deletions)",
    "reports": "reporter_id = %(me)s",
    "report_evidence": "report_id in (select id from public.reports where reporter_id = %(me)s)",
    "item_statistics": "item_id in (select id from public.catalog_items where seller_id = %(me)s)",
    "trending_items": "item_id in (select id from public.catalog_items where is_listed)",
    "wish_lists": "user_id = %(me)s and name = 'Wishes'",
    "wish_list_items": "list_id in (select id from public.wish_lists where user_id = %(me)s)",
    "hidden_content": "group_id in (select id from public.groups where owner_id = %(me)s)",
}
DISPOSABLE = {
    "wish_lists": "user_id = %(me)s and name = 'Short-lived'",
    "articles": "author_id = %(me)s and title like 'Short-lived%%'",
    "products": "seller_id = %(me)s and title = 'Unsold'",
    "product_files": "product_id in (select id from public.products where seller_id = %(me)s and title = 'Spare')",
    "posts": "user_id = %(me)s and post_type = 'link'",
    "services": "seller_id = %(me)s and title = 'Never booked'",
    "bundles": "seller_id = %(me)s and title = 'Never sold'",
}

# What members insert, with themselves as owner; a word in braces is an id, see World.ids.
INSERTS: dict[str, dict[str, Any]] = {
    "products": {"title": "Mine", "price_cents": 100},
    "artworks": {"title": "Mine", "price_cents": 100, "category": "other", "image_url": "https://images.example/x.jpg"},
    "coupons": {"code": "MINE", "amount_cents": 500},
    "shipping_rates": {"name": "Everywhere", "price_cents": 500},
    "tip_jars": {"suggested_cents": 800},
    "services": {"title": "Mine", "service_type": "mixing"},
    "bundles": {"title": "Mine"},
    "availability": {"time_zone": "UTC"},
    "availability_hours": {"weekday": 1, "from_time": "06:00", "until_time": "07:00"},
    "availability_overrides": {"day": "2030-02-01"},
    "artist_profiles": {"artist_name": "Me"},
    "cart_items": {"item_id": "{artwork}"},
    "user_categories": {"category_id": "{categories}"},
    "user_skills": {"skill_id": "{skills}"},
    "user_genres": {"genre_id": "{genres}"},
    "user_blocks": {"blocked_id": "{nuisance}"},
    "follows": {"following_id": "{owner}"},
    "groups": {"name": "Mine"},
    "articles": {"title": "Mine"},
    "article_likes": {"article_id": "{article}"},
    "posts": {"content": "Mine"},
    "post_likes": {"post_id": "{post}"},
    "post_shares": {"post_id": "{post}"},
    "poll_votes": {"post_id": "{poll}", "option_id": "{option}"},
    "comments": {"post_id": "{post}", "content": "Mine"},
    "comment_likes": {"comment_id": "{comment}"},
    "favorites": {"item_id": "{artwork}"},
    "wish_lists": {"name": "Mine"},
}
# Inserted into something that is somebody's: tests of their own.
INSERTED_INTO = {
    "catalog_options",
    "credit_packs",
    "messages",
    "portfolio_pieces",
    "product_files",
    "product_pictures",
    "service_extras",
    "webinars",
    "wish_list_items",
}
# Members insert all of these but what is for some of them.
INSERTERS = {"articles": {"admin"}}

# -- functions --------------------------------------------------------------------------------------------------------

_SECRET_POST = {"target_type": "post", "target_id": "{secret_post}"}
# Arguments (a word in braces is an id of the owner's, see World.ids), and what a stranger gets: a code, ok, or empty.
# Of one function there can be several cases, told apart by what follows the colon.
_ORDER = {"service_order_id": "{service_orders}"}
_TERMS = {
    "title": "x",
    "terms": "x",
    "price_cents": 100,
    "delivery_days": 1,
    "revisions": 0,
    "valid_until": "2099-01-01",
}
RPCS: dict[str, tuple[dict[str, Any], str]] = {
    "agree_to_bundle": ({"bundle_id": "{bundles}", "terms_version": 2}, "bundle_not_found"),
    "bundle_problem": ({"bundle_id": "{bundles}"}, "bundle_not_found"),
    "decline_bundle": ({"bundle_id": "{bundles}"}, "bundle_not_found"),
    "set_bundle_terms": ({"bundle_id": "{bundles}", "price_cents": 100, "parts": []}, "bundle_not_found"),
    "accept_offer": ({"offer_id": "{offers}", "version": 1}, "offer_not_found"),
    "answer_resolution": ({"request_id": "{resolution_requests}", "accept": True}, "resolution_not_found"),
    "approve_service_order": (_ORDER, "service_order_not_found"),
    "cancel_service_order": (_ORDER | {"reason": "x"}, "service_order_not_found"),
    "decide_dispute": (_ORDER | {"refund_cents": 0, "note": "x"}, "admin_only"),
    "decline_offer": ({"offer_id": "{offers}"}, "offer_not_found"),
    "decline_order_extra": ({"extra_id": "{service_order_extras}"}, "extra_not_found"),
    "deliver_service_order": (_ORDER | {"notes": "x"}, "service_order_not_found"),
    "dispute_messages": (_ORDER, "admin_only"),
    "offer_order_extra": (
        _ORDER | {"title": "x", "price_cents": 100, "delivery_days": 1},
        "service_order_not_found",
    ),
    "open_dispute": (_ORDER | {"reason": "x"}, "service_order_not_found"),
    "propose_cancellation": (_ORDER | {"refund_cents": 1, "reason": "x"}, "service_order_not_found"),
    "propose_extension": (_ORDER | {"days": 1, "reason": "x"}, "service_order_not_found"),
    "request_revision": (_ORDER | {"note": "x"}, "service_order_not_found"),
    "revise_offer": ({"offer_id": "{offers}"} | _TERMS, "offer_not_found"),
    "send_offer": ({"conversation_id": "{chat}"} | _TERMS, "conversation_not_found"),
    "send_requirements": (_ORDER | {"requirements": "x"}, "service_order_not_found"),
    "service_order_conversation": (_ORDER, "service_order_not_found"),
    "withdraw_dispute": (_ORDER, "service_order_not_found"),
    "withdraw_offer": ({"offer_id": "{offers}"}, "offer_not_found"),
    "withdraw_order_extra": ({"extra_id": "{service_order_extras}"}, "extra_not_found"),
    "withdraw_resolution": ({"request_id": "{resolution_requests}"}, "resolution_not_found"),
    "adjust_wallet": (
        {"user_id": "{stranger}", "amount_cents": 10**6, "reason": "x", "idempotency_key": "x"},
        "admin_only",
    ),
    "accept_message_request": ({"conversation_id": "{chat}"}, "conversation_not_found"),
    "activate_license": ({"product_id": "{products}", "key": "x", "device_id": "x"}, "license_not_found"),
    "add_participants": ({"conversation_id": "{chat}", "user_ids": ["{stranger}"]}, "conversation_not_found"),
    "answer_refund_request": ({"request_id": "{refund_requests}", "accept": True}, "refund_request_closed"),
    # Not a service; the one that is there is found by test_services.
    "available_slots": ({"service_id": "{products}"}, "item_not_available"),
    "approve_custom_field": ({"request_id": "{custom_field_requests}"}, "admin_only"),
    "approve_member": ({"group_id": "{group}", "user_id": "{stranger}"}, "group_role_too_low"),
    "approve_member:secret": ({"group_id": "{secret}", "user_id": "{stranger}"}, "group_not_found"),
    "approve_payout": ({"payout_id": "{payouts}"}, "admin_only"),
    "approve_post": ({"post_id": "{waiting_post}"}, "post_not_found"),
    "ban_member": ({"group_id": "{group}", "user_id": "{counterparty}"}, "group_role_too_low"),
    "ban_member:secret": ({"group_id": "{secret}", "user_id": "{counterparty}"}, "group_not_found"),
    "ban_user": ({"user_id": "{owner}", "reason": "x"}, "admin_only"),
    "blocked_profiles": ({}, "ok"),
    "cancel_invitation": ({"group_id": "{group}", "user_id": "{guest}"}, "ok"),
    "cancel_invitation:secret": ({"group_id": "{secret}", "user_id": "{guest}"}, "group_not_found"),
    "cancel_line": ({"order_item_id": "{order_items}"}, "sale_not_found"),
    "cancel_order": ({"order_id": "{orders}"}, "order_not_open"),
    "cancel_payout": ({"payout_id": "{payouts}"}, "payout_not_open"),
    "answer_co_hosting": ({"webinar_id": "{webinars}", "accept": True}, "webinar_not_found"),
    "cancel_registration": ({"webinar_id": "{webinars}"}, "registration_not_found"),
    "cancel_webinar": ({"webinar_id": "{webinars}", "reason": "x", "agreed_cost_cents": 0}, "webinar_not_found"),
    "convert_recording": ({"webinar_id": "{webinars}"}, "webinar_not_found"),
    "invite_co_host": ({"webinar_id": "{webinars}", "user_id": "{stranger}"}, "webinar_not_found"),
    "join_waiting_list": ({"webinar_id": "{webinars}"}, "seats_available"),
    "join_webinar": ({"webinar_id": "{webinars}"}, "webinar_not_found"),
    "mark_attendance": ({"webinar_id": "{webinars}", "user_ids": ["{stranger}"]}, "webinar_not_found"),
    "register_for_webinar": ({"webinar_id": "{webinars}"}, "payment_required"),
    "remove_co_host": ({"webinar_id": "{webinars}", "user_id": "{counterparty}"}, "webinar_not_found"),
    "remove_registration": (
        {"webinar_id": "{webinars}", "user_id": "{counterparty}", "reason": "x"},
        "webinar_not_found",
    ),
    "reschedule_webinar": ({"webinar_id": "{webinars}", "starts_local": "2030-01-01T10:00"}, "webinar_not_found"),
    "set_webinar_recording": (
        {"webinar_id": "{webinars}", "recording_url": "https://example.com/x"},
        "webinar_not_found",
    ),
    "set_webinar_room": ({"webinar_id": "{webinars}", "link": "https://example.com/x"}, "webinar_not_found"),
    "webinar_cancellation_cost": ({"webinar_id": "{webinars}"}, "webinar_not_found"),
    "cancel_photo_job": ({"job_id": "{photo_jobs}"}, "photo_job_not_found"),
    "check_license": ({"product_id": "{products}", "key": "x"}, "ok"),
    "checkout": ({"items": []}, "empty_checkout"),
    "claim_gift": ({"code": "x"}, "gift_not_found"),
    "claim_trial": ({}, "ok"),
    "create_demo_job": ({"prompt": "x", "media_ids": ["{media}"]}, "admin_only"),
    "create_photo_job": ({"prompt": "x", "media_ids": ["{media}"]}, "media_not_ready"),
    "credit_balance": ({}, "ok"),
    "credit_statement": ({}, "ok"),
    "photo_job_statement": ({"job_id": "{photo_jobs}"}, "photo_job_not_found"),
    "photo_price": ({"photo_count": 1}, "ok"),
    "preview_checkout": ({"items": []}, "empty_checkout"),
    "photo_queue_position": ({"job_id": "{photo_jobs}"}, "photo_job_not_found"),
    "refund_credits": ({"order_item_id": "{order_items}"}, "sale_not_found"),
    "retry_photo_job": ({"job_id": "{photo_jobs}"}, "photo_job_not_found"),
    "checkout_payable": ({"payable_id": "{payables}"}, "payable_not_open"),
    "clear_conversation": ({"conversation_id": "{chat}"}, "conversation_not_found"),
    "clear_my_location": ({}, "ok"),
    "confirm_delivery": ({"order_item_id": "{order_items}"}, "sale_not_found"),
    "confirm_return": ({"order_item_id": "{order_items}"}, "sale_not_found"),
    "connections": ({"user_id": "{banned}"}, "user_not_found"),
    "create_media": ({"path": "x", "purpose": "avatar"}, "upload_not_found"),
    "create_poll": ({"content": "?", "options": ["a", "b"], "group_id": "{secret}"}, "group_members_only"),
    "deactivate_license": ({"product_id": "{products}", "key": "x", "device_id": "x"}, "license_not_found"),
    "decide_review": ({"review_id": "{reviews}", "approve": True}, "admin_only"),
    "decline_invitation": ({"group_id": "{secret}"}, "ok"),
    "delete_group": ({"group_id": "{group}"}, "group_role_too_low"),
    "delete_group:secret": ({"group_id": "{secret}"}, "group_not_found"),
    "delete_media": ({"media_id": "{media}"}, "media_not_found"),
    "delete_message": ({"message_id": "{message}", "for_everyone": True}, "message_not_found"),
    "delete_review": ({"review_id": "{reviews}"}, "review_not_found"),
    "edit_review": ({"review_id": "{reviews}", "rating": 5}, "review_not_found"),
    "delete_my_account": ({}, "ok"),
    "error_catalog": ({}, "ok"),
    "export_my_data": ({}, "ok"),
    "feed": ({}, "ok"),
    "hide_content": ({"target_type": "post", "target_id": "{post}", "reason": "x"}, "moderators_only"),
    "hide_content:secret": (_SECRET_POST | {"reason": "x"}, "content_not_found"),
    "inbox": ({}, "empty"),
    "invite_to_group": ({"group_id": "{group}", "user_id": "{guest}"}, "group_role_too_low"),
    "invite_to_group:secret": ({"group_id": "{secret}", "user_id": "{guest}"}, "group_not_found"),
    "item_reviews": ({"item_id": "{catalog_items}"}, "ok"),
    "join_group": ({"group_id": "{secret}"}, "group_not_found"),
    "lift_limits": ({"user_id": "{owner}"}, "admin_only"),
    "decline_message_request": ({"conversation_id": "{chat}"}, "conversation_not_found"),
    "rejoin_conversation": ({"conversation_id": "{chat}"}, "conversation_not_found"),
    "leave_conversation": ({"conversation_id": "{chat}"}, "conversation_not_found"),
    "leave_group": ({"group_id": "{group}"}, "ok"),
    "leave_group:secret": ({"group_id": "{secret}"}, "group_not_found"),
    "lift_address_ban": ({"address": "x@example.com"}, "admin_only"),
    "list_webhook_events": ({}, "admin_only"),
    "mail_gift": ({"gift_id": "{gifts}"}, "gift_not_found"),
    "mark_all_notifications_read": ({}, "ok"),
    "mark_conversation_read": ({"conversation_id": "{chat}"}, "conversation_not_found"),
    "mark_notification_read": ({"ids": ["{notifications}"]}, "empty"),
    "moderation_queue": ({}, "admin_only"),
    "nearby_profiles": ({"lat": 52.5, "lon": 13.4}, "ok"),
    "open_gift": ({"gift_id": "{gifts}"}, "gift_not_found"),
    "override_report_ban": ({"user_id": "{stranger}"}, "admin_only"),
    "pending_posts": ({"group_id": "{group}"}, "empty"),
    "pin_post": ({"post_id": "{post}"}, "post_not_found"),
    "decide_correction": ({"correction_id": "{book_corrections}", "approve": True}, "admin_only"),
    "pay_refund_outside": ({"refund_id": "{refunds}", "reference": "x"}, "admin_only"),
    "propose_correction": (
        {"provider": "stripe", "change_cents": -1, "account": "revenue", "reason": "x"},
        "admin_only",
    ),
    "release_sale_review": ({"transaction_id": "{transactions}", "note": "x"}, "admin_only"),
    "request_refund": ({"order_item_id": "{order_items}", "reason": "x"}, "sale_not_found"),
    "retry_refund": ({"refund_id": "{refunds}"}, "admin_only"),
    "rating_histogram": ({"item_id": "{catalog_items}"}, "ok"),
    "release_version": ({"product_id": "{products}", "notes": "x", "files": []}, "item_not_found"),
    "respond_to_review": ({"review_id": "{reviews}", "response": "x"}, "review_not_found"),
    "review_buyer": ({"order_item_id": "{order_items}", "rating": 1}, "review_not_allowed"),
    "review_item": ({"item_id": "{products}", "rating": 5}, "review_not_allowed"),
    "refuse_gift": ({"gift_id": "{gifts}"}, "gift_not_found"),
    "refund_order_item": ({"order_item_id": "{order_items}"}, "sale_not_found"),
    "reject_custom_field": ({"request_id": "{custom_field_requests}", "reason": "x"}, "admin_only"),
    "reject_member": ({"group_id": "{group}", "user_id": "{counterparty}"}, "group_role_too_low"),
    "reject_member:secret": ({"group_id": "{secret}", "user_id": "{counterparty}"}, "group_not_found"),
    "reject_post": ({"post_id": "{waiting_post}"}, "post_not_found"),
    "remove_member": ({"group_id": "{group}", "user_id": "{counterparty}"}, "group_role_too_low"),
    "remove_member:secret": ({"group_id": "{secret}", "user_id": "{counterparty}"}, "group_not_found"),
    "remove_participant": ({"conversation_id": "{chat}", "user_id": "{counterparty}"}, "conversation_not_found"),
    "reopen_custom_field": ({"request_id": "{custom_field_requests}"}, "admin_only"),
    "replay_webhook_event": ({"event_id": 1}, "admin_only"),
    "report_content": (_SECRET_POST | {"reason": "spam"}, "content_not_found"),
    "report_content:message": (
        {"target_type": "message", "target_id": "{message}", "reason": "spam"},
        "content_not_found",
    ),
    "request_custom_field": ({"field_type": "skill", "field_value": "Piano"}, "custom_field_exists"),
    "request_payout": ({"amount_cents": 5000}, "payouts_not_enabled"),
    "resolve_report": ({"report_id": "{report}", "verdict": "upheld"}, "admin_only"),
    "restore_content": ({"target_type": "post", "target_id": "{post}"}, "moderators_only"),
    "restore_content:hidden": ({"target_type": "post", "target_id": "{hidden_post}"}, "content_not_found"),
    "review_product": ({"product_id": "{products}", "approved": False}, "admin_only"),
    "search_articles": ({"query": "mustard or draft"}, "empty"),
    "search_articles:published": ({"query": "sesame"}, "ok"),
    "search_catalog": ({"query": "unsold or beat"}, "ok"),
    "search_catalog:draft": ({"query": "sketchbook"}, "empty"),
    "catalog_facets": ({"query": "unsold or beat"}, "ok"),
    "catalog_facets:draft": ({"query": "sketchbook"}, "empty"),
    # Not an item; what is counted of one that is there is found by test_search.
    "record_view": ({"item_id": "{posts}"}, "item_not_found"),
    "share_wish_list": ({"list_id": "{wish_lists}"}, "wish_list_not_found"),
    "shared_wish_list": ({"token": "{wish_lists}"}, "wish_list_not_found"),
    "unshare_wish_list": ({"list_id": "{wish_lists}"}, "wish_list_not_found"),
    "search_groups": ({"query": "undercover"}, "empty"),
    "search_posts": ({"query": "undercover or mustard"}, "empty"),
    "search_profiles": ({"query": "outcast"}, "empty"),
    "send_tip": ({"recipient_id": "{banned}", "amount_cents": 100}, "user_not_found"),
    "set_hold_limit": ({"user_id": "{stranger}", "max_holds": 9}, "admin_only"),
    "set_license_disabled": ({"license_id": "{license_keys}", "disabled": True}, "license_not_found"),
    "set_member_role": ({"group_id": "{group}", "user_id": "{stranger}", "role": "admin"}, "group_role_too_low"),
    "set_member_role:secret": ({"group_id": "{secret}", "user_id": "{stranger}", "role": "admin"}, "group_not_found"),
    "set_my_location": ({"source": "gps", "lat": 52.5, "lon": 13.4}, "gps_not_in_plan"),
    "set_my_location_visibility": ({"visibility": "hidden"}, "location_not_set"),
    "set_partner_account": ({"user_id": "{stranger}", "is_partner": True}, "admin_only"),
    "set_profile_visibility": ({"visibility": "public"}, "ok"),
    "set_role": ({"user_id": "{stranger}", "role": "admin"}, "super_admin_only"),
    "set_subscription": ({"user_id": "{stranger}", "plan_key": "creator_ultimate"}, "admin_only"),
    "ship_line": ({"order_item_id": "{order_items}"}, "sale_not_found"),
    "show_license_key": ({"license_id": "{license_keys}"}, "license_not_found"),
    "similar_media": ({"media_id": "{media}"}, "media_not_found"),
    "start_conversation": ({"user_ids": ["{banned}"]}, "user_not_found"),
    "take_down_file": ({"file_id": "{product_files}", "reason": "x"}, "admin_only"),
    "transfer_group": ({"group_id": "{group}", "user_id": "{stranger}"}, "group_role_too_low"),
    "transfer_group:secret": ({"group_id": "{secret}", "user_id": "{stranger}"}, "group_not_found"),
    "unban_member": ({"group_id": "{group}", "user_id": "{stranger}"}, "group_role_too_low"),
    "unban_member:secret": ({"group_id": "{secret}", "user_id": "{stranger}"}, "group_not_found"),
    "unban_user": ({"user_id": "{banned}"}, "admin_only"),
    "unpin_post": ({"post_id": "{post}"}, "post_not_found"),
    "my_limits": ({}, "ok"),
    "unread_counts": ({}, "ok"),
    "unread_messages_count": ({}, "empty"),
    "verify_artist": ({"user_id": "{stranger}", "verified": True}, "admin_only"),
    "verify_group": ({"group_id": "{group}"}, "admin_only"),
    "vote_on_review": ({"review_id": "{stranger}", "is_helpful": True}, "review_not_found"),
    "wallet_statement": ({}, "empty"),
}
# Leaving, taking one's data along and taking back where one is are rights, not a membership.
OPEN_TO_BANNED = {"delete_my_account", "export_my_data", "clear_my_location"}
# Looking around is everybody's, as is what they find then, and what a refusal means.
OPEN_TO_ANON = {
    "available_slots",
    "catalog_facets",
    "catalog_facets:draft",
    "record_view",
    "shared_wish_list",
    "check_license",
    "error_catalog",
    "item_reviews",
    "photo_price",
    "rating_histogram",
    "search_articles",
    "search_articles:published",
    "search_catalog",
    "search_catalog:draft",
    "search_groups",
    "search_profiles",
}
# Who does find what others find nothing of.
FINDERS = {
    "inbox": "owner",
    "mark_notification_read": "owner",
    "pending_posts": "owner",
    "search_articles:published": "anon",
    "search_catalog": "anon",
    "search_groups": "owner",
    "search_posts": "owner",
    "search_profiles": "admin",
    "unread_messages_count": "owner",
    "wallet_statement": "owner",
}

# Functions of a row, for select=*,field: who may ask for it on a row of the relation.
COMPUTED = {
    ("coupons", "uses_count"): "owner admin",
    ("order_items", "order_number"): BOTH_SIDES,
    ("order_items", "delivery"): BOTH_SIDES,
    ("webinars", "status_now"): SHOP_WINDOW,
    ("webinars", "registrations_count"): SHOP_WINDOW,
    ("webinar_registrations", "status_now"): BOTH_SIDES,
    ("profiles", "location"): EVERYBODY,
    ("profiles", "is_followed"): EVERYBODY,
    ("profiles", "follows_me"): EVERYBODY,
    ("profiles", "connected"): EVERYBODY,
    ("groups", "my_role"): EVERYBODY,
    ("posts", "liked_by_me"): SHOP_WINDOW,
    ("posts", "shared_by_me"): SHOP_WINDOW,
    ("posts", "my_vote"): SHOP_WINDOW,
    ("articles", "liked_by_me"): SHOP_WINDOW,
    ("comments", "liked_by_me"): SHOP_WINDOW,
    ("gifts", "is_taken_back"): "owner admin",
    ("offers", "effective_status"): BOTH_SIDES,
    ("resolution_requests", "effective_status"): BOTH_SIDES,
    ("service_orders", "effective_status"): BOTH_SIDES,
    ("service_orders", "is_late"): BOTH_SIDES,
    ("notifications", "actors_count"): "owner",
    ("report_abuse_tracking", "is_report_banned"): "owner admin",
}
