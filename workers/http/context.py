"""What every function gets: the process's services and the verified caller."""

from typing import Annotated, Any, cast

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from workers.http.auth import Caller, TokenVerifier, bearer_token
from workers.problems import MEDIA_TYPE, Problem
from workers.services import Services

_bearer = HTTPBearer(auto_error=False, description="The access token of a Supabase session.")


def get_services(request: Request) -> Services:
    """The services opened at startup."""
    return cast(Services, request.app.state.services)


async def get_caller(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
) -> Caller:
    """The signed-in person. Raises Problem 401."""
    verifier = cast(TokenVerifier, request.app.state.verifier)
    return await verifier.verify(bearer_token(request.headers.get("authorization")))


async def get_member(caller: Annotated[Caller, Depends(get_caller)]) -> Caller:
    """A signed-in person with an account; anonymous sessions do not move money. Raises Problem 401, 403."""
    if caller.is_anonymous:
        raise Problem("account_required")
    return caller


ServicesDep = Annotated[Services, Depends(get_services)]
CallerDep = Annotated[Caller, Depends(get_caller)]
MemberDep = Annotated[Caller, Depends(get_member)]


def problems(**described: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI declarations of error answers: problems(_404="when")."""
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {
        int(status.lstrip("_")): {"description": text, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status, text in described.items()
    }
