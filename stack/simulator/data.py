"""What the provider knows, as data: objects as a client of API_VERSION reads them, states, test methods, errors."""

from __future__ import annotations

from typing import Any, NamedTuple

Json = dict[str, Any]

API_VERSION = "2026-10-28.endive"
CURRENCIES = ("usd", "eur", "gbp")
MIN_AMOUNT, MAX_AMOUNT = 50, 99_999_999

# Answers, events and lists carry these; a key starting with "_" is the simulator's own note and never leaves it.
PREFIXES = {
    "account": "acct_1", "account_link": "", "balance_transaction": "txn_3", "charge": "ch_3",
    "checkout.session": "cs_test_a1", "customer": "cus_", "event": "evt_3", "payment_intent": "pi_3",
    "payment_method": "pm_1", "refund": "re_3", "topup": "tu_1", "transfer": "tr_1", "transfer_reversal": "trr_1",
}  # fmt: skip

_ADDRESS: Json = {"city": None, "country": None, "line1": None, "line2": None, "postal_code": None, "state": None}
_BILLING: Json = {"address": _ADDRESS, "email": None, "name": None, "phone": None, "tax_id": None}
_REQUIREMENTS: Json = {
    "alternatives": [], "current_deadline": None, "currently_due": [], "disabled_reason": None, "errors": [],
    "eventually_due": [], "past_due": [], "pending_verification": [],
}  # fmt: skip
# What Stripe still asks of a new express account.
_DUE = [
    "external_account",
    "individual.dob.day",
    "individual.first_name",
    "individual.last_name",
    "tos_acceptance.date",
]

