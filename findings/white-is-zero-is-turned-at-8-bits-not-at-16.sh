#!/usr/bin/env bash
# Pillow 13.0.0: a grey TIFF may say that 0 is white (PhotometricInterpretation 0, as scanners and faxes do). With 8 bits a
# sample Pillow turns the values over while reading, so that 0 becomes 255 and code after it need not know. With 16 bits it
# opens the same picture without a word and leaves the values as they are in the file: a negative. Whoever converts all
# sixteen-bit pictures by one rule shows half of them inverted.
#
# Seen (the file's only pixel is 0, white):
#   8 bits: mode L, pixel 255
#   16 bits: mode I;16, pixel 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pillow==13.0.0
cat >seen.py <<'PY'
import io
import struct

from PIL import Image


def tiff(bits: int) -> bytes:
    """One white pixel, PhotometricInterpretation WhiteIsZero."""
    tags = [(256, 1), (257, 1), (258, bits), (259, 1), (262, 0), (273, 8), (277, 1), (278, 1), (279, bits // 8)]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 10) + b"\0\0" + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


for bits in (8, 16):
    with Image.open(io.BytesIO(tiff(bits))) as image:
        print(f"{bits} bits: mode {image.mode}, pixel {image.getpixel((0, 0))}")
PY
venv/bin/python seen.py | tee seen.txt
diff seen.txt - <<'SEEN'
8 bits: mode L, pixel 255
16 bits: mode I;16, pixel 0
SEEN
echo "as before"
