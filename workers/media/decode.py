"""From foreign bytes to finished copies. Runs in the limited child process (`child`), never in a worker itself.

The order of the steps matters. A palette picture is resized without smoothing, 16 bits of grey are clipped to white,
a profile is lost with the first conversion; each step comes before the one that would spoil it.
"""

import importlib
import re
import struct
import warnings
from collections.abc import Callable, Sequence
from importlib import metadata
from io import BytesIO

# The formats' own modules are imported here, so that the library looks for no others when it opens a file.
from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageOps,
    ImageStat,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from workers.media.edit import edited
from workers.media.picture import HASH_BITS, SIZES, Derivative, Edit, Limits, Picture, Refused, Size

# How a file of a format we read begins: one that does and cannot be read is broken, any other is none of ours.
SIGNATURES: dict[str, Callable[[bytes], object]] = {
    JpegImagePlugin.JpegImageFile.format: re.compile(rb"\xff\xd8\xff").match,
    PngImagePlugin.PngImageFile.format: re.compile(rb"\x89PNG\r\n\x1a\n").match,
    GifImagePlugin.GifImageFile.format: re.compile(rb"GIF8[79]a").match,
    WebPImagePlugin.WebPImageFile.format: re.compile(rb"RIFF....WEBP", re.DOTALL).match,
    TiffImagePlugin.TiffImageFile.format: re.compile(rb"II(\*\0|\+\0)|MM(\0\*|\0\+)").match,
    AvifImagePlugin.AvifImageFile.format: re.compile(
        rb"....ftyp(avi[fs]|(mif1|msf1)....(....){0,16}?avi[fs])", re.DOTALL
    ).match,
}
# A JPEG with several pictures in it (a phone's depth map, a stereo camera's second eye): the first is the photo.
MPO = MpoImagePlugin.MpoImageFile.format
JPEGS = (JpegImagePlugin.JpegImageFile.format, MPO)
# Decoders before this one hold known holes.
OLDEST_HEIF = (1, 8, 1)

GREY16 = ("I;16", "I;16L", "I;16B", "I;16N")
# TIFF tags that the library has no name for.
NEW_SUBFILE_TYPE, DNG_VERSION = 254, 50706
# What is left (32-bit integers, floats, Lab) has no range that says what is white.
MODES = (*GREY16, "1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")

# Below this standard deviation of 256 shades, a fingerprint says only how the noise fell.
FLAT = 3

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
SRGB = ImageCms.createProfile("sRGB")

# Otherwise done when the first file is opened, and a child opens no modules then.
Image.preinit()

# One thread each: a thread's stack and heap count against the limit of address space.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def add_heif() -> bool:
    """Read HEIC too, if the extra is installed and none with known holes."""
    try:
        version = metadata.version("pillow-heif")
    except metadata.PackageNotFoundError:
        return False
    if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) < OLDEST_HEIF:
        return False
    heif = importlib.import_module("pillow_heif")
    heif.options.DECODE_THREADS = 1
    heif.register_heif_opener(thumbnails=False)
    SIGNATURES["HEIF"] = re.compile(rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL).match
    return True


