"""Bytes of a landed log, through gzip or zstd where its name says so, in chunks and within bounds."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, cast

import pyarrow as pa

Compression = Literal["none", "gzip", "zstd"]

PACKED: dict[Compression, tuple[str, bytes]] = {"gzip": (".gz", b"\x1f\x8b"), "zstd": (".zst", b"\x28\xb5\x2f\xfd")}
"""How the name of a compressed file ends, and how its bytes begin."""
OTHERS = {
    **{b"PK\x03\x04": "a zip archive or an Excel workbook", b"\xd0\xcf\x11\xe0": "an old Excel workbook"},
    **{b"BZh": "bzip2 data", b"\xfd7zXZ\0": "xz data", b"7z\xbc\xaf": "a 7z archive", b'\x04"M\x18': "lz4 data"},
    **{b"ORC": "an ORC file", b"Obj\x01": "an Avro file", b"ARROW1": "an Arrow file", b"\x89HDF": "an HDF5 file"},
    **{b"SQLite format 3": "a SQLite database", b"%PDF": "a PDF file", b"\xff\xfe\0\0": "text in UTF-32"},
    **{b"\0\0\xfe\xff": "text in UTF-32", b"\x80\x04\x95": "a pickle of Python"},
}
"""What files are that no log is, by how they begin."""
CHUNK = 1 << 20
MAX_RATIO = 200
"""Logs shrink 3 to 50 times; what shrinks more than this was made to fill a disk."""
ALWAYS_FINE = 64 << 20
"""Bytes that a file may unpack to whatever its ratio."""


class PackedDataError(ValueError):
    """Compressed data that are damaged, cut off, or blow up; the text says which and what to do."""


def compression_of_name(name: str) -> Compression:
    """What a file's name says about its content."""
    return next((kind for kind, (suffix, _) in PACKED.items() if name.endswith(suffix)), "none")


def compression_of_bytes(start: bytes) -> Compression:
    """What the first bytes of a file say about its content."""
    return next((kind for kind, (_, magic) in PACKED.items() if start.startswith(magic)), "none")


def other_format(start: bytes) -> str | None:
    """What a file is by its first bytes and cannot be as a log, with what to do; None where it may be one."""
    found = next((what for magic, what in OTHERS.items() if start.startswith(magic)), None)
    return found and f"this is {found}, which is not read; write it as UTF-8 text (CSV, TSV, JSON Lines) or Parquet"


def unpacked(path: Path, compression: Compression) -> Iterator[bytes]:
    """The content in chunks of at most 1 MiB; PackedDataError where it does not come whole."""
    size = path.stat().st_size
    total = 0
    try:
        with _open(path, compression) as stream:
            while chunk := stream.read(CHUNK):
                total += len(chunk)
                if compression != "none" and total > max(ALWAYS_FINE, MAX_RATIO * size):
                    raise PackedDataError(
                        f"the {compression} data unpack to more than {MAX_RATIO} times their size; if this is a log "
                        "nevertheless, land it uncompressed"
                    )
                yield chunk
    except (EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's or the folder's doing
        raise PackedDataError(f"the {compression} data are damaged or cut off ({error}); land it again") from error


def _open(path: Path, compression: Compression) -> BinaryIO:
    if compression == "gzip":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if compression == "zstd":
        return cast(BinaryIO, pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    return path.open("rb")
