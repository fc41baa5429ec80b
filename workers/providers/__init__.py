"""Payment providers: one protocol, one small module each."""

from workers.providers.protocol import (
    Account,
    AccountLink,
    DeliveryInvalid,
    Event,
    NotFound,
    Payment,
    PaymentProvider,
    ProviderConflict,
    ProviderError,
    ProviderRefused,
    ProviderUnknown,
    Refund,
    RefusedForNow,
    Transfer,
)

__all__ = [
    "Account",
    "AccountLink",
    "DeliveryInvalid",
    "Event",
    "NotFound",
    "Payment",
    "PaymentProvider",
    "ProviderConflict",
    "ProviderError",
    "ProviderRefused",
    "ProviderUnknown",
    "Refund",
    "RefusedForNow",
    "Transfer",
]
