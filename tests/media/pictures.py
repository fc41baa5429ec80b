"""Picture files of every kind, made by code, and what each has to give.

All show the same: four quarters, so that a turn or a mirror image shows; where a file cannot hold color, four shades.
Broken ones are harmless: they end early, or their head says more than there is.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image, ImageChops, ImageCms, ImageOps

WIDTH, HEIGHT = 120, 80
RED, GREEN, BLUE, YELLOW = (220, 30, 40), (30, 170, 60), (40, 60, 210), (240, 220, 60)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
# Of the quarters, in reading order.
COLORS = (RED, GREEN, BLUE, YELLOW)
SHADES = (20, 90, 160, 230)
GREYS = tuple((shade,) * 3 for shade in SHADES)
# How an upright picture has to lie in the file, so that the reader's turn brings it back.
LAID = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
ORIENTATION, MAKER, GPS = 0x0112, 0x010F, 0x8825
# What must not come out again, wherever it went in.
SECRET = "Elm-Street-4"
XMP = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r home="{SECRET}"/></x:xmpmeta>'.encode()


@dataclass(frozen=True, slots=True)
class Case:
    """A file and what becomes of it: four colors (None: see-through) of a picture of a size, or a refusal."""

    name: str
    data: bytes
    colors: tuple[tuple[int, int, int] | None, ...] = COLORS
    size: tuple[int, int] = (WIDTH, HEIGHT)
    animated: bool = False
    refused: str | None = None

    def __str__(self) -> str:
        return self.name


def quarters(
    colors: tuple[Any, ...] = COLORS, mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Image.Image:
    """The picture itself."""
    image = Image.new(mode, size)
    middle = (size[0] // 2, size[1] // 2)
    for place, color in enumerate(colors):
        left, top = (place % 2) * middle[0], (place // 2) * middle[1]
        image.paste(color, (left, top, size[0] if place % 2 else middle[0], size[1] if place // 2 else middle[1]))
    return image


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """The picture as a file."""
    file = BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def exif(orientation: int | None = None) -> Image.Exif:
    """Metadata with a home in it."""
    data = Image.Exif()
    data[MAKER] = SECRET
    if orientation:
        data[ORIENTATION] = orientation
    data.get_ifd(GPS).update({1: "N", 2: (52.0, 30.0, 1.0), 3: "E", 4: (13.0, 22.0, 2.0), 29: SECRET})
    return data


def laid(orientation: int, image: Image.Image | None = None) -> Image.Image:
    """The picture as it lies in a file of this orientation."""
    image = image or quarters()
    return image.transpose(LAID[orientation]) if orientation in LAID else image


def png(width: int, height: int, depth: int, color: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of raw rows, for what the library does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    more = b"".join(chunk(*each) for each in chunks)
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def rows16(image: Image.Image) -> bytes:
    """A picture's rows for `png()`, each of 8 bits widened to 16 with noise below."""
    width, bands = image.width, len(image.getbands())
    data = image.tobytes()
    lines = [data[start : start + width * bands] for start in range(0, len(data), width * bands)]
    return b"".join(b"\0" + b"".join(bytes((value, 77)) for value in line) for line in lines)


def tiff16(order: str, shades: tuple[int, ...] = SHADES, photometric: int = 1, bits: int = 16) -> bytes:
    """A TIFF of 16-bit grey in either byte order."""
    pixels = b"".join(struct.pack(order + "H", value * 256 + 77) for value in quarters(shades, "L").tobytes())
    entries = [
        (256, 3, 1, WIDTH),
        (257, 3, 1, HEIGHT),
        (258, 3, 1, bits),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 3, 1, HEIGHT),
        (279, 4, 1, len(pixels)),
    ]
    directory = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        packed = struct.pack(order + ("Hxx" if kind == 3 else "I"), value)
        directory += struct.pack(order + "HHI", tag, kind, count) + packed
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(order + "I", 8 + len(pixels)) + pixels + directory + b"\0\0\0\0"


