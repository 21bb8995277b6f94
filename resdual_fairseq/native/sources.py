"""Which C sources a library was built from. Read by setup.py too, hence free of imports."""

import zlib
from pathlib import Path


def checksum(folder: Path) -> int:
    """CRC-32 of the C files in a folder, by name."""
    total = 0
    for path in sorted([*folder.glob("*.c"), *folder.glob("*.h")]):
        total = zlib.crc32(path.name.encode() + path.read_bytes(), total)
    return total