TEMPLATES: dict[str, Json] = {
    "payment_intent": {
        "amount": 0, "amount_capturable": 0, "amount_details": {"tip": {}}, "amount_received": 0, "application": None,
        "application_fee_amount": None, "automatic_payment_methods": None, "canceled_at": None,
        "cancellation_reason": None, "capture_method": "automatic_async", "client_secret": None,
        "confirmation_method": "automatic", "currency": "usd", "customer": None, "customer_account": None,
        "description": None, "excluded_payment_method_types": None, "last_payment_error": None, "latest_charge": None,
        "metadata": {}, "next_action": None, "on_behalf_of": None, "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"installments": None, "mandate_options": None, "network": None,
                                            "request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"], "processing": None, "receipt_email": None, "review": None,
        "setup_future_usage": None, "shipping": None, "source": None, "statement_descriptor": None,
        "statement_descriptor_suffix": None, "status": "requires_payment_method", "transfer_data": None,
        "transfer_group": None,
    },
    "checkout.session": {
        "adaptive_pricing": None, "after_expiration": None, "allow_promotion_codes": None, "amount_subtotal": 0,
        "amount_total": 0, "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": None, "branding_settings": None, "cancel_url": None, "client_reference_id": None,
        "client_secret": None, "collected_information": None, "consent": None, "consent_collection": None,
        "currency": "usd", "currency_conversion": None, "custom_fields": [],
        "custom_text": {"after_submit": None, "shipping_address": None, "submit": None,
                        "terms_of_service_acceptance": None},
        "customer": None, "customer_account": None, "customer_creation": "if_required", "customer_details": None,
        "customer_email": None, "discounts": [], "excluded_payment_method_types": None, "expires_at": 0,
        "integration_identifier": None, "invoice": None, "invoice_creation": None, "locale": None, "metadata": {},
        "mode": "payment", "name_collection": None, "optional_items": None, "origin_context": None,
        "payment_intent": None, "payment_link": None, "payment_method_collection": "if_required",
        "payment_method_configuration_details": None, "payment_method_options": {},
        "payment_method_types": ["card", "us_bank_account", "link"], "payment_status": "unpaid", "permissions": None,
        "phone_number_collection": {"enabled": False}, "recovered_from": None, "redirect_on_completion": None,
        "return_url": None, "saved_payment_method_options": None, "setup_intent": None,
        "shipping_address_collection": None, "shipping_cost": None, "shipping_options": [], "status": "open",
        "submit_type": None, "subscription": None, "success_url": None,
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0}, "ui_mode": "hosted",
        "url": None, "wallet_options": None,
    },
    "payment_method": {
        "allow_redisplay": "unspecified", "billing_details": _BILLING, "customer": None, "metadata": {}, "type": "card",
    },
    "charge": {
        "amount": 0, "amount_captured": 0, "amount_refunded": 0, "application": None, "application_fee": None,
        "application_fee_amount": None, "balance_transaction": None, "billing_details": _BILLING,
        "calculated_statement_descriptor": "AVENUE SIMULATOR", "captured": False, "currency": "usd", "customer": None,
        "description": None, "destination": None, "dispute": None, "disputed": False,
        "failure_balance_transaction": None, "failure_code": None, "failure_message": None, "fraud_details": {},
        "metadata": {}, "on_behalf_of": None, "order": None, "outcome": None, "paid": False, "payment_intent": None,
        "payment_method": None, "payment_method_details": None, "radar_options": {}, "receipt_email": None,
        "receipt_number": None, "receipt_url": None, "refunded": False, "review": None, "shipping": None,
        "source": None, "source_transfer": None, "statement_descriptor": None, "statement_descriptor_suffix": None,
        "status": "pending", "transfer_data": None, "transfer_group": None,
    },
    "balance_transaction": {
        "amount": 0, "available_on": 0, "balance_type": "payments", "currency": "usd", "description": None,
        "exchange_rate": None, "fee": 0, "fee_details": [], "net": 0, "reporting_category": "", "source": None,
        "status": "available", "type": "",
    },
    "refund": {
        "amount": 0, "balance_transaction": None, "charge": None, "currency": "usd", "customer": None,
        "description": None,
        "destination_details": {"type": "card", "card": {
            "reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"}},
        "metadata": {}, "payment_intent": None, "payment_method": None, "reason": None, "receipt_number": None,
        "source_transfer_reversal": None, "status": "succeeded", "transfer_reversal": None,
    },
    "account": {
        "business_profile": {"annual_revenue": None, "estimated_worker_count": None, "mcc": None,
                             "minority_owned_business_designation": None, "name": None, "product_description": None,
                             "support_address": None, "support_email": None, "support_phone": None,
                             "support_url": None, "url": None},
        "business_type": None, "capabilities": {}, "charges_enabled": False, "controller": None, "country": "US",
        "default_currency": "usd", "details_submitted": False, "email": None,
        "external_accounts": None, "future_requirements": _REQUIREMENTS, "metadata": {}, "payouts_enabled": False,
        "requirements": None,
        "settings": {"bacs_debit_payments": {"display_name": None, "service_user_number": None},
                     "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
                     "card_issuing": {"tos_acceptance": {"date": None, "ip": None}},
                     "card_payments": {"decline_on": {"avs_failure": False, "cvc_failure": False},
                                       "statement_descriptor_prefix": None, "statement_descriptor_prefix_kana": None,
                                       "statement_descriptor_prefix_kanji": None},
                     "dashboard": {"display_name": None, "timezone": "Etc/UTC"},
                     "invoices": {"default_account_tax_ids": None, "hosted_payment_method_save": None},
                     "payments": {"statement_descriptor": None, "statement_descriptor_kana": None,
                                  "statement_descriptor_kanji": None},
                     "payouts": {"debit_negative_balances": True,
                                 "schedule": {"delay_days": 2, "interval": "daily"}, "statement_descriptor": None},
                     "sepa_debit_payments": {}},
        "tos_acceptance": {"date": None, "ip": None, "user_agent": None}, "type": "express",
    },
    "account_link": {"expires_at": 0, "url": ""},
    "topup": {"amount": 0, "currency": "usd"},
    "transfer": {
        "amount": 0, "amount_reversed": 0, "balance_transaction": None, "currency": "usd", "description": None,
        "destination": None, "destination_payment": None, "metadata": {},
        "reversals": {"object": "list", "data": [], "has_more": False, "total_count": 0, "url": ""},
        "reversed": False, "source_transaction": None, "source_type": "card", "transfer_group": None,
    },
    "transfer_reversal": {
        "amount": 0, "balance_transaction": None, "currency": "usd", "destination_payment_refund": None, "metadata": {},
        "source_refund": None, "transfer": None,
    },
    "customer": {
        "address": None, "balance": 0, "currency": None, "customer_account": None, "default_source": None,
        "delinquent": False, "description": None, "discount": None, "email": None, "invoice_prefix": "AVENUE",
        "invoice_settings": {"custom_fields": None, "default_payment_method": None, "footer": None,
                             "rendering_options": None},
        "metadata": {}, "name": None, "next_invoice_sequence": 1, "phone": None, "preferred_locales": [],
        "shipping": None, "tax_exempt": "none", "test_clock": None,
    },
}  # fmt: skip
NO_LIVEMODE = {"account", "balance_transaction", "refund", "transfer_reversal", "account_link"}

