"""The built-in studio: edits on this machine what a prompt's keywords name, in the limited children of `workers.media`.

It keeps nothing. submit() answers with the finished picture; the same attempt again gives the same one, so a process
that died before the picture was stored costs nothing but the time.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import get_args
from uuid import UUID

import httpx

from workers.media.picture import Edit, Refused, Size
from workers.media.pool import ChildBroken, Pool
from workers.studio.fetch import Gone, TooLarge, fetch
from workers.studio.protocol import (
    Attempt,
    Code,
    Delivery,
    InvalidDelivery,
    OutputGone,
    OutputInvalid,
    Status,
    StudioUnavailable,
)

OUTPUT = Size("studio", 3072, "JPEG", 92)

# By group: of each the keyword that comes last in the prompt counts. docs/studio-providers.md lists them for people.
KEYWORDS: tuple[dict[Edit, str], ...] = (
    {
        "square": r"square|1:1",
        "portrait": r"portrait|4:5",
        "landscape": r"landscape|3:2",
    },
    {
        "white_background": r"white (?:\w+ )?back(?:ground|drop)|back(?:ground|drop) (?:\w+ )?white|on white"
        r"|remove (?:the )?background",
        "grey_background": r"gr[ae]y (?:\w+ )?back(?:ground|drop)|back(?:ground|drop) (?:\w+ )?gr[ae]y|on gr[ae]y",
        "black_background": r"black (?:\w+ )?back(?:ground|drop)|back(?:ground|drop) (?:\w+ )?black|on black",
    },
    {"brighter": r"bright(?:er|en)|lighter|lighten", "darker": r"dark(?:er|en)"},
    {"contrast": r"(?:more |higher |add )?contrast|punchy"},
    {"warmer": r"warm(?:er|th)?", "cooler": r"cool(?:er)?|cold(?:er)?"},
    {
        "black_and_white": r"black[ -]and[ -]white|b&w|monochrome|gr[ae]yscale",
        "vivid": r"vivid|vibrant|saturated",
        "muted": r"muted|desaturated|pastel",
    },
    {"sharpen": r"sharp(?:er|en)?|crisp"},
    {"auto": r"auto|enhance"},
)
# "no sharpening", "do not make it darker", "without a white background"
_NEGATED = re.compile(r"(?:\b(?:no|not|never|without|don't|less)(?: \w+){0,2} )$")
# So far back it is looked for.
_NEGATION_CHARACTERS = 60
_READ = tuple(
    re.compile("|".join(rf"(?P<{word}>(?<![\w-])(?:{pattern})(?:ing|ed)?(?![\w-]))" for word, pattern in group.items()))
    for group in KEYWORDS
)


def edits_of(prompt: str) -> tuple[Edit, ...]:
    """What the keywords in a prompt ask for; automatic contrast when there is none."""
    text = " ".join(prompt.lower().replace("’", "'").split())
    found: list[Edit] = []
    for group in _READ:
        named = [each for each in group.finditer(text) if not _is_negated(text, each.start())]
        found += [word for word in get_args(Edit) if named and word == named[-1].lastgroup]
    return tuple(found) or ("auto",)


def _is_negated(text: str, start: int) -> bool:
    return bool(_NEGATED.search(text, max(0, start - _NEGATION_CHARACTERS), start))


class BuiltinStudio:
    """Works with the pool it is given, which its owner closes."""

    name = "builtin"

    def __init__(self, pool: Pool, client: httpx.AsyncClient | None = None) -> None:
        self._pool = pool
        self._client = client or httpx.AsyncClient(timeout=httpx.Timeout(30, connect=5))

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def submit(self, attempt: Attempt) -> Status:
        """The finished picture, a JPEG. Raises StudioUnavailable when the photo or a child could not be reached."""
        ref = str(attempt.id)
        if attempt.input_url is None:
            return _failed(ref, "unreadable_input", "no photo")
        try:
            photo = await fetch(self._client, attempt.input_url, self._pool.limits.file_bytes)
            picture = await self._pool.decode(photo, [OUTPUT], edits_of(attempt.prompt))
        except (Gone, TooLarge, Refused) as error:
            return _failed(ref, "unreadable_input", str(error))
        except ChildBroken as error:
            raise StudioUnavailable(str(error)) from error
        return Status("succeeded", ref, output=picture.derivatives[0].data, cost_micros=0)

    async def find(self, attempt_id: UUID, submitted_at: datetime | None = None) -> Status | None:
        """None: nothing is kept, so there is nothing to adopt."""
        return None

    async def get_status(self, ref: str) -> Status:
        """Nothing is ever under way here, and what came out is kept by nobody but the caller."""
        return _failed(ref, "output_gone", "the built-in studio keeps nothing")

    async def fetch_output(self, status: Status, limit: int) -> bytes:
        """The picture in a status of submit()."""
        if status.output is None:
            raise OutputGone("the built-in studio keeps nothing")
        if len(status.output) > limit:
            raise OutputInvalid(f"{len(status.output)} bytes")
        return status.output

    async def cancel(self, ref: str) -> None:
        """Nothing to stop."""

    def verify_delivery(self, headers: Mapping[str, str], body: bytes) -> Delivery:
        """Nobody delivers for it."""
        raise InvalidDelivery("the built-in studio sends no webhooks")


def _failed(ref: str, code: Code, detail: str) -> Status:
    return Status("failed", ref, code=code, detail=detail, cost_micros=0)
