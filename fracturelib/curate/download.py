"""Published data sets: download that resumes, is checked before it is believed, and is unpacked whole."""

import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import requests
from tqdm.auto import tqdm

from fracturelib._io.files import InputError, atomic_path, printable, require_place
from fracturelib.curate.archive import unzip

CHUNK = 1 << 18
BUSY = (429, 500, 502, 503, 504)  # what a server says that may answer later


@dataclass(frozen=True)
class Release:
    """A published file: where it is, how large (bytes), its MD5, its licence and citation."""

    name: str
    url: str
    size: int
    md5: str
    licence: str
    citation: str


FRACATLAS = Release(
    name="FracAtlas",
    url="https://ndownloader.figshare.com/files/65518038",
    size=338_436_460,
    md5="fe9da2c7c285915ebee69dfdab8fd396",
    licence="CC BY 4.0",
    citation="Abedeen et al., FracAtlas: A Dataset for Fracture Classification, Localization and Segmentation of "
    "Musculoskeletal Radiographs, Scientific Data 10:521 (2023), doi 10.1038/s41597-023-02432-4; "
    "figshare article 22363012, version 7",
)


def fetch_fracatlas(
    out: str | Path, *, release: Release = FRACATLAS, progress: bool = True, attempts: int = 5, backoff: float = 1.0
) -> Path:
    """Download FracAtlas and unpack it.

    Parameters
    ----------
    out : str or Path
        The folder to make; it appears only when whole. If it is there already, nothing is done. An interrupted download
        stays beside it (name.zip.part) and goes on the next time.
    release : Release
        Which file; the pinned one unless told otherwise.
    progress : bool
        Show a bar.
    attempts : int
        Tries in all, for a server that is busy or a line that breaks.
    backoff : float
        Seconds before the second try; doubled before each further one.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        If `out` holds something else, there is no network, the server refuses, or the bytes are not those that were
        published.
    """
    out = Path(out)
    print(f"{release.name}: licence {release.licence}; please cite {release.citation}")
    if out.exists():
        if not out.is_dir():
            raise InputError(f"{out}: is a file; expected a folder to make")
        if found := sorted(path.name for path in out.iterdir()):
            _require_fetched(out, release, found[0])
            print(f"{out}: is there already, nothing was changed")
            return out
        out.rmdir()
    require_place(out)
    archive = out.with_name(out.name + ".zip")
    if not _verified(archive, release):
        _download(release, archive, progress=progress, attempts=attempts, backoff=backoff)
    with atomic_path(out) as temporary:
        temporary.mkdir()
        unzip(archive, temporary)
    archive.unlink()
    return out


def _require_fetched(out: Path, release: Release, first: str) -> None:
    """Raise InputError unless a folder looks like the unpacked data set: its table, and its images beside it."""
    tables = (out / "dataset.csv", *out.glob("*/dataset.csv"))
    if not any(table.is_file() and (table.parent / "images").is_dir() for table in tables):
        raise InputError(f"{out}: holds {printable(first)}, and not {release.name}; expected a folder to make")


def _verified(path: Path, release: Release) -> bool:
    return path.is_file() and path.stat().st_size == release.size and _md5(path) == release.md5


def _md5(path: Path) -> str:
    """As the release states it: against damage on the way, not against malice."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _download(release: Release, target: Path, *, progress: bool, attempts: int, backoff: float) -> None:
    """Fetch into target.part, as often as it takes, and let it be `target` when its MD5 is right."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with requests.Session() as session:
        # As it is: packed for the way, a few bytes could unpack to many before they are counted.
        session.headers.update({"User-Agent": "fracturelib", "Accept-Encoding": "identity"})
        for attempt in range(attempts):
            try:
                _continue(session, release, part, progress)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                if attempt + 1 == attempts:
                    raise InputError(
                        f"{release.url}: could not be reached or broke off {attempts} times "
                        f"({_reason(error)}); what arrived is kept in {part}, run the same command to go on"
                    ) from None
                time.sleep(backoff * 2**attempt)
            except requests.RequestException as error:  # turned round in circles, or an answer that cannot be read
                raise InputError(f"{release.url}: {_reason(error)}; expected the published file") from None
    if not _verified(part, release):
        size, found = part.stat().st_size, _md5(part)
        part.unlink()
        raise InputError(
            f"{release.url}: sent {size:,} bytes with MD5 {found}; "
            f"expected {release.size:,} bytes with MD5 {release.md5}; the download was thrown away"
        )
    part.replace(target)


def _continue(session: requests.Session, release: Release, part: Path, progress: bool) -> None:
    """Go on after the bytes that are there; begin anew if the server cannot."""
    have = part.stat().st_size if part.is_file() else 0
    if have >= release.size:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    with session.get(release.url, headers=headers, stream=True, timeout=(10, 60)) as response:
        if response.status_code not in (200, 206):
            said = f"the server says {response.status_code} {response.reason}"
            if response.status_code in BUSY:
                raise requests.ConnectionError(said)
            raise InputError(f"{release.url}: {said}; expected the published file")
        if response.status_code == 200:
            have = 0
        free = shutil.disk_usage(part.parent).free
        if release.size - have > free:
            raise InputError(f"{part}: {release.size - have:,} bytes are to come, and {free:,} are free on its disk")
        bar = tqdm(total=release.size, initial=have, unit="B", unit_scale=True, desc=release.name, disable=not progress)
        with part.open("ab" if have else "wb") as file, bar:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > release.size:
                    break  # whatever this is, it is not the published file: an answer may have no end
    if part.stat().st_size < release.size:
        raise requests.ConnectionError(f"{part.stat().st_size:,} of {release.size:,} bytes arrived")


def _reason(error: Exception) -> str:
    text = str(error)
    for sign in ("Name or service not known", "name resolution", "Connection refused", "timed out", "unreachable"):
        if sign.lower() in text.lower():
            return sign
    return text.splitlines()[0][:120]
