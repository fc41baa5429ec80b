"""The room the host brings: a link to it, wherever that is."""

from workers.rooms.protocol import Entry, RoomUnavailable


class LinkRooms:
    """Leads to the host's link. It is the same for everybody, so it is shown to nobody but by being sent there."""

    name = "link"

    async def address(self, entry: Entry) -> str:
        """The host's link."""
        if entry.link is None:
            raise RoomUnavailable(f"webinar {entry.webinar_id} has no link")
        return entry.link
