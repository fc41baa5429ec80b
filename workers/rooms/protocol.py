"""What somebody who runs rooms must be able to do, in our words: let one person into one room.

Who may enter, and when, was asked before and is asked again each time: a provider only says where. The address it
answers goes to that person's browser at once and is kept nowhere.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Self
from uuid import UUID


class RoomUnavailable(Exception):
    """The room cannot be entered now; the text is for logs. Try again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody who enters a room. `room_id`: the provider's name for it; `link`: what the host has set."""

    webinar_id: UUID
    room_id: str | None
    link: str | None
    user_id: UUID
    name: str
    is_host: bool
    ends_at: datetime

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        """From an answer of private.use_pass()."""
        return cls(
            webinar_id=UUID(answer["webinar_id"]),
            room_id=answer["room_id"],
            link=answer["link"],
            user_id=UUID(answer["user_id"]),
            name=answer["name"],
            is_host=answer["is_host"],
            ends_at=datetime.fromisoformat(answer["ends_at"]),
        )


class RoomProvider(Protocol):
    """Somebody who runs rooms."""

    @property
    def name(self) -> str:
        """As private.webinar_rooms.provider has it."""
        ...

    async def address(self, entry: Entry) -> str:
        """Where this person's browser goes. RoomUnavailable when there is no such room now."""
        ...
