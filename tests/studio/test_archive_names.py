"""What the pictures of a job are called in its ZIP file (case 76)."""

from __future__ import annotations

import pytest

from workers.archives import member_name


def test_studio_76_names_differ_whatever_the_uploads_were_called() -> None:
    uploads = ["Scan.pdf", "scan.PDF", "a/Scan.pdf", "b\\scan.pdf", None, "", "photo.webp", "01_scan.webp"]
    names = [member_name(no, uploaded) for no, uploaded in enumerate(uploads, 1)]
    assert names[:2] == ["01_Scan.webp", "02_scan.webp"]
    assert len({name.casefold() for name in names}) == len(uploads)


@pytest.mark.parametrize(
    ("uploaded", "name"),
    [
        ("../../etc/passwd", "07_passwd.webp"),
        ("..\\..\\autorun.inf", "07_autorun.webp"),
        ("C:evil.jpg", "07_Cevil.webp"),
        ("a\u202egpj.exe.jpg", "07_agpj.exe.webp"),
        ("a\x00b\x1b[31m\r\n.jpg", "07_ab[31m.webp"),
        ("\u200b\ufeff .jpg", "07_photo.webp"),
        ("CON.jpg", "07_CON.webp"),
        (".", "07_photo.webp"),
        ('?*<>|".jpg', "07_photo.webp"),
    ],
)
def test_studio_76_names_hold_nothing_that_means_something(uploaded: str, name: str) -> None:
    assert member_name(7, uploaded) == name


@pytest.mark.parametrize("letter", ["x", "é", "图", "\N{GRINNING FACE}"])
def test_studio_76_names_fit_every_file_system(letter: str) -> None:
    name = member_name(50, letter * 300 + ".jpg")
    assert len(name.encode()) <= 255
    assert letter * 20 in name
