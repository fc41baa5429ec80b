"""Rooms that webinars take place in: one protocol, one small module each."""

from workers.rooms.link import LinkRooms
from workers.rooms.protocol import RoomProvider

PROVIDERS: dict[str, RoomProvider] = {rooms.name: rooms for rooms in (LinkRooms(),)}
