"""The cases: which damaged thing goes through which command, all of it decided by a generator."""

import gzip
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from numpy.random import Generator

from fracturelib.data.volumes import is_study
from fracturelib.data.walk import is_image_file
from tests.fuzz import checks, damage_files
from tests.fuzz.damage_dicom import dicom
from tests.fuzz.mutate import BY_FORMAT, STRANGE, any_bytes, json_text, json_values, pick, table, with_exif
from tests.fuzz.seeds import TRAIN, Corpus
from tests.fuzz.watch import Case
from tests.radiographs import radiograph, save

Maker = Callable[[Corpus, Path, Generator], Case]
CLASSES = ("fractured", "not fractured")
OTHER_SUFFIXES = (".jpeg", ".JPG", ".jfif", ".JPE", ".tiff", ".TIF", ".dcm", ".IMA", "", ".png", ".txt")
STUDY_SUFFIXES = (".npy", ".nii", ".nii.gz", ".NPY", ".txt", "")
CHECKS = {"predict": checks.predicted, "audit": checks.audited, "import": checks.imported, "train": checks.trained,
          "explain": checks.explained, "evaluate": checks.evaluated}  # fmt: skip
STUDY_CHECKS = {"predict": checks.predicted, "audit": checks.named_studies, "import": checks.imported,
                "train": checks.trained}  # fmt: skip


def command(name: str, corpus: Corpus, source: Path, root: Path, *, model: Path | None = None) -> list[str]:
    """The command line that sends `source` through a command, results in root/out."""
    out, model = root / "out", model or corpus.model
    lines = {
        "predict": ["predict", source, "--model", model, "--csv", out / "scores.csv", "--quiet"],
        "explain": ["explain", source, "--model", model, "--out", out, "--quiet"],
        "audit": ["audit", source, "--json", out / "audit.json", "--html", out / "audit.html", "--quiet"],
        "import": ["data", "import", source, out / "set", "--quiet"],
        "train": ["train", source, "--out", out / "run", *TRAIN[:2], "--epochs", 1, *TRAIN[4:]],
        "evaluate": ["evaluate", source, "--seed", 0],
    }
    return [str(part) for part in lines[name]]


def case(name: str, kind: str, corpus: Corpus, source: Path, root: Path, **more: object) -> Case:
    """A case of one command on `source`, which must stay as it is."""
    found: dict[str, object] = {"sources": (source,), "check": CHECKS.get(name)} | more
    if name == "predict":
        found.setdefault("outputs", (root / "out" / "scores.csv",))
    if name == "audit":
        found.setdefault("codes", (0, 1, 2))
    model = found.pop("model", None)
    return Case(kind, command(name, corpus, source, root, model=model), root, **found)  # type: ignore[arg-type]


def damaged_image(pool: str, corpus: Corpus, rng: Generator) -> tuple[str, bytes]:
    """Suffix and content of an image with damaged bytes, fields or EXIF, or of a DICOM file."""
    if pool == "dicom":
        return ".dcm", dicom(pick(rng, corpus.dicom_bytes), rng)
    if pool == "exif":
        able = [(s, d) for s, d in corpus.images if s in (".jpg", ".png") or (s == ".webp" and b"EXIF" in d)]
        suffix, data = pick(rng, able)
        return suffix, with_exif(data, suffix, rng)
    suffix, data = pick(rng, corpus.images)
    data = BY_FORMAT[suffix](data, rng) if rng.random() < 0.55 else data
    return suffix, any_bytes(data, rng) if rng.random() < 0.5 else data


