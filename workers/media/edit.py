"""What the built-in studio does to a picture. Runs in the limited child process, like `decode`, which calls it."""

from collections.abc import Callable, Sequence

from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps, ImageStat

from workers.media.picture import EDITS, Edit

# The background is told from the subject in a picture this small: shapes need no more, and it is a thousandth of the
# work.
MASK_EDGE = 192
# How far a shade may be from that of the picture's rim and still be background; and how unlike each other its
# four sides may be, before there is no background that one could tell.
NEAR, UNEVEN = 40, 36
TONES: dict[str, int] = {"white_background": 255, "grey_background": 200, "black_background": 0}


def edited(image: Image.Image, edits: Sequence[Edit]) -> Image.Image:
    """The picture (RGB or RGBA) after these edits, in the order of EDITS. Raises ValueError for any other word."""
    tone, mask = 0, None
    if unknown := set(edits) - set(EDITS):
        raise ValueError(f"no such edit: {sorted(unknown)}")
    for word in EDITS:
        if word in edits and word not in TONES:
            image = _DONE_BY[word](image)
        elif word in edits:
            # Where it is shows before the colors change; it is laid last, so that it has the tone that was asked for.
            tone, mask = TONES[word], _background(image)
    return image if mask is None else _on(tone, image, mask)


def _cropped(width: int, height: int) -> Callable[[Image.Image], Image.Image]:
    def crop(image: Image.Image) -> Image.Image:
        unit = min(image.width / width, image.height / height)
        size = max(1, round(width * unit)), max(1, round(height * unit))
        left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
        return image.crop((left, top, left + size[0], top + size[1]))

    return crop


def _on(tone: int, image: Image.Image, background: Image.Image) -> Image.Image:
    return Image.composite(Image.new("RGB", image.size, (tone, tone, tone)), image.convert("RGB"), background)


def _background(image: Image.Image) -> Image.Image:
    """255 where the background is: what is see-through, or else what looks like the rim and hangs together with it.

    Empty where the rim is busy.
    """
    if image.mode == "RGBA":
        return ImageChops.invert(image.getchannel("A"))
    small = image.copy()
    small.thumbnail((MASK_EDGE, MASK_EDGE), Image.Resampling.BOX)
    rim = Image.new("L", small.size, 255)
    if min(small.size) > 2:
        rim.paste(0, (1, 1, small.width - 1, small.height - 1))
    shades = ImageStat.Stat(small, rim)
    if max(shades.stddev) > UNEVEN:
        return Image.new("L", image.size, 0)
    shade = Image.new("RGB", small.size, tuple(round(mean) for mean in shades.mean))
    unlike = ImageChops.difference(small, shade).split()
    alike = ImageChops.lighter(ImageChops.lighter(unlike[0], unlike[1]), unlike[2]).point(
        [255 if difference <= NEAR else 0 for difference in range(256)]
    )
    found = ImageChops.darker(rim, alike)
    # Grows inwards as far as it looks alike, so that a shirt as white as the wall stays.
    for _ in range(small.width * small.height):
        grown = ImageChops.darker(found.filter(ImageFilter.MaxFilter(3)), alike)
        if ImageChops.difference(grown, found).getbbox() is None:
            break
        found = grown
    return found.filter(ImageFilter.BoxBlur(1)).resize(image.size, Image.Resampling.BICUBIC)


def _colors(change: Callable[[Image.Image], Image.Image]) -> Callable[[Image.Image], Image.Image]:
    """A change of the colours, which leaves alone what is see-through."""

    def act(image: Image.Image) -> Image.Image:
        if image.mode != "RGBA":
            return change(image)
        changed = change(image.convert("RGB"))
        changed.putalpha(image.getchannel("A"))
        return changed

    return act


def _exposed(power: float) -> Callable[[Image.Image], Image.Image]:
    # By a curve, so that black stays black and white is not burnt out.
    curve = [round(255 * (shade / 255) ** power) for shade in range(256)]
    return lambda image: image.point(curve * 3)


def _tinted(red: float, blue: float) -> Callable[[Image.Image], Image.Image]:
    def scaled(factor: float) -> list[int]:
        return [min(255, round(shade * factor)) for shade in range(256)]

    table = [*scaled(red), *range(256), *scaled(blue)]
    return lambda image: image.point(table)


def _grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


_DONE_BY: dict[str, Callable[[Image.Image], Image.Image]] = {
    "square": _cropped(1, 1),
    "portrait": _cropped(4, 5),
    "landscape": _cropped(3, 2),
    "auto": _colors(lambda image: ImageOps.autocontrast(image, cutoff=0.5, preserve_tone=True)),
    "brighter": _colors(_exposed(0.7)),
    "darker": _colors(_exposed(1.4)),
    "contrast": _colors(lambda image: ImageEnhance.Contrast(image).enhance(1.25)),
    "warmer": _colors(_tinted(1.08, 0.9)),
    "cooler": _colors(_tinted(0.92, 1.1)),
    "black_and_white": _colors(_grey),
    "vivid": _colors(lambda image: ImageEnhance.Color(image).enhance(1.35)),
    "muted": _colors(lambda image: ImageEnhance.Color(image).enhance(0.65)),
    "sharpen": _colors(lambda image: image.filter(ImageFilter.UnsharpMask(radius=2, percent=120, threshold=2))),
}
