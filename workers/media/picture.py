"""What is asked of a picture and what comes back: plain values, shared by the workers and their child processes."""

from dataclasses import dataclass
from typing import Literal, get_args

Format = Literal["WEBP", "JPEG"]

# Why there is no picture. Stable: clients switch on them, docs/pictures.md says what to do.
Refusal = Literal["unreadable", "too_large", "unsupported_format"]
REFUSALS: tuple[str, ...] = get_args(Refusal)

# What can be done to a picture before copies are made of it, in this order; at most one of each line.
# fmt: off
Edit = Literal[
    "square", "portrait", "landscape",
    "white_background", "grey_background", "black_background",
    "auto",
    "brighter", "darker",
    "contrast",
    "warmer", "cooler",
    "black_and_white", "vivid", "muted",
    "sharpen",
]
# fmt: on
EDITS: tuple[str, ...] = get_args(Edit)

MIB = 1024 * 1024
HASH_BITS = 64


class Refused(Exception):
    """The file gives no picture, and never will. `word` is a Refusal; the detail is for logs only."""

    def __init__(self, word: Refusal, detail: str = "") -> None:
        super().__init__(f"{word}: {detail}" if detail else word)
        self.word: Refusal = word
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Size:
    """A copy to make: its longer edge in pixels at most (nothing is enlarged), its file format and quality."""

    name: str
    edge: int
    format: Format = "WEBP"
    quality: int = 80


# For who paid for pixels; not for the web.
FULL = Size("full", 4096)
# Web sizes and the thumbnail.
SIZES = (Size("large", 2048), Size("medium", 1024), Size("small", 512), Size("thumbnail", 256))


@dataclass(frozen=True, slots=True)
class Limits:
    """What one picture may cost.

    pixels: the most of any picture. whole_pixels: the most that are decoded at full size (WebP: half of it); a baseline
    JPEG is shrunk while it is decoded. memory_bytes: address space over that of an idle child. cpu_seconds: by the
    kernel's clock for the child. wall_seconds: by the parent's, longer: a busy machine is not the picture's fault.
    """

    file_bytes: int = 50 * MIB
    pixels: int = 120_000_000
    whole_pixels: int = 64_000_000
    edge: int = 30_000
    memory_bytes: int = 600 * MIB
    cpu_seconds: int = 60
    wall_seconds: float = 300


@dataclass(frozen=True, slots=True)
class Derivative:
    """A finished copy: the file itself, and its size in pixels."""

    name: str
    format: Format
    width: int
    height: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Picture:
    """What became of a file.

    source_format: what the file really was. width, height: of the upright original. animated: there was more than the
    frame that was taken. color: the average, as #rrggbb, to show until the picture has loaded. fingerprint: 64 bits as
    0 and 1 of the upright picture over white; fingerprint_on_black: the same over black if it has alpha. Either is None
    where the picture is flat: such pictures are all alike.
    """

    source_format: str
    width: int
    height: int
    animated: bool
    color: str
    fingerprint: str | None
    fingerprint_on_black: str | None
    derivatives: tuple[Derivative, ...]


def distance(one: str, other: str) -> int:
    """How many bits of two fingerprints differ. Up to 3: the same picture, whatever was done to its file."""
    return sum(a != b for a, b in zip(one, other, strict=True))


def mirrored(fingerprint: str) -> str:
    """About the fingerprint of the picture's mirror image: each row the other way round, and darker for brighter."""
    rows = [fingerprint[start : start + 8] for start in range(0, HASH_BITS, 8)]
    return "".join("".join("10"[int(bit)] for bit in reversed(row)) for row in rows)