def images(name: str, pool: str, count: int, corpus: Corpus, root: Path, rng: Generator) -> Case:
    """A folder of damaged images beside negative ones: none of them stops the rest."""
    source = root / "in"
    if name in ("predict", "explain"):
        folders = [source]
        save(radiograph(1, width=32, height=40), source / "good.jpg")
    else:
        shutil.copytree(corpus.base / "set", source)
        folders = [source / split / kind for split in ("train", "val", "test") for kind in CLASSES]
    named = []
    for i in range(count):
        suffix, data = damaged_image(pool, corpus, rng)
        suffix = pick(rng, OTHER_SUFFIXES) if rng.random() < 0.06 else suffix
        path = pick(rng, folders) / f"m{i:03d}{suffix}"
        path.write_bytes(data)
        if is_image_file(path):  # what is none by its name or first bytes is counted, not named
            named.append(path.name)
    codes = (0, 1) if name == "audit" else (0,)
    return case(name, pool, corpus, source, root, inputs=count, named=tuple(named), codes=codes)


def damaged_study(folder: Path, number: int, corpus: Corpus, rng: Generator) -> Path:
    """An array, a NIfTI file or a DICOM series, damaged, in a folder."""
    if rng.random() < 0.35:
        path = folder / f"m{number:03d}"
        path.mkdir()
        slices = list(pick(rng, corpus.series))
        for _ in range(int(rng.integers(1, 4))):
            at, what = int(rng.integers(len(slices))), int(rng.integers(4))
            if what == 0 and len(slices) > 1:
                del slices[at]
            elif what == 1:
                slices.append(slices[at])
            else:
                slices[at] = dicom(slices[at], rng) if rng.random() < 0.7 else any_bytes(slices[at], rng)
        for i, data in enumerate(slices):
            (path / f"{i:03d}.dcm").write_bytes(data)
        return path
    suffix, data = pick(rng, corpus.studies)
    if suffix == ".nii.gz" and rng.random() < 0.5:
        data = gzip.compress(any_bytes(gzip.decompress(data), rng), mtime=0)
    else:
        data = any_bytes(data, rng)
    path = folder / f"m{number:03d}{pick(rng, STUDY_SUFFIXES) if rng.random() < 0.06 else suffix}"
    path.write_bytes(data)
    return path


def studies(name: str, count: int, corpus: Corpus, root: Path, rng: Generator) -> Case:
    """A set of studies of which some are damaged, or its damaged manifest."""
    source, manifest = root / "in", rng.random() < 0.2
    shutil.copytree(corpus.base / "knees", source)
    named, model = [], corpus.base / "knees-run" / "model.pt"
    if manifest:
        (source / "manifest.csv").write_bytes(table((source / "manifest.csv").read_text(), rng))
    else:
        (source / "manifest.csv").unlink()
        folders = [source / split / kind for split in ("train", "val", "test") for kind in ("Torn", "Whole")]
        made = [damaged_study(pick(rng, folders), i, corpus, rng) for i in range(count)]
        named = [path.name for path in made if is_study(path)]
    return case(
        name, "study", corpus, source, root, inputs=count, model=model, named=tuple(named), check=STUDY_CHECKS[name],
        codes=(0, 1, 2) if name == "audit" else (0, 2) if manifest or name == "train" else (0,),
    )  # fmt: skip


def names(name: str, corpus: Corpus, root: Path, rng: Generator) -> Case:
    """Sound images whose names, and whose folders, are odd; and things that are no images."""
    source = root / "in"
    shutil.copytree(corpus.base / "set", source)
    count = int(rng.integers(1, 4))
    folder = os.fsencode(source / "train" / pick(rng, CLASSES))
    for i in range(count):
        inside = os.path.join(folder, damage_files.name_of_file(rng)) if rng.random() < 0.25 else folder
        path = os.path.join(
            inside, damage_files.name_of_file(rng) + pick(rng, (b".jpg", b".png", b".dcm", b".txt", b""))
        )
        what = int(rng.integers(10))
        try:
            os.makedirs(inside, exist_ok=True)
            if what == 0:
                os.symlink(pick(rng, (b"nowhere", b"..", b"/dev/zero", b"image000.jpg")), path)
            elif what == 1:
                os.mkfifo(path)
            elif what == 2:
                os.mkdir(path)
            else:
                save(radiograph(50 + i, width=32, height=40), root / "in" / "x.jpg").rename(Path(os.fsdecode(path)))
        except OSError:
            (root / "in" / "x.jpg").unlink(missing_ok=True)
    if name == "explain":
        source = Path(os.fsdecode(folder))
    return case(name, "names", corpus, source, root, inputs=count)