def crossed_profile() -> bytes:
    """A profile whose red is green and whose green is red: a picture that is not converted shows it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"####").replace(b"gXYZ", b"rXYZ").replace(b"####", b"gXYZ")


def grey_profile(gamma: float) -> bytes:
    """A profile for pictures of one channel."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + bytes(78)
    rights = b"text\0\0\0\0free\0"
    tags, body, offset = b"", b"", 128 + 4 + 4 * 12
    for tag, data in ((b"desc", name), (b"cprt", rights), (b"wtpt", white), (b"kTRC", curve)):
        data += bytes(-len(data) % 4)
        tags += tag + struct.pack(">II", offset + len(body), len(data))
        body += data
    head = struct.pack(
        ">I4sI4s4s4s12s4s4s9I48x",
        *(offset + len(body), b"test", 0x02100000, b"mntr", b"GRAY", b"XYZ "),
        *(struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp", b"\0\0\0\0"),
        *(0, 0, 0, 0, 0, 0, 0xF6D6, 0x10000, 0xD32D),
    )
    return head + struct.pack(">I", 4) + tags + body


def with_jpeg_size(data: bytes, width: int, height: int) -> bytes:
    """The same JPEG, but its head says another size."""
    place = next(data.index(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in data)
    return data[: place + 5] + struct.pack(">HH", height, width) + data[place + 9 :]


def frames(mode: str = "RGB") -> dict[str, Any]:
    """How the library is told to write an animation: our picture, then others."""
    others = [quarters(COLORS[turn:] + COLORS[:turn]).convert(mode) for turn in (1, 2, 3)]
    return {"save_all": True, "append_images": others, "duration": 100, "loop": 0}


def palette(hole: bool = False) -> Image.Image:
    """Five colors; the fifth, black, fills the first quarter if that is to be a hole."""
    image = Image.new("P", (WIDTH, HEIGHT))
    image.putpalette([part for color in (*COLORS, BLACK) for part in color])
    image.frombytes(quarters((4 if hole else 0, 1, 2, 3), "L").tobytes())
    return image


def upright() -> Iterator[Case]:
    """Orientations, in every format that has them."""
    for turn in range(1, 9):
        yield Case(f"jpeg-orientation-{turn}", saved(laid(turn), "JPEG", quality=95, exif=exif(turn)))
    for turn in (3, 6, 8):
        yield Case(f"tiff-orientation-{turn}", saved(laid(turn), "TIFF", exif=exif(turn)))
    for turn in (2, 6):
        yield Case(f"webp-orientation-{turn}", saved(laid(turn), "WEBP", quality=95, exif=exif(turn)))
        yield Case(f"png-orientation-{turn}", saved(laid(turn), "PNG", exif=exif(turn)))
        yield Case(f"avif-orientation-{turn}", saved(laid(turn), "AVIF", quality=95, exif=exif(turn)))
    yield Case("jpeg-orientation-9", saved(quarters(), "JPEG", quality=95, exif=exif(9)))
    broken = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(40)
    yield Case("jpeg-broken-exif", saved(quarters(), "JPEG", quality=95, exif=broken))
    turned = saved(laid(6), "JPEG", quality=95, exif=exif(6), progressive=True)
    yield Case("jpeg-progressive-turned", turned)


def colors() -> Iterator[Case]:
    """Inks, depths, profiles."""
    rgb, grey = quarters(), quarters(SHADES, "L")
    yield Case("jpeg-progressive", saved(rgb, "JPEG", quality=95, progressive=True))
    yield Case("jpeg-full-chroma", saved(rgb, "JPEG", quality=95, subsampling=0))
    yield Case("jpeg-grey", saved(grey, "JPEG", quality=95), GREYS)
    yield Case("jpeg-cmyk", saved(rgb.convert("CMYK"), "JPEG", quality=95))
    yield Case("jpeg-secrets", saved(rgb, "JPEG", quality=95, exif=exif(), xmp=XMP, comment=SECRET.encode()))
    yield Case("jpeg-and-archive", saved(rgb, "JPEG", quality=95) + b"PK\x03\x04" + SECRET.encode() * 9)
    yield Case("mpo", saved(rgb, "MPO", quality=95, save_all=True, append_images=[quarters(COLORS[::-1])]))
    yield Case("tiff-cmyk", saved(rgb.convert("CMYK"), "TIFF"))
    crossed = tuple((green, red, blue) for red, green, blue in COLORS)
    yield Case("jpeg-profile", saved(quarters(crossed), "JPEG", quality=98, icc_profile=crossed_profile()))
    yield Case("png-profile", saved(quarters(crossed), "PNG", icc_profile=crossed_profile()))
    see_through = quarters((*((*color, 255) for color in crossed[:3]), (0, 0, 0, 0)), "RGBA")
    yield Case("png-profile-alpha", saved(see_through, "PNG", icc_profile=crossed_profile()), (*COLORS[:3], None))
    yield Case("palette-profile", saved(quarters(crossed).quantize(8), "PNG", icc_profile=crossed_profile()))
    # 128 of linear light is shade 188 of sRGB.
    linear = quarters((0, 55, 128, 255), "L")
    shades = tuple((shade,) * 3 for shade in (0, 128, 188, 255))
    yield Case("grey-profile", saved(linear, "PNG", icc_profile=grey_profile(1.0)), shades)
    both = Image.merge("LA", (linear, quarters((255, 255, 255, 0), "L")))
    yield Case("grey-profile-alpha", saved(both, "PNG", icc_profile=grey_profile(1.0)), (*shades[:3], None))
    yield Case("jpeg-broken-profile", saved(rgb, "JPEG", quality=95, icc_profile=b"no profile at all" * 20))
    yield Case("cmyk-with-rgb-profile", saved(rgb.convert("CMYK"), "JPEG", quality=95, icc_profile=crossed_profile()))
    yield Case("png-grey-16", saved(Image.open(BytesIO(png(WIDTH, HEIGHT, 16, 0, rows16(grey)))), "PNG"), GREYS)
    key = struct.pack(">H", SHADES[1] * 256 + 77)
    yield Case(
        "png-grey-16-key",
        png(WIDTH, HEIGHT, 16, 0, rows16(grey), (b"tRNS", key)),
        (GREYS[0], None, GREYS[2], GREYS[3]),
    )
    other = struct.pack(">H", SHADES[1] * 256 + 78)
    yield Case("png-grey-16-other-key", png(WIDTH, HEIGHT, 16, 0, rows16(grey), (b"tRNS", other)), GREYS)
    yield Case("png-rgb-16", png(WIDTH, HEIGHT, 16, 2, rows16(rgb)))
    alpha = quarters((255, 255, 0, 255), "L")
    deep = Image.merge("LA", (grey, alpha))
    yield Case("png-grey-alpha-16", png(WIDTH, HEIGHT, 16, 4, rows16(deep)), (GREYS[0], GREYS[1], None, GREYS[3]))
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    yield Case("png-rgba-16", png(WIDTH, HEIGHT, 16, 6, rows16(rgba)), (RED, GREEN, None, YELLOW))
    yield Case("tiff-grey-16-little", tiff16("<"), GREYS)
    yield Case("tiff-grey-16-big", tiff16(">"), GREYS)
    yield Case("tiff-lzw", saved(rgb, "TIFF", compression="tiff_lzw"))
    yield Case("tiff-jpeg", saved(rgb, "TIFF", compression="jpeg", quality=95))


def transparent() -> Iterator[Case]:
    """Palettes, and what is see-through."""
    rgb = quarters()
    hole = (None, *COLORS[1:])
    rgba = rgb.copy()
    rgba.putalpha(quarters((0, 255, 255, 255), "L"))
    yield Case("png-palette", saved(palette(), "PNG"))
    yield Case("png-palette-hole", saved(palette(hole=True), "PNG", transparency=4), hole)
    yield Case("png-palette-alpha", saved(palette(), "PNG", transparency=bytes((0, 255, 255, 255, 255))), hole)
    yield Case("png-1-bit", saved(quarters((0, 255, 255, 0), "L").convert("1"), "PNG"), (BLACK, WHITE, WHITE, BLACK))
    yield Case("png-grey-key", saved(quarters(SHADES, "L"), "PNG", transparency=SHADES[0]), (None, *GREYS[1:]))
    yield Case("png-rgb-key", saved(rgb, "PNG", transparency=RED), hole)
    yield Case("png-alpha", saved(rgba, "PNG"), hole)
    opaque = rgb.convert("RGBA")
    yield Case("png-idle-alpha", saved(opaque, "PNG"))
    yield Case("webp", saved(rgb, "WEBP", quality=95))
    yield Case("webp-lossless-alpha", saved(rgba, "WEBP", lossless=True, exif=exif(), xmp=XMP), hole)
    yield Case("avif", saved(rgb, "AVIF", quality=95))
    yield Case("avif-alpha", saved(rgba, "AVIF", quality=95, exif=exif(), xmp=XMP), hole)
    yield Case("gif", saved(palette(), "GIF"))
    yield Case("gif-hole", saved(palette(hole=True), "GIF", transparency=4, comment=SECRET.encode()), hole)
    yield Case("tiff-alpha", saved(rgba, "TIFF"), hole)


def moving() -> Iterator[Case]:
    """More than one picture in a file: the first."""
    rgb = quarters()
    yield Case("gif-animated", saved(palette(), "GIF", **frames()), animated=True)
    yield Case("webp-animated", saved(rgb, "WEBP", quality=95, **frames()), animated=True)
    yield Case("png-animated", saved(rgb, "PNG", **frames()), animated=True)
    yield Case("avif-animated", saved(rgb, "AVIF", quality=95, **frames()), animated=True)
    animated = saved(palette(), "GIF", **frames())
    yield Case("gif-broken-later", animated[: len(animated) * 3 // 4], animated=True)
    yield Case("tiff-pages", saved(rgb, "TIFF", save_all=True, append_images=[quarters(COLORS[::-1])]))


def shapes() -> Iterator[Case]:
    """Sizes: tiny, thin, large, and those that only the head says."""
    yield Case("one-pixel", saved(Image.new("RGB", (1, 1), RED), "PNG"), (RED,) * 4, (1, 1))
    yield Case("line", saved(Image.new("RGB", (5000, 2), RED), "PNG"), (RED,) * 4, (5000, 2))
    yield Case("jpeg-line", saved(Image.new("RGB", (2, 5000), RED), "JPEG"), (RED,) * 4, (2, 5000))
    large = quarters(size=(5001, 3333))
    yield Case("jpeg-large", saved(large, "JPEG", quality=90), size=large.size)
    yield Case("jpeg-large-turned", saved(laid(6, large), "JPEG", quality=90, exif=exif(6)), size=large.size)
    yield Case("png-large-palette", saved(large.quantize(8), "PNG"), size=large.size)
    yield Case("edge", saved(Image.new("L", (30_001, 1)), "PNG"), refused="too_large")
    small = saved(quarters(), "JPEG")
    yield Case("jpeg-huge-head", with_jpeg_size(small, 65_000, 65_000), refused="too_large")
    progressive = saved(quarters(), "JPEG", progressive=True)
    yield Case("jpeg-progressive-huge-head", with_jpeg_size(progressive, 10_000, 7_000), refused="too_large")
    yield Case("png-huge-head", png(29_000, 29_000, 8, 2, b""), refused="too_large")
    yield Case("png-large-head", png(9_000, 8_000, 8, 2, b""), refused="too_large")
    gif = saved(palette(), "GIF")
    yield Case("gif-huge-head", gif[:6] + struct.pack("<HH", 65_535, 65_535) + gif[10:], refused="too_large")


def broken() -> Iterator[Case]:
    """Files that are cut, empty, or something else."""
    whole = {
        "jpeg": saved(quarters(), "JPEG"),
        "jpeg-progressive": saved(quarters(), "JPEG", progressive=True),
        "png": saved(Image.effect_noise((WIDTH, HEIGHT), 50), "PNG"),
        "gif": saved(Image.effect_noise((WIDTH, HEIGHT), 50), "GIF"),
        "webp": saved(quarters(), "WEBP"),
        "tiff": saved(quarters(), "TIFF"),
        "avif": saved(quarters(), "AVIF"),
    }
    for name, data in whole.items():
        yield Case(f"{name}-cut", data[: len(data) // 2], refused="unreadable")
        yield Case(f"{name}-head-only", data[:14], refused="unreadable")
    damaged = whole["png"]
    yield Case("png-damaged", damaged[:200] + b"\0\0\0\0" + damaged[204:], refused="unreadable")
    yield Case("png-no-size", png(0, 0, 8, 2, b""), refused="unreadable")
    yield Case("tiff-white-is-zero", tiff16("<", photometric=0), refused="unsupported_format")
    yield Case("tiff-float", saved(quarters(SHADES, "L").convert("F"), "TIFF"), refused="unsupported_format")
    yield Case("tiff-32-bit", saved(quarters(SHADES, "L").convert("I"), "TIFF"), refused="unsupported_format")
    lab = ImageCms.profileToProfile(
        quarters(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    yield Case("tiff-lab", saved(lab, "TIFF"), refused="unsupported_format")
    preview = saved(quarters(), "TIFF", tiffinfo={254: 1})
    yield Case("tiff-preview-first", preview, refused="unsupported_format")
    for other in ("BMP", "PPM", "TGA", "ICO", "PCX", "PDF", "EPS"):
        yield Case(f"other-{other.lower()}", saved(quarters(), other), refused="unsupported_format")
    yield Case("empty", b"", refused="unsupported_format")
    yield Case("zeros", bytes(1000), refused="unsupported_format")
    yield Case("svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', refused="unsupported_format")
    yield Case("page", b"<!doctype html><script>alert(1)</script>", refused="unsupported_format")


GROUPS: tuple[Callable[[], Iterator[Case]], ...] = (upright, colors, transparent, moving, shapes, broken)


def cases() -> list[Case]:
    """All files but HEIC, which needs an extra."""
    return [case for group in GROUPS for case in group()]


def photo(seed: int, size: tuple[int, int] = (900, 600)) -> Image.Image:
    """Something like a photo: large soft shapes, other ones for each seed."""
    parts = []
    for band in range(3):
        state, values = seed * 7919 + band * 104_729 + 1, bytearray()
        for _ in range(48):
            state = (state * 1_103_515_245 + 12_345) % 2**31
            values.append(state >> 23)
        parts.append(Image.frombytes("L", (8, 6), bytes(values)).resize(size, Image.Resampling.BICUBIC))
    return ImageOps.autocontrast(ImageChops.invert(Image.merge("RGB", parts)))