# What the customer's browser may read of a PaymentIntent.
PUBLIC_FIELDS = {
    "id", "object", "amount", "amount_details", "automatic_payment_methods", "canceled_at", "cancellation_reason",
    "capture_method", "client_secret", "confirmation_method", "created", "currency", "description",
    "last_payment_error", "livemode", "next_action", "payment_method", "payment_method_types", "processing",
    "receipt_email", "setup_future_usage", "shipping", "source", "status",
}  # fmt: skip


class Method(NamedTuple):
    """A test payment method: how confirming ends, and how its refunds behave ('' = they succeed)."""

    outcome: str = "succeeded"
    code: str = ""
    decline_code: str = ""
    message: str = "Your card was declined."
    refund: str = ""
    type: str = "card"
    brand: str = "visa"
    last4: str = "4242"


def _declined(code: str, decline_code: str, message: str, last4: str) -> Method:
    return Method("failed", code, decline_code, message, last4=last4)


_GENERIC = _declined("card_declined", "generic_decline", "Your card was declined.", "0002")
_FUNDS = _declined("card_declined", "insufficient_funds", "Your card has insufficient funds.", "9995")
METHODS: dict[str, Method] = {
    "pm_card_visa": Method(),
    "pm_card_mastercard": Method(brand="mastercard", last4="4444"),
    "pm_card_bypassPending": Method(last4="0077"),
    "pm_card_chargeDeclined": _GENERIC,
    "pm_card_visa_chargeDeclined": _GENERIC,
    "pm_card_chargeDeclinedInsufficientFunds": _FUNDS,
    "pm_card_visa_chargeDeclinedInsufficientFunds": _FUNDS,
    "pm_card_chargeDeclinedExpiredCard": _declined("expired_card", "", "Your card has expired.", "0069"),
    "pm_card_chargeDeclinedIncorrectCvc": _declined(
        "incorrect_cvc", "", "Your card's security code is incorrect.", "0127"
    ),
    "pm_card_chargeDeclinedProcessingError": _declined(
        "processing_error", "", "An error occurred while processing your card. Try again in a little bit.", "0119"
    ),
    "pm_card_authenticationRequired": Method("requires_action", last4="3184"),
    "pm_card_pendingRefund": Method(refund="pending", last4="7726"),
    "pm_card_refundFail": Method(refund="failed", last4="5126"),
    # Real ACH settles after days: `processing` lasts until a command says how it ended.
    "pm_usBankAccount_processing": Method("processing", type="us_bank_account", last4="6789"),
    "pm_usBankAccount_success": Method("processing", type="us_bank_account", last4="6789"),
}


class Outcome(NamedTuple):
    """What one result of a payment attempt does to the intent and its charge, and which events tell of it."""

    intent: str
    charge: str | None
    events: tuple[str, ...]