def manifest(name: str, corpus: Corpus, root: Path, rng: Generator) -> Case:
    """A sound folder with a damaged manifest.csv."""
    source = root / "in"
    shutil.copytree(corpus.base / "set", source)
    (source / "manifest.csv").write_bytes(table((corpus.base / "set.csv").read_text(), rng))
    return case(name, "manifest", corpus, source, root)


def coco(name: str, corpus: Corpus, root: Path, rng: Generator) -> Case:
    """A sound folder with damaged annotations, in the one layout or in FracAtlas's."""
    source = root / "in"
    if name in ("audit", "import") and rng.random() < 0.4:
        shutil.copytree(corpus.base / "fracatlas", source)
        place = source / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
    else:
        shutil.copytree(corpus.base / "set", source)
        shutil.copy(corpus.base / "set.csv", source / "manifest.csv")
        place = source / "annotations.json"
        place.write_text((corpus.base / "set.json").read_text())
    place.write_bytes(json_text(json.loads(place.read_text()), rng))
    if name == "explain":
        for path in [*source.glob("train/*/*.jpg"), *source.glob("test/*/*.jpg")]:
            path.unlink()
        for path in [*source.glob("val/*/*.jpg")][2:]:
            path.unlink()
    return case(name, "coco", corpus, source, root)


YAMLS = ("names: [a, fracture]", "names:\n  0: a\n  3: fracture", "names:\n- a\n- Fracture", "names: {3: fracture}",
         "names: fracture", "names: [", "names:", "nc: 7", "\xff", "names: [fracture, fracture]", "- x", "&a [*a]",
         "names: {x: [1]}", "!!python/object/apply:os.system ['true']", "names: " + "[" * 3000)  # fmt: skip
LINES = ("3 0.5 0.5 0.2 0.2 0.9", "3 0.1 0.1 0.9 0.1 0.5 0.9", "nan 0.5 0.5 0.2 0.2", "3 nan 0.5 0.2 0.2",
         "3 inf 0 0 0",
         "3 0.5 0.5 0 0", "3 -1 5 7 1e300", "3 1 2", "x", "3,0.5,0.5,0.1,0.1", "3.7 0.5 0.5 0.2 0.2",
         "9" * 400 + " 0 0 1 1",
         "-1 0.5 0.5 0.2 0.2", "3 0.5 0.5 -0.2 -0.2", "\ufeff3 0.5 0.5 0.2 0.2", "3 " + "0.5 " * 20_000,
         "\0")  # fmt: skip


def yolo(name: str, corpus: Corpus, root: Path, rng: Generator) -> Case:
    """GRAZPEDWRI-DX with damaged label files, or a damaged list of names."""
    source = root / "in"
    shutil.copytree(corpus.base / "graz", source)
    for path in sorted((source / "labels").glob("*.txt"))[: int(rng.integers(1, 5))]:
        lines = path.read_text().splitlines()
        lines.insert(int(rng.integers(2)), pick(rng, LINES))
        text = pick(rng, ("\n", "\n", "\r\n")).join(lines).encode("utf-8")
        path.write_bytes(any_bytes(text, rng) if rng.random() < 0.3 else text)
    if rng.random() < 0.4:
        (source / "meta.yaml").unlink()
        (source / pick(rng, ("meta.yaml", "data.yaml", "dataset.yml", "classes.txt"))).write_text(pick(rng, YAMLS))
    return case(name, "yolo", corpus, source, root)


