"""A zip file into a folder: all of it is looked over before anything is written."""

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from fracturelib._io.files import InputError, printable

MAX_ENTRIES = 200_000
MAX_DIRECTORY = 32 * 2**20  # bytes of the zip file's own list, which is read whole

MAX_NAME, MAX_PATH = 255, 1000  # bytes

MAX_RATIO, RATIO_FROM = 200, 256 * 2**20  # unpacked to packed bytes, for what is unpacked to that many or more
METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflate"}
CHUNK = 1 << 20


def unzip(archive: Path, folder: Path) -> None:
    """Unpack a zip file.

    Raises
    ------
    InputError
        If an entry would leave `folder`, is encrypted, a link, there twice or packed in an unusual way; if there are
        too many, or they unpack to more than the disk holds or so few bytes can mean; or if the archive is damaged.
    """
    name = printable(archive)
    try:
        _require_directory(archive)
        with zipfile.ZipFile(archive) as opened:
            places = _places(name, opened.infolist())
            _require_room(name, archive, folder, sum(entry.file_size for entry in opened.infolist()))
            for entry, place in zip(opened.infolist(), places, strict=True):
                target = folder / place
                if entry.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as packed, target.open("xb") as file:
                    shutil.copyfileobj(packed, file, CHUNK)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{name}: cannot be unpacked ({error.strerror or error})") from None
    except Exception as error:  # zipfile raises whatever it happens to stumble over
        reason = printable(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise InputError(f"{name}: a damaged zip file ({reason})") from None


def _require_directory(archive: Path) -> None:
    """Raise InputError if the list of entries is too long to be read: by the size in its end record, or zip64's."""
    size = archive.stat().st_size
    with archive.open("rb") as file:
        file.seek(max(0, size - (1 << 16) - 128))
        tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0:
        raise zipfile.BadZipFile("File is not a zip file")
    count, length = int.from_bytes(tail[end + 10 : end + 12], "little"), tail[end + 12 : end + 16]
    directory = int.from_bytes(length, "little")
    wide = tail.rfind(b"PK\x06\x06", 0, end)
    if wide >= 0:
        count = max(count, int.from_bytes(tail[wide + 32 : wide + 40], "little"))
        directory = int.from_bytes(tail[wide + 40 : wide + 48], "little")
    if count > MAX_ENTRIES or directory > MAX_DIRECTORY:
        raise InputError(f"{printable(archive)}: {count:,} entries or more; expected at most {MAX_ENTRIES:,}")


def _places(name: str, entries: list[zipfile.ZipInfo]) -> list[str]:
    """Where each entry goes, relative to the folder; InputError if one may go nowhere."""
    if len(entries) > MAX_ENTRIES:
        raise InputError(f"{name}: {len(entries):,} entries; expected at most {MAX_ENTRIES:,}")
    places = [_place(name, entry) for entry in entries]
    files = [place for entry, place in zip(entries, places, strict=True) if not entry.is_dir()]
    seen: set[str] = set()
    for place in files:
        if place in seen:
            raise InputError(f"{name}: entry {place!r} is there twice; expected each name once")
        seen.add(place)
    for place in places:
        for parent in map(str, PurePosixPath(place).parents):
            if parent in seen:
                raise InputError(f"{name}: entry {parent!r} is a file and a folder; expected one of them")
    return places


def _place(name: str, entry: zipfile.ZipInfo) -> str:
    shown = f"{name}: entry {entry.orig_filename[:MAX_NAME]!r}"
    path = entry.filename.replace("\\", "/")  # as some programs write it
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if "\0" in entry.orig_filename or not parts:
        raise InputError(f"{shown} has no name that a file can have; expected names without NUL")
    if path.startswith("/") or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":"):
        raise InputError(f"{shown} leaves the folder; expected names inside it")
    if max(len(part.encode(errors="replace")) for part in parts) > MAX_NAME or len(path) > MAX_PATH:
        raise InputError(f"{shown[: len(name) + 100]} ...: a name of {len(path):,} characters; expected fewer")
    if entry.flag_bits & 0x41:
        raise InputError(f"{shown} is encrypted; expected a zip file without a password")
    if entry.compress_type not in METHODS:
        method = getattr(zipfile, "compressor_names", {}).get(entry.compress_type, f"method {entry.compress_type}")
        raise InputError(f"{shown} is packed by {method}; expected {' or '.join(METHODS.values())}")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.create_system == 3 and kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError(f"{shown} is a link or a device; expected files and folders")
    return "/".join(parts)


def _require_room(name: str, archive: Path, folder: Path, total: int) -> None:
    packed = max(1, archive.stat().st_size)
    if total > RATIO_FROM and total > MAX_RATIO * packed:
        raise InputError(
            f"{name}: {packed:,} bytes that unpack to {total:,}; expected at most {MAX_RATIO} times as many"
        )
    free = shutil.disk_usage(folder).free
    if total > free:
        raise InputError(f"{name}: unpacks to {total:,} bytes, and {free:,} are free; expected room for it")
