"""The zip files that torch.save writes: nothing compressed, nothing twice, nothing outside the file."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from typing import BinaryIO

from rfkernels.errors import CheckpointError

_MOST_ENTRIES = 50_000
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED_FLAG = 0x1


@dataclass(frozen=True)
class Entry:
    """One stored file: where its bytes lie in the archive."""

    name: str
    offset: int
    size: int


def read_entries(file: BinaryIO, size: int) -> dict[str, Entry]:
    """The entries of an uncompressed zip file, by name.

    Checked for each: stored as it is, named as its local header says, inside the file, not overlapping another.
    Checksums are not: torch can be told to leave them out.

    Raises:
        CheckpointError: not a zip file, or one that torch.save would not write.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            directory_start = archive.start_dir
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, OSError, ValueError, struct.error) as error:
        raise CheckpointError(f"not a readable zip file, which a .pt of torch.save is: {error}") from error
    if not infos or len(infos) > _MOST_ENTRIES:
        raise CheckpointError(f"zip file: got {len(infos)} entries, expected 1 to {_MOST_ENTRIES}")
    entries: dict[str, Entry] = {}
    for info in infos:
        entry = _checked(file, info, min(directory_start, size))
        if entry.name in entries:
            raise CheckpointError(f"zip entry {_shown(entry.name)}: the name occurs twice")
        entries[entry.name] = entry
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: entry.offset):
        if entry.size and entry.offset < end:
            raise CheckpointError(f"zip entry {_shown(entry.name)}: overlaps another entry")
        end = max(end, entry.offset + entry.size)
    return entries


def read_bytes(file: BinaryIO, entry: Entry, largest: int) -> bytes:
    """The bytes of one entry.

    Raises:
        CheckpointError: more than `largest` bytes, or the file ends early.
    """
    if entry.size > largest:
        raise CheckpointError(f"zip entry {_shown(entry.name)}: {entry.size} bytes, expected at most {largest}")
    file.seek(entry.offset)
    data = file.read(entry.size)
    if len(data) != entry.size:
        raise CheckpointError(f"zip entry {_shown(entry.name)}: the file ends inside it")
    return data


def _checked(file: BinaryIO, info: zipfile.ZipInfo, limit: int) -> Entry:
    name = info.orig_filename
    shown = _shown(name)
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise CheckpointError(
            f"zip entry {shown}: is compressed; torch.save stores entries as they are, so this is refused"
        )
    if info.flag_bits & _ENCRYPTED_FLAG:
        raise CheckpointError(f"zip entry {shown}: is encrypted")
    parts = name.split("/")
    if (
        not name
        or len(name) > 1000
        or "\\" in name
        or "\0" in name
        or ".." in parts
        or "" in parts[:-1]
        or ":" in parts[0]
    ):
        raise CheckpointError(f"zip entry {shown}: a name that torch.save would not write")
    if not 0 <= info.header_offset <= limit - _LOCAL_HEADER.size:
        raise CheckpointError(f"zip entry {shown}: its header lies outside the file")
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) != _LOCAL_HEADER.size:
        raise CheckpointError(f"zip entry {shown}: its header lies outside the file")
    signature, _, _, method, *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    encoding = "utf-8" if info.flag_bits & 0x800 else "cp437"
    local_name = file.read(name_length).decode(encoding, "replace")
    if signature != _LOCAL_SIGNATURE or method != zipfile.ZIP_STORED or local_name != name:
        raise CheckpointError(f"zip entry {shown}: its local header disagrees with the directory")
    offset = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    if info.file_size < 0 or offset + info.file_size > limit:
        raise CheckpointError(f"zip entry {shown}: {info.file_size} bytes reach past the end of the file")
    return Entry(name, offset, info.file_size)


def _shown(name: str) -> str:
    return repr(name[:80])