def published(name: str, corpus: Corpus, root: Path, rng: Generator) -> Case:
    """A published layout with a damaged dataset.csv."""
    source = root / "in"
    shutil.copytree(corpus.base / pick(rng, ("graz", "fracatlas")), source)
    place = source / "dataset.csv"
    place.write_bytes(table(place.read_text(), rng))
    return case(name, "dataset.csv", corpus, source, root)


def scores(corpus: Corpus, root: Path, rng: Generator) -> Case:
    """A damaged table of scores: as the table, to choose a threshold on, or to compare with."""
    (root / "in").mkdir()
    negative = corpus.base / "run" / "predictions.csv"
    source = root / "in" / "scores.csv"
    source.write_bytes(table(negative.read_text(), rng))
    roles = {
        0: (source, "--threshold-from", negative),
        1: (negative, "--threshold-from", source),
        2: (negative, "--compare", source),
    }
    first, *rest = roles.get(int(rng.integers(8)), (source,))
    if rng.random() < 0.04:
        rest += ["--out", root / "out"]
    return Case("scores", ["evaluate", str(first), *map(str, rest)], root, sources=(root / "in", negative),
                check=checks.evaluated)  # fmt: skip


def splits(corpus: Corpus, root: Path, rng: Generator) -> Case:
    """A damaged table of splits."""
    files = sorted((corpus.base / "fracatlas").rglob("*.jpg"))
    kinds = ("train", "val", "test", "left out")
    text = "name,split,group\n" + "".join(f"{p.name},{kinds[i % 4]},g{i // 4}\n" for i, p in enumerate(files))
    (root / "in").mkdir()
    source = root / "in" / "splits.csv"
    source.write_bytes(table(text, rng))
    found = case("import", "splits", corpus, corpus.base / "fracatlas", root)
    found.arguments += ["--splits", str(source), *(["--listed-only"] if rng.random() < 0.3 else [])]
    found.sources += (source,)
    return found


def checkpoint(name: str, values: bool, corpus: Corpus, root: Path, rng: Generator) -> Case:
    """A checkpoint whose values, or whose bytes, are damaged."""
    import torch

    source = save(radiograph(7, width=32, height=40), root / "in" / "images" / "one.jpg").parent
    model, what = root / "in" / "model.pt", ""
    if values:
        payload = torch.load(corpus.model, weights_only=True)
        what = damage_files.payload(payload, rng)
        torch.save(payload, model)
    else:
        model.write_bytes(damage_files.checkpoint_bytes(corpus.model.read_bytes(), rng))
    check = checks.must_refuse(what) if what else CHECKS.get(name)
    if name == "train":
        found = case(name, "checkpoint", corpus, corpus.base / "set", root, model=model, check=check)
        found.arguments += ["--start", str(model)]
    else:
        found = case(name, "checkpoint", corpus, source, root, model=model, check=check, named=("one.jpg",))
    found.sources += (root / "in",)
    return found


