"""Errors as RFC 9457 problem details: what the functions answer instead of data."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"


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
    """Raise to answer with problem details."""

    def __init__(
        self,
        status: int,
        code: str,
        title: str | None = None,
        detail: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        errors: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.title = title or HTTPStatus(status).phrase
        self.detail = detail
        self.headers = headers or {}
        self.errors = errors

    def response(self, instance: str | None = None) -> JSONResponse:
        """The answer itself; never cached, whoever stands between."""
        body = ProblemDetails(
            type=f"urn:avenue:error:{self.code}",
            title=self.title,
            status=self.status,
            code=self.code,
            detail=self.detail,
            instance=instance,
            errors=self.errors,
        )
        return JSONResponse(
            body.model_dump(exclude_none=True),
            status_code=self.status,
            headers={"cache-control": "no-store", **self.headers},
            media_type=MEDIA_TYPE,
        )


def unavailable(detail: str | None = None, retry_after: int = 5) -> Problem:
    """Nothing was done; the caller (a payment provider, too) should come back after `retry_after` seconds."""
    return Problem(
        503,
        "temporarily_unavailable",
        "The service cannot do this right now; try again shortly.",
        detail,
        headers={"retry-after": str(retry_after)},
    )
