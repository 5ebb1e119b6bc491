"""Sizes that Open-Sora v1.2 publishes (its buckets by resolution and ratio): rows x columns.

They are near one number of pixels for each resolution, and not all are multiples of eight.
"""

_BY_RESOLUTION = {
    "240p": (
        "200x512 208x496 222x462 226x452 230x442 240x426 260x394 276x368 320x320 368x276 394x260 "
        "426x240 444x232 452x226 464x220"
    ),
    "360p": (
        "300x770 312x742 332x692 340x680 346x666 360x640 390x590 416x554 480x480 554x416 592x390 "
        "640x360 666x346 678x339 696x332"
    ),
    "480p": (
        "400x1026 414x986 444x925 452x904 462x888 480x854 520x788 554x738 640x640 738x554 790x520 "
        "854x480 888x462 906x453 928x442"
    ),
    "720p": (
        "600x1538 622x1480 666x1388 678x1356 692x1330 720x1280 780x1182 832x1110 960x960 1108x834 "
        "1184x778 1280x720 1330x692 1358x679 1392x662"
    ),
    "1080p": (
        "900x2308 934x2224 998x2080 1018x2036 1038x1996 1080x1920 1170x1772 1248x1664 1440x1440 "
        "1660x1248 1776x1168 1922x1080 1996x1040 2036x1018 2086x994"
    ),
}

PUBLISHED = frozenset(
    (int(rows), int(columns))
    for sizes in _BY_RESOLUTION.values()
    for rows, _, columns in (size.partition("x") for size in sizes.split())
)
"""(height, width)."""