def decode(
    data: bytes, sizes: Sequence[Size] = SIZES, limits: Limits | None = None, edits: Sequence[Edit] = ()
) -> Picture:
    """Read the picture, edit it and make the copies. Raises Refused, or MemoryError."""
    limits = limits or Limits()
    if len(data) > limits.file_bytes:
        raise Refused("too_large", f"{len(data)} bytes")
    try:
        image, width, height, animated, source = _read(data, max(size.edge for size in sizes), limits)
    except (Refused, MemoryError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise Refused("too_large", str(error)) from error
    except Exception as error:
        # Not all decoders say it in Python's way.
        if re.search("out of memory|memory alloc", str(error), re.IGNORECASE):
            raise MemoryError from error
        # Whatever a decoder says about a foreign file, from struct.error to RecursionError.
        raise Refused("unreadable", repr(error)) from error
    image.thumbnail((max(size.edge for size in sizes),) * 2, Image.Resampling.LANCZOS)
    image = _without_idle_alpha(edited(image, edits))
    on_white = _over(image, WHITE)
    return Picture(
        source_format=source,
        width=width,
        height=height,
        animated=animated,
        color="#{:02x}{:02x}{:02x}".format(*(round(mean) for mean in ImageStat.Stat(on_white).mean)),
        fingerprint=fingerprint(on_white),
        fingerprint_on_black=None if image.mode == "RGB" else fingerprint(_over(image, BLACK)),
        derivatives=tuple(_derivative(image, size) for size in sizes),
    )


def fingerprint(image: Image.Image) -> str | None:
    """64 bits, each whether of two neighbours in a 9 x 8 reduction the left one is brighter (dHash).

    Close for whatever is done to the file, far for another picture. None for a flat one.
    """
    grey = image.convert("L")
    if ImageStat.Stat(grey).stddev[0] < FLAT:
        return None
    shades = grey.resize((9, 8), Image.Resampling.BOX).tobytes()
    bits = "".join(
        "1" if shades[9 * row + column] > shades[9 * row + column + 1] else "0"
        for row in range(8)
        for column in range(8)
    )
    assert len(bits) == HASH_BITS
    return bits


def _read(data: bytes, edge: int, limits: Limits) -> tuple[Image.Image, int, int, bool, str]:
    """The upright picture in sRGB with 8 bits, RGB or RGBA; its real size; whether it moves; what it was."""
    source = next((name for name, begins in SIGNATURES.items() if begins(data)), None)
    if source is None:
        raise Refused("unsupported_format")
    Image.MAX_IMAGE_PIXELS = limits.pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # By content; a file's name or declared type is never asked.
        image = Image.open(BytesIO(data), formats=[source])
        if image.format not in SIGNATURES and image.format != MPO:
            raise Refused("unsupported_format", str(image.format))
        source = image.format
        _within(image.size, limits.pixels, limits)
        full = image.size
        if source in JPEGS:
            image.draft(None, _enough(full, edge))
        progressive = source in JPEGS and bool(image.info.get("progressive"))
        # A progressive JPEG keeps all its coefficients, however small it comes out.
        _within(full if progressive else image.size, limits.whole_pixels, limits)
        # The reader of WebP has three copies of a picture, a coefficient is two bytes.
        if source == "WEBP" or (progressive and image.mode == "CMYK"):
            _within(full, limits.whole_pixels // 2, limits)
        if image.mode not in MODES or not _is_whole(image):
            raise Refused("unsupported_format", f"{source} {image.mode}")
        image.load()
        animated = _is_animated(image)
        turned = _turn_upright(image)
    # Of a JPEG the size before it was shrunk counts; of others the one that came out: TIFF turns while it loads.
    width, height = (full[::-1] if turned else full) if source in JPEGS else image.size
    return _to_srgb(_to_8_bits(image)), width, height, animated, source


def _within(size: tuple[int, int], pixels: int, limits: Limits) -> None:
    if max(size) > limits.edge or size[0] * size[1] > pixels:
        raise Refused("too_large", f"{size[0]} x {size[1]}")


def _enough(size: tuple[int, int], edge: int) -> tuple[int, int]:
    """The smallest size a JPEG may be decoded at, so that its longer edge is still `edge`."""
    longer = max(size)
    return max(1, size[0] * edge // longer), max(1, size[1] * edge // longer)


def _is_whole(image: Image.Image) -> bool:
    """False for a TIFF whose first picture is not the picture, or comes out wrong."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return True
    tags = image.tag_v2
    # A camera's raw file begins with a small preview.
    if DNG_VERSION in tags or tags.get(NEW_SUBFILE_TYPE, 0) & 1:
        return False
    # The library reads 12 bits as 16 and leaves white-is-zero as it is: too dark, and a negative.
    return image.mode not in GREY16 or (
        tags.get(TiffImagePlugin.BITSPERSAMPLE) == (16,) and tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 1
    )


def _is_animated(image: Image.Image) -> bool:
    # Pages of a document and pictures of a collection do not move; the library counts them as frames, too.
    if image.format not in ("GIF", "PNG", "WEBP", "AVIF"):
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except (EOFError, OSError, SyntaxError, ValueError, struct.error):
        # Broken after the first frame, which is the one we have.
        return False


def _turn_upright(image: Image.Image) -> bool:
    """Apply the orientation the file names; whether width and height changed places."""
    # Of HEIC the decoder has applied the container's, and taken away EXIF's, which says the same again.
    if image.format == "HEIF":
        return False
    try:
        before = image.getexif().get(0x0112)
        ImageOps.exif_transpose(image, in_place=True)
    except (SyntaxError, ValueError, TypeError, KeyError, OverflowError, struct.error):
        # Broken metadata costs the turn, not the picture.
        return False
    return before in (5, 6, 7, 8)


def _to_8_bits(image: Image.Image) -> Image.Image:
    if image.mode not in GREY16:
        return image
    key = image.info.get("transparency")
    # Of the forms of 16 bits one can be scaled.
    wide = image if image.mode == "I;16" else image.convert("I")
    grey = wide.point(lambda shade: shade * (1 / 256)).convert("L")
    if "icc_profile" in image.info:
        grey.info = {"icc_profile": image.info["icc_profile"]}
    if isinstance(key, int):
        # One of 65,536 shades is see-through, not all that became the same one of 256.
        grey.putalpha(image.convert("I").point([0 if shade == key else 255 for shade in range(65536)], "L"))
    return grey


def _to_srgb(image: Image.Image) -> Image.Image:
    """RGB, or RGBA where something is see-through, whatever it was; by the picture's own profile if it has one."""
    icc = image.info.get("icc_profile")
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "CMYK", "RGB"):
        image = image.convert("RGB")
    if icc:
        image = _by_profile(image, icc)
    return image if image.mode in ("RGB", "RGBA") else image.convert("RGBA" if image.mode == "LA" else "RGB")


def _by_profile(image: Image.Image, icc: bytes) -> Image.Image:
    """In sRGB; as it is if the profile is broken or of other inks than the picture."""
    alpha = None
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(icc))
        space = profile.profile.xcolor_space.strip()
        if space == "RGB" and image.mode != "CMYK":
            # In place, as there may be 64 million pixels. Alpha stays what it was.
            image = image if image.mode in ("RGB", "RGBA") else image.convert("RGBA" if image.mode == "LA" else "RGB")
            ImageCms.profileToProfile(image, profile, SRGB, intent, inPlace=True, flags=flags)
            return image
        if space == "GRAY" and image.mode in ("L", "LA"):
            alpha, source = image.getchannel("A") if image.mode == "LA" else None, image.convert("L")
        elif space == "CMYK" and image.mode == "CMYK":
            source = image
        else:
            return image
        converted = ImageCms.profileToProfile(source, profile, SRGB, intent, outputMode="RGB", flags=flags)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    assert converted is not None
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _without_idle_alpha(image: Image.Image) -> Image.Image:
    """RGB if nothing of an RGBA picture is see-through."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return image


def _over(image: Image.Image, ground: tuple[int, int, int]) -> Image.Image:
    if image.mode == "RGB":
        return image
    base = Image.new("RGBA", image.size, (*ground, 255))
    return Image.alpha_composite(base, image).convert("RGB")


def _derivative(image: Image.Image, size: Size) -> Derivative:
    copy = image.copy()
    copy.thumbnail((size.edge, size.edge), Image.Resampling.LANCZOS)
    file = BytesIO()
    # Places of homes, names of owners, the uncropped thumbnail: nothing that came with the file goes out with ours.
    nothing = {"exif": b"", "xmp": b"", "icc_profile": b""}
    if size.format == "JPEG":
        jpeg = _over(copy, WHITE)
        jpeg.save(file, "JPEG", quality=size.quality, optimize=True, progressive=True, **nothing, comment=b"")
    else:
        copy.save(file, "WEBP", quality=size.quality, **nothing)
    return Derivative(size.name, size.format, copy.width, copy.height, file.getvalue())
