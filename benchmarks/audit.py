"""How well and how fast copies are found: `python benchmarks/audit.py [--images 2000] [--planted 300] [--speed 10000]`.

Plants copies of every kind among simulated images, audits the set with an empty cache, and prints recall and precision
for each kind beside a peer's on the same folder in the same run: imagededup's PHash if it is installed, else
imagehash's. A link counts as right if both images stem from one image. With `--speed`, audits that many images of 400
pixels and prints seconds and the highest memory. `--folder` takes other images than the simulated ones.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fracturelib.curate.audit import audit_folder
from fracturelib.curate.duplicates import copies_in
from fracturelib.curate.keypoints import look_at
from fracturelib.data.decode import FORMATS
from fracturelib.simulate.dataset import simulate_dataset
from tests.copies import KINDS, planted

DEMO = Path(__file__).resolve().parent.parent / "data" / "demo"
Pairs = set[tuple[str, str]]


def sources(folder: Path | None, count: int, scratch: Path) -> list[Path]:
    """`count` different images that can be read; of a folder of one's own, one of each radiograph."""
    images = sorted((folder or DEMO).rglob("*.jpg"))
    if folder is not None:
        copies = copies_in(images)
        firsts = np.unique(copies.group, return_index=True)[1]
        images = [images[i] for i in sorted(firsts) if not look_at([images[i]])[0].reason]
    if folder is None and len(images) < count:
        simulate_dataset(scratch / "more", images=count - len(images), seed=77, progress=False)
        images += sorted((scratch / "more").rglob("*.jpg"))
    order = np.random.default_rng(0).permutation(len(images))[:count]
    return [images[i] for i in order]


def our_pairs(folder: Path) -> Pairs:
    paths = sorted(folder.iterdir())
    copies = copies_in(paths)
    return {(paths[c.first].name, paths[c.second].name) for c in copies.found}


def peer() -> tuple[str, Callable[[Path], Pairs]] | None:
    """Name of the peer that is installed, and how it finds pairs."""
    try:
        from imagededup.methods import PHash
    except ImportError:
        pass
    else:

        def dedup(folder: Path) -> Pairs:
            found = PHash(verbose=False).find_duplicates(image_dir=str(folder), max_distance_threshold=10)
            return {(min(a, b), max(a, b)) for a, others in found.items() for b in others}

        return "imagededup PHash, distance 10 (its default)", dedup
    try:
        import imagehash
        from PIL import Image
    except ImportError:
        return None

    def hashed(folder: Path) -> Pairs:
        names, bits = [], []
        for path in sorted(folder.iterdir()):
            try:
                bits.append(imagehash.phash(Image.open(path, formats=FORMATS)).hash.ravel())
                names.append(path.name)
            except OSError:
                continue
        signs = 2 * np.array(bits, np.float32) - 1
        far = (signs.shape[1] - signs @ signs.T) / 2
        return {(names[i], names[j]) for i, j in np.argwhere(np.triu(far <= 10, 1))}

    return "imagehash pHash, distance 10", hashed


def judged(pairs: Pairs, origin: dict[str, str], table: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Recall and precision by kind, and of all links: a copy is found if a link joins it to its origin."""
    linked: dict[str, set[str]] = {}
    for a, b in pairs:
        linked.setdefault(a, set()).add(b)
        linked.setdefault(b, set()).add(a)
    rows = []
    for kind, part in table.groupby("kind", sort=False):
        names = [Path(p).name for p in part["copy"]]
        found = [any(origin[o] == origin[n] for o in linked.get(n, ())) for n in names]
        links = [origin[o] == origin[n] for n in names for o in linked.get(n, ())]
        rows.append((kind, len(names), np.mean(found), np.mean(links) if links else np.nan))
    right = [origin[a] == origin[b] for a, b in pairs]
    return pd.DataFrame(rows, columns=["kind", "planted", "recall", "precision"]), float(
        np.mean(right)
    ) if right else 0.0


def quality(args: argparse.Namespace, scratch: Path) -> None:
    images = sources(args.folder, args.images - args.planted, scratch)
    folder = scratch / "set"
    folder.mkdir()
    local = [folder / f"image{i:05d}.jpg" for i in range(len(images))]
    for image, link in zip(images, local, strict=True):
        link.write_bytes(image.read_bytes())
    table = planted(local, folder, each=args.planted // len(KINDS), seed=args.seed)
    origin = {p.name: p.name for p in local} | {
        c.name: s.name for s, c in zip(table["source"], table["copy"], strict=True)
    }
    shown = {}
    seconds = {}
    for name, find in [("fracturelib", our_pairs), *filter(None, [peer()])]:
        start = time.perf_counter()
        pairs = find(folder)
        seconds[name] = time.perf_counter() - start
        shown[name], precision = judged(pairs, origin, table)
        print(
            f"{name}: {len(origin)} images in {seconds[name]:.1f} s, {len(pairs)} links, {precision:.4f} of them right"
        )
        wrong = [p for p in pairs if origin[p[0]] != origin[p[1]]]
        if name == "fracturelib" and wrong:
            print("  wrong:", *sorted(wrong)[:10])
    print(pd.concat(shown, axis=1).round(3).to_string(index=False))
    if len(seconds) == 1:
        print("no peer is installed: pip install imagededup, or imagehash")
    else:
        (ours, first), (other, second) = seconds.items()
        print(f"{ours} takes {first / second:.1f} times as long as {other}")


def another(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image of 400 pixels made from this one, and no copy of it: bent at random, and grained."""
    scale = 400 / max(image.shape)
    height, width = (round(side * scale) for side in image.shape)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    for axis in (x, y):
        bend = rng.uniform(-50, 50, (6, 6)).astype(np.float32)
        axis += cv2.resize(bend, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.uniform() < 0.5:
        x = width - 1 - x
    bent = cv2.remap(image, x / scale, y / scale, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.clip(bent + rng.normal(0, 5, bent.shape), 0, 255).astype(np.uint8)


def speed(count: int, scratch: Path) -> None:
    """An audit of `count` images of 400 pixels, each bent in its own way, so that hardly any is a copy of another."""
    images = sorted(DEMO.rglob("*.jpg"))
    rng = np.random.default_rng(1)
    for i in range(count):
        image = another(cv2.imread(str(images[i % len(images)]), cv2.IMREAD_GRAYSCALE), rng)
        target = scratch / "many" / ("Fractured" if i % 3 == 0 else "Normal") / f"{i:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), image, [cv2.IMWRITE_JPEG_QUALITY, 85])
    start, work = time.perf_counter(), time.process_time()
    audit = audit_folder(scratch / "many", progress=sys.stderr.isatty())
    took, work = time.perf_counter() - start, time.process_time() - work
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{count} images of 400 pixels: {took:.0f} s on {os.cpu_count()} cores ({work:.0f} s of work), {memory:.2f} GB"
    )
    start = time.perf_counter()
    audit_folder(scratch / "many")
    print(f"  again, from the cache: {time.perf_counter() - start:.0f} s; {audit.extra} copies")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--planted", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed", type=int, default=0, metavar="IMAGES")
    parser.add_argument("--folder", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["FRACTURE_CACHE"] = str(Path(scratch) / "cache")
        if args.speed:
            speed(args.speed, Path(scratch))
        else:
            quality(args, Path(scratch))


if __name__ == "__main__":
    main()