def zipped(corpus: Corpus, root: Path, rng: Generator) -> Case:
    """A damaged zip file of a sound folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((corpus.base / "set").rglob("*.jpg")):
            archive.write(path, path.relative_to(corpus.base / "set").as_posix())
    source = root / "in" / "set.zip"
    source.parent.mkdir()
    source.write_bytes(damage_files.archive(buffer.getvalue(), rng))
    return case("import", "zip", corpus, source, root)


def cached(corpus: Corpus, root: Path, rng: Generator) -> Case:
    """A sound training with a damaged cache: the result is the same."""
    shutil.copytree(corpus.base / "cache", root / "cache")
    path = pick(rng, sorted(p for p in (root / "cache").rglob("*") if p.is_file()))
    what = int(rng.integers(10))
    if what == 0:
        path.write_bytes(b"")
    elif what == 1 and path.suffix == ".json":
        path.write_bytes(json_text(json.loads(path.read_text()), rng))
    else:
        path.write_bytes(any_bytes(path.read_bytes(), rng))
    found = case("train", "cache", corpus, corpus.base / "set", root, codes=(0,))
    found.arguments = ["train", str(corpus.base / "set"), "--out", str(root / "out" / "run"), *TRAIN]
    expected = (corpus.base / "run" / "predictions.csv").read_bytes()

    def same(_: Case, __: object):  # type: ignore[no-untyped-def]
        if (root / "out" / "run" / "predictions.csv").read_bytes() != expected:
            yield f"another result with a damaged cache file | {path.name}"

    found.check = same
    return found


def state(corpus: Corpus, root: Path, rng: Generator) -> Case:
    """A training that goes on from a damaged state.pt."""
    import torch

    path = root / "out" / "run" / "state.pt"
    path.parent.mkdir(parents=True)
    negative = corpus.base / "run" / "state.pt"
    if rng.random() < 0.4:
        path.write_bytes(damage_files.checkpoint_bytes(negative.read_bytes(), rng))
    else:
        payload = torch.load(negative, weights_only=True)
        payload["history"] = payload["history"][:1]
        if rng.random() < 0.3:
            damage_files.weights(payload[pick(rng, ("model", "best"))], pick(rng, ("nan", "shape", "missing")), rng)
        else:
            short = [v for v in STRANGE if not isinstance(v, str) or len(v) < 1000]
            chosen = pick(rng, ("history", "signature", "optimizer", "best", "model", ""))
            json_values(payload[chosen] if chosen else payload, rng, short)
        torch.save(payload, path)
    found = case("train", "state", corpus, corpus.base / "set", root)
    found.arguments = ["train", str(corpus.base / "set"), "--out", str(root / "out" / "run"), *TRAIN]
    return found


NUMBERS = ("-1", "0", "nan", "inf", "1e400", "1e-400", "9" * 30, "9" * 5000, "", "x", "0x10", "1.5", "-0.0", "2**31",
           "4294967296", "18446744073709551616", "\u0661", "1_0", " 1", "--quiet")  # fmt: skip
OPTIONS = {
    "train": ("--size", "--patience", "--batch", "--learning-rate", "--seed", "--start", "--peak-loss-weight",
    "--model", "--unfreeze"),
    "evaluate": ("--threshold", "--rule", "--seed", "--threshold-from", "--compare"),
    "audit": ("--seed",), "import": ("--seed", "--group-pattern", "--splits"), "predict": ("--strict", "--model"),
    "explain": ("--layer", "--model"),
}  # fmt: skip
RULES = ("sensitivity={}", "specificity={}", "youden", "youden={}", "f_beta={}", "cost={}:1", "cost=1:{}",
         "alerts={}", "{}",
         "={}", "cost={}", "sensitivity=0.9={}")  # fmt: skip
PATTERNS = (
    "(",
    "()",
    "(?P<x>.)",
    "(.)|x",
    "\\",
    "[",
    "(.*)",
    "(?i)(f)",
    "x",
    "(\\d+)",
    "(?:x)",
    "(a){99999999999}",
    "\0",
)
VARIABLES = ({"WORLD_SIZE": "2"}, {"WORLD_SIZE": "x"}, {"WORLD_SIZE": "0"}, {"RANK": "0"}, {"LOCAL_RANK": "9"},
             {"WORLD_SIZE": "1", "RANK": "5"}, {"COLUMNS": "-3"}, {"COLUMNS": "x"}, {"LC_ALL": "C"},
             {"MPLBACKEND": "nothing"})  # fmt: skip


def arguments(corpus: Corpus, root: Path, rng: Generator) -> Case:
    """Sound files and a strange number, rule, pattern or environment variable."""
    name = pick(rng, sorted(OPTIONS))
    source = corpus.base / ("run/predictions.csv" if name == "evaluate" else "set/test" if name == "explain" else "set")
    found = case(name, "arguments", corpus, source, root, check=None)
    option, value = pick(rng, OPTIONS[name]), pick(rng, NUMBERS)
    if rng.random() < 0.12:
        found.environment = pick(rng, VARIABLES)
    elif option == "--rule":
        found.arguments += ["--threshold-from", str(source), "--rule", pick(rng, RULES).format(value)]
    else:
        found.arguments += [f"{option}={pick(rng, PATTERNS) if option == '--group-pattern' else value}"]
    return found


def outputs(corpus: Corpus, root: Path, rng: Generator) -> Case:
    """Results that would be written over what was given."""
    source = root / "in"
    shutil.copytree(corpus.base / "set" / "test", source)
    save(radiograph(9, width=32, height=40), source / "fractured" / "a.png")
    save(radiograph(8, width=32, height=40), source / "fractured" / "a.jpg")
    shutil.copy(corpus.model, source / "model.pt")
    shutil.copy(corpus.base / "run" / "predictions.csv", source / "scores.csv")
    places = (source, source / "fractured", source / "fractured" / "a.png", source / "model.pt", source / "scores.csv",
              source / "new", source / "new.csv", root / "out" / "x" / "y",
              source / "fractured" / "a.png" / "b")  # fmt: skip
    where = pick(rng, places)
    model = source / "model.pt"
    lines: dict[str, list[object]] = {
        "predict": [source, "--model", model, "--csv", where, "--quiet"],
        "explain": [source / "fractured", "--model", model, "--out", where, "--quiet"],
        "evaluate": [source / "scores.csv", "--out", where],
        "audit": [source, pick(rng, ("--json", "--html")), where, "--quiet"],
        "train": [corpus.base / "set", "--out", where, "--start", model, "--epochs", 1, *TRAIN[:2], *TRAIN[4:]],
        "import": [source, where, "--quiet"],
    }  # fmt: skip
    name = pick(rng, ("predict", "explain", "explain", "evaluate", "audit", "train", "import"))
    given = [*(["data"] if name == "import" else []), name, *lines[name]]
    sources = tuple(p for p in source.rglob("*") if p.is_file())
    return Case(
        "outputs", [str(part) for part in given], root, sources=sources, codes=(0, 1, 2) if name == "audit" else (0, 2)
    )


def _makers() -> dict[str, tuple[float, Maker]]:
    """Each kind of case: the proportion of the time that it gets, and its maker."""
    found: dict[str, tuple[float, Maker]] = {}
    for pool, share in (("image", 3.0), ("exif", 1.0), ("dicom", 2.0)):
        for name, count, part in (
            ("predict", 200, 4.0), ("audit", 40, 1.5), ("import", 60, 2.0), ("train", 40, 1.5), ("explain", 4, 1.0)
        ):  # fmt: skip
            found[f"{pool}.{name}"] = share * part, partial(images, name, pool, count)
    for name, count in (("predict", 60), ("audit", 20), ("import", 20), ("train", 20)):
        found[f"study.{name}"] = 2.0, partial(studies, name, count)
    for name in ("predict", "audit", "import", "train"):
        found[f"manifest.{name}"] = 1.5, partial(manifest, name)
    for name in ("predict", "audit", "import", "train", "explain"):
        found[f"names.{name}"] = 1.0, partial(names, name)
    for name in ("audit", "import", "train", "explain"):
        found[f"coco.{name}"] = 1.5, partial(coco, name)
    for name in ("audit", "import"):
        found[f"yolo.{name}"] = 1.0, partial(yolo, name)
        found[f"dataset.{name}"] = 1.0, partial(published, name)
    for name, share in (
        ("predict", 2.0),
        ("explain", 0.5),
        ("train", 0.5),
    ):
        for values, kind in ((True, "values"), (False, "bytes")):
            found[f"checkpoint-{kind}.{name}"] = share, partial(checkpoint, name, values)
    found |= {"scores.evaluate": (3.0, scores), "splits.import": (1.0, splits), "zip.import": (2.0, zipped),
              "cache.train": (1.0, cached), "state.train": (1.5, state), "arguments": (2.0, arguments),
              "outputs": (1.5, outputs)}  # fmt: skip
    return found


MAKERS = _makers()