OUTCOMES: dict[str, Outcome] = {
    "succeeded": Outcome("succeeded", "succeeded", ("charge.succeeded", "payment_intent.succeeded")),
    "failed": Outcome("requires_payment_method", "failed", ("charge.failed", "payment_intent.payment_failed")),
    "processing": Outcome("processing", "pending", ("charge.pending", "payment_intent.processing")),
    "requires_action": Outcome("requires_action", None, ("payment_intent.requires_action",)),
}
# How a command may move a payment on; succeeded → failed is the decline at settlement, days later.
PAYMENT_MOVES = {
    "processing": {"succeeded", "failed"},
    "requires_action": {"succeeded", "failed", "processing"},
    "succeeded": {"failed"},
}
# A Checkout Session lasts from half an hour to a day.
SESSION_SECONDS = (1800, 86_400)
# What the API allows in which status; the error names these in this order.
INTENT_VERBS: dict[str, tuple[str, tuple[str, ...]]] = {
    "cancel": ("canceled", ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action")),
    "confirm": ("confirmed", ("requires_payment_method", "requires_confirmation", "requires_action")),
    "update": ("updated", ("requires_payment_method", "requires_confirmation", "requires_action")),
}
REFUND_MOVES = {
    "pending": {"succeeded", "failed", "canceled"},
    "requires_action": {"succeeded", "failed", "canceled"},
    "succeeded": {"failed"},
}
ACCOUNT_STATES: dict[str, Json] = {
    "new": {
        "details_submitted": False, "payouts_enabled": False, "charges_enabled": False, "_transfers": "inactive",
        "requirements": {**_REQUIREMENTS, "currently_due": _DUE, "eventually_due": _DUE, "past_due": _DUE,
                         "disabled_reason": "requirements.past_due"},
    },
    "pending": {
        "details_submitted": True, "payouts_enabled": False, "charges_enabled": False, "_transfers": "pending",
        "requirements": {**_REQUIREMENTS, "pending_verification": ["individual.verification.document"],
                         "disabled_reason": "requirements.pending_verification"},
    },
    "enabled": {
        "details_submitted": True, "payouts_enabled": True, "charges_enabled": True, "_transfers": "active",
        "requirements": _REQUIREMENTS,
    },
    "disabled": {
        "details_submitted": True, "payouts_enabled": False, "charges_enabled": False, "_transfers": "inactive",
        "requirements": {**_REQUIREMENTS, "currently_due": ["individual.verification.document"],
                         "past_due": ["individual.verification.document"], "disabled_reason": "requirements.past_due"},
    },
}  # fmt: skip


class Problem(NamedTuple):
    """An API error. `kept`: work had begun, so a repeat with the same Idempotency-Key gets this answer again."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    kept: bool = False
    type: str = "invalid_request_error"


_BALANCE_HINT = (
    "You have insufficient available funds in your Stripe account. Try adding funds directly to your available balance "
    "by creating Charges using the 4000000000000077 test card. See: https://stripe.com/docs/testing#available-balance"
)
PROBLEMS: dict[str, Problem] = {
    "no_key": Problem(401, "You did not provide an API key. You need to provide your API key in the Authorization "
                           "header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."),
    "bad_key": Problem(401, "Invalid API Key provided: {key}"),
    "secret_key_required": Problem(403, "This API call cannot be made with a publishable API key. Please use a secret "
                                        "API key. You can find a list of your API keys at "
                                        "https://dashboard.stripe.com/account/apikeys.", "secret_key_required"),
    "client_secret": Problem(400, "The client_secret provided does not match the client_secret associated with the "
                                  "PaymentIntent.", "payment_intent_invalid_parameter", "client_secret"),
    "unknown_url": Problem(404, "Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or "
                                "we can help at https://support.stripe.com/."),
    "no_connect_header": Problem(400, "The simulator does not act on behalf of connected accounts.",
                                 param="Stripe-Account"),
    "missing": Problem(404, "No such {what}: '{id}'", "resource_missing", "id"),
    "missing_param": Problem(400, "No such {what}: '{id}'", "resource_missing"),
    "account_invalid": Problem(403, "The provided key does not have access to account '{id}' (or that account does not "
                                    "exist). Application access may have been revoked.", "account_invalid"),
    "parameter_missing": Problem(400, "Missing required param: {param}.", "parameter_missing"),
    "parameter_unknown": Problem(400, "Received unknown parameter: {param}", "parameter_unknown"),
    "parameter_invalid_empty": Problem(400, "You passed an empty string for '{param}'. We assume empty values are an "
                                            "attempt to unset a parameter; however '{param}' cannot be unset. You "
                                            "should remove '{param}' from your request or supply a non-empty value.",
                                       "parameter_invalid_empty"),
    "parameter_invalid_integer": Problem(400, "Invalid integer: {value}", "parameter_invalid_integer"),
    "invalid_boolean": Problem(400, "Invalid boolean: {value}"),
    "invalid_object": Problem(400, "Invalid object"),
    "invalid_currency": Problem(400, "Invalid currency: {value}. Stripe currently supports these currencies: "
                                     + ", ".join(CURRENCIES), param="currency"),
    "invalid_choice": Problem(400, "Invalid {param}: must be one of {choices}"),
    "invalid_limit": Problem(400, "This value must be between 1 and 100.", param="limit"),
    "long_metadata": Problem(400, "Metadata values can have up to 500 characters, but you passed in a value that is "
                                  "{length} characters. Invalid value: {value}", param="metadata"),
    "url_invalid": Problem(400, "Not a valid URL", "url_invalid"),
    "cannot_expand": Problem(400, "This property cannot be expanded ({path}). You may want to try expanding something "
                                  "else.", param="expand"),
    "amount_too_small": Problem(400, "Amount must be at least $0.50 {currency}", "amount_too_small", "amount"),
    "amount_too_large": Problem(400, "Amount must be no more than $999,999.99", "amount_too_large", "amount"),
    "invalid_positive_integer": Problem(400, "This value must be greater than or equal to 1.",
                                        "parameter_invalid_integer", "amount"),
    "intent_state": Problem(400, "You cannot {verb} this PaymentIntent because it has a status of {status}. Only a "
                                 "PaymentIntent with one of the following statuses may be {done}: {allowed}.",
                            "payment_intent_unexpected_state", kept=True),
    "intent_no_method": Problem(400, "You cannot confirm this PaymentIntent because it's missing a payment method. You "
                                     "can either update the PaymentIntent with a payment method and then confirm it "
                                     "again, or confirm it again directly with a payment method.",
                                "payment_intent_unexpected_state", kept=True),
    "intent_of_session": Problem(400, "You cannot cancel the PaymentIntent for a Checkout Session. Expire the Checkout "
                                      "Session instead.", "payment_intent_unexpected_state", kept=True),
    "session_state": Problem(400, 'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout '
                                  "Session has a status of `{status}`.", kept=True),
    "session_expires": Problem(400, "The `expires_at` timestamp must be at least 30 minutes and at most 24 hours from "
                                    "Checkout Session creation.", param="expires_at"),
    "session_mode": Problem(400, "The simulator knows only mode=payment.", param="mode"),
    "refund_no_charge": Problem(400, "This PaymentIntent ({id}) does not have a successful charge to refund.",
                                param="payment_intent", kept=True),
    "charge_not_paid": Problem(400, "Charge {id} was not successful and cannot be refunded.", param="charge",
                               kept=True),
    "one_of_charge_intent": Problem(400, "One of the following params should be provided for this request: "
                                         "payment_intent or charge.", "parameter_missing"),
    "charge_already_refunded": Problem(400, "Charge {id} has already been refunded.", "charge_already_refunded",
                                       kept=True),
    "refund_too_large": Problem(400, "Refund amount ({amount}) is greater than unrefunded amount on charge ({left})",
                                param="amount", kept=True),
    "refund_state": Problem(400, "Refund {id} has a status of {status} and cannot be canceled.", kept=True),
    "no_capability": Problem(400, "Your destination account needs to have at least one of the following capabilities "
                                  "enabled: transfers, crypto_transfers, legacy_payments",
                             "insufficient_capabilities_for_transfer", kept=True),
    "balance_insufficient": Problem(400, _BALANCE_HINT, "balance_insufficient", kept=True),
    "transfer_reversed": Problem(400, "Transfer {id} is already fully reversed.", kept=True),
    "reversal_too_large": Problem(400, "Reversal amount ({amount}) is greater than unreversed amount on transfer "
                                       "({left})", param="amount", kept=True),
    "idempotency_in_use": Problem(409, "There is currently another in-progress request using this Idempotent Key (that "
                                       "probably means you submitted twice, and the other request is still going "
                                       "through): {key}. Please try again later.", "idempotency_key_in_use"),
    "idempotency_params": Problem(400, "Keys for idempotent requests can only be used with the same parameters they "
                                       "were first used with. Try using a key other than '{key}' if you meant to "
                                       "execute a different request.", type="idempotency_error"),
    "idempotency_endpoint": Problem(400, "Keys for idempotent requests can only be used for the same endpoint they "
                                         "were first used for ('{path}' vs '{first}'). Try using a key other than "
                                         "'{key}' if you meant to execute a different request.",
                                    type="idempotency_error"),
}  # fmt: skip
