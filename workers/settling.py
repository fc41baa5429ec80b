"""Where arrived events settle in groups: one group after the other, on one connection.

A connection plans some sixty statements when it settles for the first time, which takes as long as settling fifty
events; and a pool hands out the connection that has waited longest, so that groups would plan them on each. What
arrives while a group settles goes together next: the larger the group, the less each event costs.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from workers import logs
from workers.db import Database, DatabaseUnavailable

log = logs.get(__name__)

BATCH = 100
# Somebody else has a row for longer than a group waits.
HELD = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


@dataclass(eq=False, slots=True)
class Group:
    """Events that arrived together, and, once it is known, which of them are dealt with."""

    ids: Sequence[int]
    settled: set[int] | None = None


class Settlement:
    """The process's one line of groups. `db`: a pool of one connection, or one that others use too."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._turn = asyncio.Lock()
        self._waiting: list[Group] = []

    async def settle(self, ids: Sequence[int]) -> set[int]:
        """Settle those of these events that are no more than a payment's success; which are dealt with.

        Whoever's turn it is takes the groups that wait along. Those of one that fails, or is broken off, go themselves.
        """
        group = Group(ids)
        self._waiting.append(group)
        try:
            async with self._turn:
                if group.settled is None:
                    groups = self._take_along(group)
                    settled = await self._settle([event_id for taken in groups for event_id in taken.ids])
                    for taken in groups:
                        taken.settled = settled & set(taken.ids)
        finally:
            self._waiting.remove(group)
        return group.settled or set()

    def _take_along(self, first: Group) -> list[Group]:
        groups, room = [first], BATCH - len(first.ids)
        for other in self._waiting:
            if other is not first and other.settled is None and len(other.ids) <= room:
                groups.append(other)
                room -= len(other.ids)
        return groups

    async def _settle(self, ids: Sequence[int]) -> set[int]:
        """Each part is a transaction of its own. One that fails is undone and split, the earlier half first, until what
        does not settle with others is alone: it says what is wrong when it is applied by itself.
        """
        settled: set[int] = set()
        waiting = [(ids[start : start + BATCH], False) for start in range(0, len(ids), BATCH)][::-1]
        while waiting:
            part, only_free = waiting.pop()
            # One alone gains nothing by it.
            if len(part) == 1:
                continue
            try:
                settled.update(await self.db.call("settle_batch", part, only_free))
            except DatabaseUnavailable:
                raise
            except Exception as error:
                # The first line: what follows is where in the database's functions.
                why = f"{type(error).__name__}: {error}".partition("\n")[0]
                log.warning("events not settled together", count=len(part), error=why)
                if isinstance(error, HELD) and not only_free:
                    # Who holds the row delays its events only: the others do without them.
                    waiting.append((part, True))
                else:
                    half = len(part) // 2
                    waiting += [(part[half:], only_free), (part[:half], only_free)]
        return settled
