"""Deleting stored files: the database says which, Storage's API alone deletes them."""

from workers import logs
from workers.db import Function
from workers.services import Services
from workers.storage import StorageUnavailable

log = logs.get(__name__)


async def erase_files(services: Services, function: Function, *arguments: object) -> None:
    """Delete the files a function names, until it names none."""
    before: list[tuple[str, str]] = []
    while rows := await services.db.rows(function, *arguments):
        files = [(row["bucket"], row["path"]) for row in rows]
        if files == before:
            raise StorageUnavailable(f"{len(files)} files are still there after they were deleted")
        before = files
        for bucket in {bucket for bucket, _ in files}:
            await services.storage.remove(bucket, [path for owner, path in files if owner == bucket])
        log.info("files erased", by=function, of=[str(argument) for argument in arguments], count=len(files))
