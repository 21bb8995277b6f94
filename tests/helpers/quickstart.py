"""A made-up wheel of interface texts."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any


def make_wheel(path: Path, texts: dict[str, dict[str, Any]], backwards: bool = False) -> Path:
    """A zip with {"integration/language": nested texts}, and a file that is none of them."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("homeassistant/components/sun/manifest.json", '{"name": "Sun"}')
        for place in sorted(texts, reverse=backwards):
            integration, language = place.split("/")
            name = f"homeassistant/components/{integration}/translations/{language}.json"
            archive.writestr(name, json.dumps(texts[place], ensure_ascii=False))
    return path


def many_integrations(count: int) -> dict[str, dict[str, Any]]:
    """Texts in two languages: per integration one shared line and two lines of its own."""
    texts: dict[str, dict[str, Any]] = {}
    for index in range(count):
        texts[f"room{index}/en"] = {
            "shared": "Could not connect to {host}",
            "own": {"open": f"The door number {index} is open", "cold": f"Room {index} is cold"},
        }
        texts[f"room{index}/de"] = {
            "shared": "Verbindung zu {host} fehlgeschlagen",
            "own": {"open": f"Die Tür {index} ist offen", "cold": f"Raum {index} ist kalt"},
        }
    return texts
