"""Pictures for the demo and the seed: rooms by afternoon light, drawn, so that nobody's photo has to be shipped."""

from __future__ import annotations

import random
from io import BytesIO

from PIL import Image, ImageDraw, ImageFilter


def room(seed: int, size: tuple[int, int] = (1200, 800)) -> bytes:
    """A JPEG of a wall, a floor, a window and some furniture; another one for each seed."""
    dice = random.Random(seed)
    width, height = size
    floor = int(height * dice.uniform(0.6, 0.75))
    wall = tuple(dice.randint(120, 190) for _ in range(3))
    image = Image.new("RGB", size, wall)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, floor, width, height), fill=tuple(int(part * 0.6) for part in wall))
    left = dice.randint(80, width // 2)
    draw.rectangle((left, 90, left + width // 4, floor - 160), fill=(225, 232, 238))
    for _ in range(4):
        x, w, h = dice.randint(0, width - 200), dice.randint(90, 260), dice.randint(60, 220)
        draw.rounded_rectangle(
            (x, floor - h // 2, x + w, floor + h // 2), 18, fill=tuple(dice.choices(range(60, 200), k=3))
        )
    file = BytesIO()
    image.filter(ImageFilter.GaussianBlur(1.2)).save(file, "JPEG", quality=88)
    return file.getvalue()
