"""What a photo studio must be able to do, in our words: one photo and a prompt in, one picture out.

Three things a caller may hear, and what each is good for:

- a `Status` that is final: the verdict. Only this settles a photo.
- `StudioUnknown`: the prediction may have been created. Ask find(), never guess, never submit again before that.
- `StudioUnavailable`: nothing was created, or nobody can say how it stands. Try again; it is no verdict on a photo.

A timeout is never a failure: what nobody can say about a photo until its deadline is the caller's to decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

State = Literal["processing", "succeeded", "failed", "canceled"]

# Why there is no picture. Stable: photo jobs store it, clients switch on it.
# refused: the photo or the prompt was flagged. unreadable_input: the photo is no picture, too large, or not there.
# provider_failed: the provider tried and could not. output_gone: it could, and has deleted what came out.
Code = Literal["refused", "unreadable_input", "provider_failed", "output_gone", "canceled"]

# Providers call us back at AVENUE_WORKERS_URL + this path, with the attempt's id as the query parameter `attempt`.
WEBHOOK_PATH = "/webhooks/studio"
ATTEMPT_PARAMETER = "attempt"
# An attempt that was submitted less than so long ago may still be on its way: find() could miss it.
FIND_AFTER_SECONDS = 60


class StudioError(Exception):
    """Base of all failures; the text is for logs, never for people."""


class StudioUnavailable(StudioError):
    """Nothing was created, or nobody can say: try again. `retry_after`: seconds, when the provider named them."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StudioUnknown(StudioError):
    """The prediction may have been created, or not: ask find()."""


class OutputGone(StudioError):
    """The provider has deleted what came out. Final: the photo failed with `output_gone`."""


class OutputInvalid(StudioError):
    """What came out is no picture: empty, too large, or something else. Final: failed with `provider_failed`."""


class InvalidDelivery(Exception):
    """A delivery that is not from the provider, is too old, was changed on the way, or is about no prediction."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one photo; its row is committed before submit() is called.

    input_url: where the photo can be read without further rights until it is done, so at least until the deadline;
    None: no photo, the prompt alone. deadline: until when a result is of use; the provider may stop then.
    """

    id: UUID
    prompt: str
    input_url: str | None
    deadline: datetime


@dataclass(frozen=True, slots=True)
class Status:
    """How a prediction stands; anything but `processing` is final.

    ref: the provider's id; None only when it refused before it gave one. output or output_url: what came out, read
    by fetch_output(). code: set when it failed or was canceled; detail: the provider's words, for logs.
    cost_micros: what this attempt costs us so far, in millionths of a dollar; None: not known.
    """

    state: State
    ref: str | None
    output_url: str | None = None
    output: bytes | None = None
    code: Code | None = None
    detail: str | None = None
    cost_micros: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether it stays so."""
        return self.state != "processing"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A verified delivery. Deliveries are repeated and overtake each other.

    attempt_id: the one that is part of what was signed; None when the provider signs none, then the URL's counts.
    """

    attempt_id: UUID | None
    status: Status


class StudioProvider(Protocol):
    """One provider. Nothing here writes to the database; every call may be repeated but submit()."""

    name: str

    async def submit(self, attempt: Attempt) -> Status:
        """Create the prediction; a provider that works at once answers with the final status.

        Raises StudioUnknown when it may have been created (no answer, 5xx), StudioUnavailable when surely not.
        """

    async def find(self, attempt_id: UUID, submitted_at: datetime | None = None) -> Status | None:
        """The prediction of an attempt whose submit() did not say; None: there is none, it may be submitted again.

        Ask no sooner than FIND_AFTER_SECONDS after submit() ended. submitted_at: when it began, so that less has to
        be searched. Raises StudioUnavailable when nobody can say.
        """

    async def get_status(self, ref: str) -> Status:
        """How a prediction stands. Raises StudioUnavailable.

        One that the provider says it does not have (any more) has failed with `output_gone`.
        """

    async def fetch_output(self, status: Status, limit: int) -> bytes:
        """The file that came out, at most `limit` bytes. It is foreign: decode it like any upload.

        Raises OutputGone, OutputInvalid, StudioUnavailable.
        """

    async def cancel(self, ref: str) -> None:
        """Ask to stop; whether it did is for get_status(). Raises StudioUnavailable."""

    def verify_delivery(self, headers: Mapping[str, str], body: bytes) -> Delivery:
        """The status in this webhook delivery: raw body, header names in lower case. Raises InvalidDelivery."""

    async def close(self) -> None:
        """Close connections."""
