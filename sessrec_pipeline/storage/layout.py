"""How the files of a home are laid out, by number, so that a home of an earlier layout is not taken for a new one.

1: one file for each artefact, replaced by each new version. Such homes have no file ``layout`` and no manifest.
2: every version is kept (``versions``); ``<home>/layout`` holds the number. While a home is restored from a backup the
file says so, for its parts come one after the other.
"""

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.files import OtherVersionError, replacing
from sessrec_pipeline.storage.manifest import Manifest

LAYOUT = 2
TEXT = f"{LAYOUT}\n".encode()
RESTORING = "restoring"
"""How the file begins while a home is restored."""


class LayoutError(OtherVersionError):
    """A home whose files this version of sessrec does not work on; the text says what to do."""


def check_layout(settings: Settings) -> None:
    """LayoutError for a home of another layout, or one that is not whole; one without tables and models is new."""
    if _text(settings).startswith(RESTORING):
        raise LayoutError(
            f"{settings.home} is being restored from a backup, or that was stopped: run the same `sessrec restore "
            "--backup DIR` again, which goes on"
        )
    number = layout_of(settings)
    if number is None and holds_artefacts(settings):
        raise LayoutError(
            f"{settings.home} was made by an earlier version of sessrec, which laid out its files otherwise: stop what "
            f"works on it and run `sessrec --home {settings.home} migrate`, which moves them and loses nothing"
        )
    if number not in (None, LAYOUT):
        raise LayoutError(
            f"{settings.home / 'layout'} says {number} and this version of sessrec knows layout {LAYOUT}: "
            "update sessrec, or name another --home"
        )


def layout_of(settings: Settings) -> int | None:
    """The number of the home's layout, None where it has none.

    Where there is a manifest that can be read, or the file says no number, that is damage: today's is the first layout
    that has either file, and a manifest of a later one cannot be read.
    """
    path, text = settings.home / "layout", _text(settings)
    if text != str(LAYOUT) and Manifest(settings.home).read() is not None:
        return LAYOUT
    return None if not path.exists() else int(text) if text.isdecimal() else LAYOUT


def _text(settings: Settings) -> str:
    """What the file says, "" where there is none."""
    try:
        return (settings.home / "layout").read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""


def is_spoilt(settings: Settings) -> bool:
    """Whether the file is there and says something else than it should."""
    path = settings.home / "layout"
    return path.exists() and path.read_bytes() != TEXT and layout_of(settings) == LAYOUT


def write_layout(settings: Settings) -> None:
    """Mark the home as one of today's layout."""
    path = settings.home / "layout"
    if not path.exists() or path.read_bytes() != TEXT:
        with replacing(path) as temporary:
            temporary.write_bytes(TEXT)


def holds_artefacts(settings: Settings) -> bool:
    """Whether there are tables or models, in any layout."""
    return any(
        path.suffix in (".parquet", ".safetensors") and not path.name.startswith(".") and path.is_file()
        for root in (settings.lake, settings.checkpoints)
        for path in root.rglob("*")
    )
