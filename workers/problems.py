"""Errors as RFC 9457 problem details: what the functions answer instead of data."""

from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A kind of problem: its HTTP status, a sentence for people, and when it happens or what to do."""

    status: int
    title: str
    description: str


# The workers' own errors; those of the database are in private.error_codes. docs/errors.md lists both.
CODES = {
    "not_signed_in": ErrorCode(401, "Please sign in.", "No access token was sent."),
    "token_expired": ErrorCode(401, "The session has expired.", "Refresh the session and repeat the call."),
    "token_invalid": ErrorCode(
        401, "The access token is not valid.", "Wrong signature, audience or role; only people's tokens are accepted."
    ),
    "account_required": ErrorCode(403, "Please create an account.", "Anonymous sessions do not move money."),
    "payment_not_open": ErrorCode(
        409, "This payment is no longer open.", "It was cancelled meanwhile; check out again."
    ),
    "provider_not_supported": ErrorCode(501, "This payment provider is not available.", "Choose another one."),
    "url_not_allowed": ErrorCode(
        422,
        "This address is of another site.",
        "People are sent back to pages of the application only: AVENUE_SITE_URL, or one of AVENUE_REDIRECT_ORIGINS.",
    ),
    "provider_refused": ErrorCode(
        502, "The payment provider refused.", "The detail is the provider's reason; repeating does not help."
    ),
    "provider_conflict": ErrorCode(
        409, "The payment provider holds something else.", "Our operators were alerted; nothing was changed."
    ),
    "file_missing": ErrorCode(404, "A file of this item is missing.", "The seller's file is gone from storage."),
    "invalid_request": ErrorCode(422, "The request is not valid.", "`errors` says which field and why."),
    "bad_request": ErrorCode(400, "The request cannot be understood.", "Malformed HTTP or JSON."),
    "no_such_function": ErrorCode(404, "There is no such function.", "Check the path."),
    "method_not_allowed": ErrorCode(405, "This method is not allowed here.", "`Allow` says which one is."),
    "body_too_large": ErrorCode(413, "The body is too large.", "At most 1 MiB is accepted."),
    "body_too_slow": ErrorCode(408, "The body did not arrive in time.", "Send it again."),
    "invalid_delivery": ErrorCode(
        400, "This is not an authentic event.", "Webhooks: bad, missing or old signature, or no event. Nothing stored."
    ),
    "temporarily_unavailable": ErrorCode(
        503, "This cannot be done right now.", "Nothing was done; come back after `Retry-After` seconds."
    ),
    "not_ready": ErrorCode(503, "This worker is not ready.", "/readyz: the detail says what the database lacks."),
    "internal_error": ErrorCode(500, "Something went wrong here.", "It was logged; repeating may help."),
}


class ProblemDetails(BaseModel):
    """The body of every error answer."""

    type: str = Field(description="URI naming the kind of problem", examples=["urn:avenue:error:payment_not_found"])
    title: str = Field(description="A sentence for people", examples=["There is no such payment."])
    status: int = Field(description="The HTTP status again", examples=[404])
    code: str = Field(description="Stable key to switch on; listed in docs/errors.md", examples=["payment_not_found"])
    detail: str | None = Field(default=None, description="What is special about this occurrence")
    instance: str | None = Field(default=None, description="The path that was requested")
    errors: list[dict[str, Any]] | None = Field(default=None, description="Per field, when the input was invalid")


class Problem(Exception):
    """Raise to answer with problem details. `code` is one of CODES, or comes from the database with its own words."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        errors: list[dict[str, Any]] | None = None,
        known: ErrorCode | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.known = known or CODES[code]
        self.detail = detail
        self.headers = headers or {}
        self.errors = errors

    @classmethod
    def unavailable(cls, detail: str | None = None, retry_after: int = 5) -> Self:
        """Nothing was done; the caller (a payment provider, too) should come back after `retry_after` seconds."""
        return cls("temporarily_unavailable", detail, headers={"retry-after": str(retry_after)})

    def response(self, instance: str | None = None) -> JSONResponse:
        """The answer itself; never cached, whoever stands between."""
        body = ProblemDetails(
            type=f"urn:avenue:error:{self.code}",
            title=self.known.title,
            status=self.known.status,
            code=self.code,
            detail=self.detail,
            instance=instance,
            errors=self.errors,
        )
        return JSONResponse(
            body.model_dump(exclude_none=True),
            status_code=self.known.status,
            headers={"cache-control": "no-store", **self.headers},
            media_type=MEDIA_TYPE,
        )
