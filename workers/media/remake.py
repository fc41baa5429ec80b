"""Make again what lies in public buckets as it was uploaded (`avenue remake-pictures`).

An object keeps its address and becomes its own large copy; what shows it by that address gets a picture of media.
Each object is noted when it is done, so an interrupted run goes on where it was, and another run finds nothing to do.
"""

from collections import Counter
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from workers import logs
from workers.db import BusinessError
from workers.media.picture import SIZES, Refused
from workers.media.pipeline import BY_NAME, erase_copies, store_copies
from workers.services import Services
from workers.storage import TooLarge

log = logs.get(__name__)

BATCH = 100
LARGE = SIZES[0]
# It may be uploaded again under the same address.
CACHE_SECONDS = 3600
PICTURES = "pictures"


async def remake_pictures(services: Services) -> Counter[str]:
    """How many objects were remade, how many rows now refer to a picture, how many failed with which word."""
    outcome: Counter[str] = Counter()
    after: tuple[str | None, str | None] = (None, None)
    while rows := await services.db.rows("pictures_to_remake", *after, BATCH):
        for row in rows:
            await _remake(services, row["bucket"], row["path"], outcome)
            after = (row["bucket"], row["path"])
    return outcome


async def _remake(services: Services, bucket: str, path: str, outcome: Counter[str]) -> None:
    try:
        data = await services.storage.download(bucket, path, services.pictures.limits.file_bytes)
        if data is None:
            return
        # What shows it first: once that is done nothing needs the object, and a run that ends here repeats it.
        owner = _owner(path)
        address = urlsplit(services.storage.public_address(bucket, path)).path
        for purpose in await services.db.rows("purposes_of_address", owner, address) if owner else []:
            picture = await services.pictures.decode(data, [BY_NAME[name] for name in purpose["sizes"]])
            media_id = uuid4()
            try:
                made = await store_copies(services, media_id, picture, PICTURES, is_public=True)
                outcome["shown"] += await services.db.call(
                    "show_remade", owner, address, purpose["purpose"], media_id, made
                )
            except BusinessError as error:
                # The account has just ended; its files go with it.
                log.info("picture not remade", bucket=bucket, path=path, error=str(error))
                await erase_copies(services, [media_id])
        (copy,) = (await services.pictures.decode(data, [LARGE])).derivatives
    except (Refused, TooLarge) as error:
        word = error.word if isinstance(error, Refused) else "too_large"
        log.error("picture not remade", bucket=bucket, path=path, word=word, detail=str(error))
        outcome[word] += 1
        await services.db.call("picture_remade", bucket, path, word)
        return
    await services.storage.upload(bucket, path, copy.data, "image/webp", CACHE_SECONDS, replace=True)
    await services.db.call("picture_remade", bucket, path, None)
    outcome["remade"] += 1


def _owner(path: str) -> UUID | None:
    """Whose folder it is in."""
    try:
        return UUID(path.partition("/")[0])
    except ValueError:
        return None
