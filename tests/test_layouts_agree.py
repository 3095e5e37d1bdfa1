"""What a folder holds is one thing: audit, import, training and scoring see the same, on made-up layouts of every kind.

`python -m tests.test_layouts_agree` prints the table.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from fracturelib._io.files import InputError, printable
from fracturelib.curate.audit import audit_folder
from fracturelib.curate.folder import read_source_folder
from fracturelib.curate.importer import import_dataset
from fracturelib.data.dataset import load_annotations, load_manifest
from fracturelib.data.decode import read_grey
from fracturelib.models.classifier import Classifier, save_classifier
from fracturelib.models.registry import build_model
from fracturelib.training.runs import training_frame
from fracturelib.workflows import collect, predict_paths
from tests.radiographs import radiograph
from tests.test_images import dicom

Boxes = tuple[tuple[float, ...], ...]
Row = tuple[int | None, str, frozenset[str], Boxes]  # label, split, images of the same patient, boxes
BOX = (10.0, 20.0, 8.0, 4.0)
CORNERS = [10, 20, 18, 20, 18, 24, 10, 24]
W, H = 48, 64


@dataclass
class Made:
    """A made-up folder and its truth, by the digest of each image's bytes."""

    root: Path
    truth: dict[str, tuple[int | None, str, str, Boxes]] = field(default_factory=dict)
    refused: str = ""  # what training and import say; the audit's verdict says it, too
    train: str = ""  # what only training says
    said: str = ""  # what every command says in its notes
    lost: int = 0  # images that every command counts as unreadable
    given: Path | None = None  # what is given to commands, if not root
    only_import: bool = False

    def image(
        self, name: str, label: int | None, split: str = "", *, group: str = "", boxes: Boxes = (), kind: str = ""
    ) -> Path:
        """Write an image that no other is like; `kind` is the suffix whose format it has."""
        number = len(self.truth)
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = radiograph(
            number + 1000 * (sum(map(ord, self.root.name)) % 89), fractured=bool(label), width=W, height=H
        )
        if kind == ".dcm":
            dicom(path, pixels.astype(np.uint16) * 16)
        else:
            suffix = kind or path.suffix.lower()
            plain = {".jfif": ".jpg", ".jpe": ".jpg"}.get(suffix, suffix)
            path.write_bytes(cv2.imencode(plain, pixels)[1].tobytes())
        self.truth[digest(path)] = (label, split, group or digest(path), boxes)
        return path

    def fill(self, pattern: str, splits: dict[str, str] | None = None, n: int = 3, boxes: bool = False) -> "Made":
        """Images of both classes in each split; `pattern` has {split}, {label} and {i}."""
        for folder, split in (splits or {"train": "train", "val": "val"}).items():
            for label, name in ((1, "Fractured"), (0, "Not Fractured")):
                for i in range(n):
                    where = pattern.format(split=folder, label=name, i=i, unit="abcdefgh"[i])
                    self.image(where, label, split, boxes=(BOX,) if boxes and label else ())
        return self

    def text(self, name: str, content: str | bytes = "x") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


LAYOUTS: dict[str, Callable[[Made], Made]] = {}


def layout(make: Callable[[Made], Made]) -> Callable[[Made], Made]:
    LAYOUTS[make.__name__] = make
    return make


ALL = {"train": "train", "val": "val", "test": "test"}
PLAIN = "{split}/{label}/{i}.png"


@layout
def splits_without_test(m: Made) -> Made:
    return m.fill(PLAIN)


@layout
def splits_with_test(m: Made) -> Made:
    return m.fill(PLAIN, ALL)


@layout
def no_splits(m: Made) -> Made:
    return m.fill("{label}/{i}.png", {"": ""}, 6)


@layout
def nested(m: Made) -> Made:
    return m.fill("set/" + PLAIN, ALL)


@layout
def nested_twice_without_splits(m: Made) -> Made:
    return m.fill("a/b/{label}/{i}.png", {"": ""}, 6)


@layout
def synonyms_of_splits(m: Made) -> Made:
    return m.fill(PLAIN, {"Training": "train", "VALID": "val", "Hold-Out": "test"})


@layout
def val_beside_valid(m: Made) -> Made:
    m.said = "val/, valid/ are all val, and were joined"
    return m.fill(PLAIN, {"train": "train", "val": "val", "valid": "val"})


@layout
def train_in_two_cases(m: Made) -> Made:
    m.said = "Train/, train/ are all train, and were joined"
    return m.fill(PLAIN, {"train": "train", "Train": "train", "val": "val"})


@layout
def three_names_of_test(m: Made) -> Made:
    m.said = "hold-out/, test/, testing/ are all test, and were joined"
    return m.fill(PLAIN, {**ALL, "testing": "test", "hold-out": "test"}, 2)


@layout
def classes_before_splits(m: Made) -> Made:
    return m.fill("{label}/{split}/{i}.png", ALL)


@layout
def regions_before_classes(m: Made) -> Made:
    return m.fill("{split}/wrist/{label}/{i}.png", ALL)


@layout
def folders_below_classes(m: Made) -> Made:
    return m.fill("{split}/{label}/{unit}/image.png")


@layout
def synonyms_of_classes(m: Made) -> Made:
    for i, (name, label) in enumerate({"POSITIVE": 1, "broken": 1, "normal": 0, "Non-Fractured": 0}.items()):
        for split in ("train", "val"):
            m.image(f"{split}/{name}/{i}.png", label, split)
    return m


@layout
def machine_folders(m: Made) -> Made:
    m.fill(PLAIN)
    shown = (m.root / "train" / "Fractured" / "0.png").read_bytes()
    for place in (".ipynb_checkpoints/0-checkpoint.png", ".Trash-1000/files/0.png", ".thumbnails/0.png"):
        m.text(f"train/Fractured/{place}", shown)
    for place in ("__MACOSX/train/Fractured/._0.png", "train/Fractured/@eaDir/0.png", "train/Fractured/._0.png"):
        m.text(place, shown)
    m.text("train/Fractured/Thumbs.db", shown)
    m.text("val/desktop.ini")
    m.text(".DS_Store")
    return m


@layout
def linked_class_folders(m: Made) -> Made:
    m.fill("pool/{split}/{label}/{i}.png")
    for split in ("train", "val"):
        for label in ("Fractured", "Not Fractured"):
            link = m.root / "set" / split / label
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(m.root / "pool" / split / label)
    m.given = m.root / "set"
    return m


@layout
def linked_loops(m: Made) -> Made:
    m.fill(PLAIN)
    (m.root / "train" / "Fractured" / "again").symlink_to(m.root / "train")
    (m.root / "up").symlink_to(m.root.parent)
    m.said = "2 links that lead nowhere, back or"
    return m


@layout
def an_image_linked_twice(m: Made) -> Made:
    m.fill(PLAIN)
    (m.root / "val" / "Fractured" / "again.png").symlink_to(m.root / "train" / "Fractured" / "0.png")
    m.said = "1 link that lead"
    return m


@layout
def broken_links_and_pipes(m: Made) -> Made:
    m.fill(PLAIN)
    (m.root / "train" / "Fractured" / "gone.png").symlink_to(m.root / "nowhere.png")
    os.mkfifo(m.root / "train" / "Fractured" / "pipe.png")
    m.said = "(train/Fractured/gone.png), 1 name that cannot be opened (train/Fractured/pipe.png)"
    return m


@layout
def many_suffixes(m: Made) -> Made:
    for split in ("train", "val"):
        for label, name in enumerate(("Normal", "Fracture")):
            for suffix in (".JPE", ".jfif", ".PNG", ".tif", ".BMP", ".webp", ".JpEg"):
                m.image(f"{split}/{name}/{suffix[1:].lower()}{suffix}", label, split)
    return m


@layout
def no_suffix_but_an_image(m: Made) -> Made:
    for split in ("train", "val"):
        for label, name in enumerate(("Normal", "Fracture")):
            for kind in (".jpg", ".png", ".tif", ".bmp", ".webp"):
                m.image(f"{split}/{name}/image_{kind[1:]}", label, split, kind=kind)
        m.text(f"{split}/Fracture/notes", "no image")
    m.said = "not taken: 2 files (2 without suffix)"
    return m


@layout
def dicom_by_uid(m: Made) -> Made:
    for split in ("train", "val"):
        for label, name in enumerate(("Normal", "Fracture")):
            for i in range(3):
                m.image(f"{split}/{name}/1.2.840.113619.2.55.{label}.{i}", label, split, kind=".dcm")
            m.image(f"{split}/{name}/CR0001.IMA", label, split, kind=".dcm")
    shutil.copy(m.root / "train" / "Normal" / "CR0001.IMA", m.root / "DICOMDIR")
    m.said = "not taken: 1 file (1 without suffix)"
    return m


@layout
def papers_among_images(m: Made) -> Made:
    m.fill(PLAIN)
    for name in ("report.pdf", "train/Fractured/a.pdf", "val/notes.txt"):
        m.text(name)
    m.said = "not taken: 3 files (2 .pdf, 1 .txt)"
    return m


@layout
def an_unlabelled_test(m: Made) -> Made:
    m.fill(PLAIN)
    for i in range(3):
        m.image(f"test/{i}.png", None, "test")
    m.said = "not taken: 3 images without a label (test/0.png ...)"
    return m


@layout
def loose_images(m: Made) -> Made:
    m.fill(PLAIN)
    m.image("cover.png", None)
    m.image("train/loose.png", None, "train")
    m.said = "not taken: 2 images without a label (cover.png ...)"
    return m


@layout
def a_misspelt_split(m: Made) -> Made:
    m.fill(PLAIN).fill(PLAIN, {"tets": ""}, 1)
    m.said = "not taken: 2 images in no split (tets/Fractured/0.png ...)"
    return m


@layout
def a_misspelt_class(m: Made) -> Made:
    m.fill(PLAIN).image("train/Fractred/0.png", None, "train")
    m.refused = "class folder 'Fractred' is not known"
    return m


@layout
def a_misspelt_class_in_test(m: Made) -> Made:
    m.fill(PLAIN)
    for i, name in enumerate(("Fractrued", "Nromal")):
        m.image(f"test/{name}/{i}.png", None, "test")
    m.refused = "class folder 'Fractrued' is not known"
    return m


@layout
def no_val(m: Made) -> Made:
    m.train = "has no val images; expected"
    return m.fill(PLAIN, {"train": "train", "test": "test"})


@layout
def names_that_are_not_text(m: Made) -> Made:
    m.fill(PLAIN)
    odd = os.fsdecode(os.fsencode(m.root / "train" / "Fractured") + b"/br\xfcche.png")
    shutil.copy(m.root / "train" / "Fractured" / "0.png", odd)
    m.said = "not taken: 1 name not in UTF-8"
    return m


@layout
def a_damaged_image(m: Made) -> Made:
    m.fill(PLAIN).text("train/Fractured/bad.png", "no image")
    m.lost = 1
    return m


def listed(m: Made, rows: list[dict[str, Any]], *, sep: str = ",", encoding: str = "utf-8") -> Made:
    pd.DataFrame(rows).to_csv(m.root / "manifest.csv", index=False, sep=sep, encoding=encoding)
    return m


def rows_for(
    m: Made, place: str = "img/{i}.png", n: int = 6, **columns: Callable[[int], object]
) -> list[dict[str, Any]]:
    rows = []
    for i in range(2 * n):
        split, label, group = ("train" if i < n else "val"), i % 2, f"p{i // 2}"
        file = place.format(i=i, split=split)
        m.image(file, label, split, group=group)
        row = {"file": file, "split": split, "label": label, "group": group, "width": W, "height": H}
        rows.append(row | {name: value(i) for name, value in columns.items()})
    return rows


@layout
def a_manifest(m: Made) -> Made:
    return listed(m, rows_for(m))


@layout
def a_manifest_in_a_folder(m: Made) -> Made:
    rows = rows_for(m, "set/img/{i}.png")
    for row in rows:
        row["file"] = row["file"].removeprefix("set/")
    listed(m, rows)
    (m.root / "manifest.csv").rename(m.root / "set" / "manifest.csv")
    return m


@layout
def a_manifest_in_many_spellings(m: Made) -> Made:
    spellings = ["./img/{}.png", "img//{}.png", "img\\{}.png", ".\\img\\{}.png", "img/./{}.png", "IMG/{}.PNG"]
    return listed(m, rows_for(m, file=lambda i: spellings[i % 6].format(i)))


@layout
def a_manifest_of_bare_names(m: Made) -> Made:
    return listed(m, rows_for(m, "deep/img/{i}.png", file=lambda i: f"{i}.png"))


@layout
def a_manifest_with_words(m: Made) -> Made:
    words = [("no", "Yes"), ("False", "True"), ("not fractured", "Fracture"), ("0.0", "1.0"), ("n", "y"), ("0", "1")]
    return listed(m, rows_for(m, label=lambda i: words[i // 2][i % 2]))


@layout
def a_manifest_with_other_splits(m: Made) -> Made:
    return listed(m, rows_for(m, split=lambda i: ("Train", "TRAINING")[i % 2] if i < 6 else ("valid", "dev")[i % 2]))


@layout
def a_manifest_with_odd_sizes(m: Made) -> Made:
    odd = {0: -5, 1: 0, 2: "1e300", 3: "64px", 4: "nan", 5: 12.5}
    m.said = "5 widths and heights in manifest.csv are no sizes"
    return listed(m, rows_for(m, width=lambda i: odd.get(i, W)))


@layout
def a_manifest_from_a_spreadsheet(m: Made) -> Made:
    return listed(m, rows_for(m), sep=";", encoding="utf-8-sig")


@layout
def a_manifest_and_strangers(m: Made) -> Made:
    rows = rows_for(m)
    m.image("img/extra.png", None)
    m.said = "1 image is not in manifest.csv and was left out: extra.png"
    return listed(m, [*rows, rows[0] | {"file": "img/gone.png", "group": "p99"}])


@layout
def an_image_listed_twice(m: Made) -> Made:
    rows = rows_for(m)
    m.refused = "./img//0.png is there twice (as img/0.png); expected one row an image"
    return listed(m, [*rows, rows[0] | {"file": "./img//0.png", "split": "val"}])


@layout
def an_image_listed_twice_in_two_cases(m: Made) -> Made:
    rows = rows_for(m)
    m.refused = "IMG/0.png is there twice (as img/0.png); expected one row an image"
    return listed(m, [*rows, rows[0] | {"file": "IMG/0.png", "split": "val"}])


@layout
def a_manifest_with_a_label_of_2(m: Made) -> Made:
    rows = rows_for(m)
    m.image("img/two.png", None, "train", group="q")
    m.refused = "label '2' is not known; expected 0, 1"
    return listed(m, [*rows, {"file": "img/two.png", "split": "train", "label": 2, "group": "q"}])


@layout
def a_patient_in_two_splits(m: Made) -> Made:
    m.train = "1 patient is in more than one split, such as shared; expected each in one"
    rows = rows_for(m)
    for i, split in ((90, "train"), (91, "val")):
        m.image(f"img/{i}.png", 1, "train", group="shared")  # as an import mends it
        rows.append({"file": f"img/{i}.png", "split": split, "label": 1, "group": "shared"})
    return listed(m, rows)


def fracatlas(m: Made, prefix: str = "") -> Made:
    rows, coco = [], {"images": [], "annotations": [], "categories": [{"id": 0, "name": "fractured"}]}
    for i in range(40):
        name, label = f"IMG{i:07d}.jpg", int(i % 3 == 0)
        kind = "Fractured" if label else "Non_fractured"
        m.image(f"{prefix}images/{kind}/{name}", label, group=f"run{i // 10}", boxes=(BOX,) if label else ())
        hand = int((i // 10) % 2 == 0)
        rows.append([name, hand, 0, 1 - hand, 0, 0, 0, 0, label, label, 1, 0, 0])
        if label:
            coco["images"].append({"id": i, "file_name": name, "width": W, "height": H})
            coco["annotations"].append({"image_id": i, "category_id": 0, "bbox": BOX, "segmentation": [CORNERS]})
    columns = "image_id hand leg hip shoulder mixed hardware multiscan fractured fracture_count frontal lateral oblique"
    m.text(f"{prefix}dataset.csv", pd.DataFrame(rows, columns=columns.split()).to_csv(index=False))
    m.text(f"{prefix}Annotations/COCO JSON/COCO_fracture_masks.json", json.dumps(coco))
    return m


@layout
def fracatlas_as_published(m: Made) -> Made:
    return fracatlas(m)


@layout
def fracatlas_in_a_folder(m: Made) -> Made:
    return fracatlas(m, "FracAtlas/")


@layout
def mura_as_published(m: Made) -> Made:
    for i in range(8):
        split, kind = (("valid", "val") if i % 4 >= 2 else ("train", "train")), ("positive" if i % 2 else "negative")
        for j in (1, 2):
            study = f"{split[0]}/XR_WRIST/patient{i:05d}/study1_{kind}/image{j}.png"
            m.image(f"MURA-v1.1/{study}", i % 2, split[1], group=f"p{i}")
    m.text("MURA-v1.1/train_labeled_studies.csv", "MURA-v1.1/train/XR_WRIST/patient00001/study1_positive/,1\n")
    m.text("MURA-v1.1/valid_image_paths.csv", "MURA-v1.1/valid/XR_WRIST/patient00002/study1_positive/image1.png\n")
    return m


def graz(m: Made, place: str, names: dict[str, str] | None = None, number: int = 3) -> Made:
    rows = []
    for i in range(24):
        stem, label = f"{i // 2:04d}_{i:010d}_01_WRI-L1_M011", int(i % 3 == 0)
        boxes = ((18.0, 12.0, 12.0, 8.0),) if label else ()
        m.image(place.format(part=1 + i % 4, stem=stem), label, group=f"p{i // 2}", boxes=boxes)
        rows.append([stem, i // 2, 11.5, "L", 1 + i % 2, 1.0 if label else None])
        lines = "8 0.1 0.1 0.1 0.1\n" + (f"{number} 0.5 0.25 0.25 0.125\n" if label else "")
        m.text(f"folder_structure/yolov5/labels/{stem}.txt", lines)
    columns = ["filestem", "patient_id", "age", "laterality", "projection", "fracture_visible"]
    m.text("dataset.csv", pd.DataFrame(rows, columns=columns).to_csv(index=False))
    for file, content in (names or {}).items():
        m.text(f"folder_structure/yolov5/{file}", content)
    return m


@layout
def graz_in_parts(m: Made) -> Made:
    return graz(m, "images_part{part}/{stem}.png")


@layout
def graz_in_images(m: Made) -> Made:
    return graz(m, "images/{stem}.png")


@layout
def graz_with_a_list_of_names(m: Made) -> Made:
    return graz(m, "images/{stem}.png", {"meta.yaml": "nc: 9\nnames: ['text',\n  'Fracture']  # two\n"}, 1)


@layout
def graz_with_a_mapping_of_names(m: Made) -> Made:
    return graz(m, "images/{stem}.png", {"dataset.yml": "names:\n  0: metal\n  5: FRACTURE\n  8: text\nnc: 9\n"}, 5)


@layout
def graz_with_names_after_dashes(m: Made) -> Made:
    return graz(m, "images/{stem}.png", {"data.yaml": "nc: 2\nnames:\n- metal\n- 'fracture'\npath: x\n"}, 1)


@layout
def graz_with_classes_txt(m: Made) -> Made:
    return graz(m, "images/{stem}.png", {"classes.txt": "\ufeffmetal\r\ntext\r\nfracture\r\n"}, 2)


ROW = f"0 {14 / W} {22 / H} {8 / W} {4 / H}"  # BOX, as YOLO has it
SHARES = [v / s for v, s in zip(CORNERS, [W, H] * 4, strict=True)]


def yolo(m: Made, images: str, labels: str, rows: tuple[str, ...], splits: dict[str, str] | None = None) -> Made:
    for folder, split in (splits or {"train": "train", "valid": "val", "test": "test"}).items():
        for i in range(8):
            label = i % 2
            m.image(images.format(split=folder, i=i), label, split, boxes=(BOX,) if label else ())
            text = rows[i // 2 % len(rows)] if label else ""
            m.text(labels.format(split=folder, i=i), text)
    return m


@layout
def yolo_of_roboflow(m: Made) -> Made:
    m.text("data.yaml", "train: ../train/images\nnc: 2\nnames: ['fracture', 'metal']\n")
    m.said = "YOLO labels: classes taken as fractures: fracture; not taken: metal"
    return yolo(m, "{split}/images/{i}.png", "{split}/labels/{i}.txt", (f"{ROW}\n1 0.5 0.5 0.1 0.1\n",))


@layout
def yolo_with_polygons_and_confidence(m: Made) -> Made:
    m.text("classes.txt", "Bone Fracture\n")
    polygon = "0 " + " ".join(map(str, SHARES))
    rows = (f"\ufeff{ROW}\r\n", f"{ROW} 0.87\r\n", f"{polygon}\n", f"{polygon} 0.5\n")
    return yolo(m, "images/{split}/{i}.png", "labels/{split}/{i}.txt", rows)


@layout
def yolo_beside_images(m: Made) -> Made:
    m.text("train/classes.txt", "fracture\n")
    m.text("val/classes.txt", "fracture\n")
    return yolo(m, "{split}/{i}.png", "{split}/{i}.txt", (ROW,), {"train": "train", "val": "val"})


def coco_for(m: Made, names: Callable[[str], str], annotate: Callable[[int], list[dict[str, Any]]]) -> dict[str, Any]:
    """Images in class folders, those that are fractured annotated."""
    coco: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "fracture"}]}
    for split in ("train", "val"):
        for i in range(8):
            label = i % 2
            file = f"{split}/{'Fractured' if label else 'Normal'}/{split} {i}.png"
            m.image(file, label, split, boxes=(BOX,) if label else ())
            number = len(coco["images"])
            coco["images"].append({"id": number, "file_name": names(file), "width": W, "height": H})
            for one in annotate(i) if label else []:
                coco["annotations"].append({"image_id": number, "category_id": 1, **one})
    return coco


def whole(i: int) -> list[dict[str, Any]]:
    return [{"bbox": list(BOX), "segmentation": [CORNERS]}]


SPELLINGS: dict[str, Callable[[str], str]] = {
    "bare": lambda f: f.rpartition("/")[2],
    "with_backslashes": lambda f: f.replace("/", "\\"),
    "from_here": lambda f: f"./{f}",
    "absolute": lambda f: f"/data/me/set/{f}",
    "of_windows": lambda f: "C:\\data\\" + f.replace("/", "\\"),
    "encoded": lambda f: f.replace(" ", "%20"),
    "from_above": lambda f: f"../images/{f.rpartition('/')[2]}",
}


def spelt(name: str) -> Callable[[Made], Made]:
    def make(m: Made) -> Made:
        m.text("annotations.json", json.dumps(coco_for(m, SPELLINGS[name], whole)))
        return m

    make.__name__ = f"coco_{name}"
    return make


for _name in SPELLINGS:
    layout(spelt(_name))


@layout
def coco_with_other_categories(m: Made) -> Made:
    other = {"bbox": [1, 1, 5, 5], "category_id": 2}
    coco = coco_for(m, str, lambda i: [*whole(i), other])
    coco["categories"] += [{"id": 2, "name": "metal"}, {"id": 3, "name": "text"}]
    coco["annotations"] += [{**other, "image_id": 0}, {**other, "image_id": 2, "category_id": 3}]
    m.text("annotations.json", json.dumps(coco))
    m.said = "annotations.json: categories taken as fractures: fracture; not taken: metal (9), text (1)"
    return m


@layout
def coco_with_odd_shapes(m: Made) -> Made:
    mask = np.zeros((H, W), np.uint8)
    mask[20:25, 10:19] = 1
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, len(flat)]).tolist()
    shapes = {
        1: [{"bbox": [0, 0, 0, 0], "segmentation": {"counts": counts, "size": [H, W]}}],
        3: [{"bbox": list(BOX), "segmentation": []}, {"bbox": [5, 5, 9, 0], "segmentation": [[]]}],
        5: [{"bbox": list(BOX), "segmentation": [[]]}, {"bbox": [10**400, 0, 1, 1]}],
        7: [{"bbox": list(BOX), "segmentation": {"counts": "???", "size": [H, W]}}],
    }
    m.text("annotations.json", json.dumps(coco_for(m, str, lambda i: shapes[i])))
    m.said = "annotations in annotations.json are faulty"
    return m


@layout
def coco_with_names_that_fit_two(m: Made) -> Made:
    m.fill(PLAIN)
    images = [{"id": 1, "file_name": "0.png", "width": W, "height": H}]
    m.text("annotations.json", json.dumps({"images": images, "annotations": [{"image_id": 1, "bbox": BOX}]}))
    m.said = "1 name in annotations.json fits several images, and the outlines were not taken, such as 0.png"
    return m


@layout
def coco_of_roboflow(m: Made) -> Made:
    for folder, split in {"train": "train", "valid": "val", "test": "test"}.items():
        coco: dict[str, Any] = {"images": [], "annotations": []}
        coco["categories"] = [{"id": 0, "name": "xrays"}, {"id": 1, "name": "fracture"}]
        for i in range(6):
            m.image(f"{folder}/{i}.png", i % 2, split, boxes=(BOX,) if i % 2 else ())
            coco["images"].append({"id": i, "file_name": f"{i}.png", "width": W, "height": H})
            if i % 2:
                coco["annotations"].append({"image_id": i, "category_id": 1, "bbox": BOX, "segmentation": []})
        m.text(f"{folder}/_annotations.coco.json", json.dumps(coco))
    return m


@layout
def patients_as_in_p0003_1(m: Made) -> Made:
    for i in range(24):
        split, kind = ("train" if i < 12 else "val"), ("Fractured" if i % 2 else "Normal")
        m.image(f"{split}/{kind}/P{i // 3:04d}_{i % 3}.png", i % 2, split, group=f"p{i // 3}")
    m.said = "patients are guessed from names like P00"
    return m


@layout
def patients_as_in_patient12_3(m: Made) -> Made:
    for i in range(24):
        m.image(f"{'Fractured' if i % 2 else 'Normal'}/patient{i // 3}_{i % 3}.png", i % 2, group=f"p{i // 3}")
    m.said = "patients are guessed from names like patient"
    return m


@layout
def patients_as_in_0001_left_2(m: Made) -> Made:
    for i in range(24):
        name = f"{i // 3:04d}_left_{i % 3}.png"
        m.image(f"{'Fractured' if i // 3 % 2 else 'Normal'}/{name}", i // 3 % 2, group=f"p{i // 3}")
    m.said = "patients are guessed from names like 000"
    return m


@layout
def numbers_that_are_no_patients(m: Made) -> Made:
    m.said = "no patient is known"
    return m.fill("{split}/{label}/P{i:03d}.png", n=5)


@layout
def a_zip(m: Made) -> Made:
    m.fill("set/" + PLAIN, ALL)
    archive = shutil.make_archive(str(m.root.parent / f"{m.root.name}-packed"), "zip", m.root)
    m.given, m.only_import = Path(archive), True
    return m


# What each command sees.


def seen(rows: Iterator[tuple[Path, int | None, str, str, list[tuple[float, ...]]]]) -> dict[str, Row]:
    found = [
        (digest(path), label, split, group, tuple(sorted(tuple(round(float(v), 1) for v in box) for box in boxes)))
        for path, label, split, group, boxes in rows
    ]
    members: dict[str, set[str]] = {}
    for name, _, _, group, _ in found:
        members.setdefault(group, set()).add(name)
    return {name: (label, split, frozenset(members[group]), boxes) for name, label, split, group, boxes in found}


def truth(m: Made) -> dict[str, Row]:
    members: dict[str, set[str]] = {}
    for name, (_, _, group, _) in m.truth.items():
        members.setdefault(group, set()).add(name)
    return {
        name: (label, split, frozenset(members[group]), boxes) for name, (label, split, group, boxes) in m.truth.items()
    }


def of_audit(folder: Path) -> tuple[dict[str, Row], str]:
    """As `audit_folder` reads it, less what cannot be read; it looks at the pixels later."""
    source = read_source_folder(folder)
    rows = (
        (
            r.path,
            None if pd.isna(r.label) else int(r.label),
            r.split,
            r.group or r.file,
            [a.bbox for a in source.annotations.get(r.file, [])],
        )
        for r in source.images.itertuples()
        if is_readable(r.path)
    )
    return seen(rows), "\n".join([*source.notes, *source.errors])


def is_readable(path: Path) -> bool:
    try:
        read_grey(path)
    except InputError:
        return False
    return True


def of_files(folder: Path, frame: pd.DataFrame) -> dict[str, Row]:
    outlines = load_annotations(folder)
    return seen(
        (folder / r.file, int(r.label), r.split, r.group, [a.bbox for a in outlines.get(r.file, [])])
        for r in frame.itertuples()
    )


def of_import(folder: Path, out: Path) -> tuple[dict[str, Row], str]:
    report = import_dataset(folder, out, progress=False)
    return of_files(out, load_manifest(out)), "\n".join(report.notes)


def of_train(folder: Path) -> tuple[dict[str, Row], str]:
    frame = training_frame(folder)
    outlines = load_annotations(folder)
    assert set(frame["file"]) & set(outlines) or not outlines or "fit several" in str(frame.attrs)
    return of_files(folder, frame), "\n".join(frame.attrs["notes"])


def of_predict(folder: Path, model: Path) -> dict[str, Row]:
    frame, sources = predict_paths([folder], model, progress=False), collect([folder])
    assert list(frame["file"]) == [s.name for s in sources]
    known = "label" in frame
    rows = []
    for source, row in zip(sources, frame.to_dict("records"), strict=True):
        if row["reason"]:
            continue
        label = None if not known or pd.isna(row["label"]) else int(row["label"])
        rows.append((source.path, label, row.get("split", ""), row["group"], [a.bbox for a in source.annotations]))
    return seen(iter(rows))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "model.pt")


def tiny_model(path: Path) -> Path:
    network = build_model("small_cnn", seed=0).eval()
    save_classifier(Classifier(network, {"name": "small_cnn"}, size=32, mean=0.5, std=0.2), path)
    return path


def mended(rows: dict[str, Row], only: set[str]) -> dict[str, Row]:
    return {n: (label, s, g & only, b) for n, (label, s, g, b) in rows.items() if n in only}


@pytest.mark.parametrize("name", LAYOUTS)
def test_all_commands_see_the_same(name: str, tmp_path: Path, model: Path) -> None:
    (tmp_path / name).mkdir()
    m = LAYOUTS[name](Made(tmp_path / name))
    folder, expected = m.given or m.root, truth(m)
    split = any(row[1] for row in expected.values())
    counted = {n for n, (label, s, _, _) in expected.items() if label is not None and (s or not split)}
    if not m.only_import:
        audited, said = of_audit(folder)
        unsplit = {n: (row[0], "", row[2], row[3]) for n, row in audited.items()}
        if name == "a_patient_in_two_splits":
            assert unsplit == {n: (row[0], "", row[2], row[3]) for n, row in expected.items()}
            expected_now = audited
        else:
            assert audited == expected
            expected_now = expected
        assert m.said in said and m.refused in said
        assert of_predict(folder, model) == expected_now
        if m.refused or m.train or not split:
            message = m.refused or m.train or "no folder called train or val"
            with pytest.raises(InputError) as error:
                of_train(folder)
            assert message in str(error.value) and "\n" not in str(error.value)
        else:
            trained, said = of_train(folder)
            assert trained == mended(expected, counted)
            assert m.said in said or "annotations.json" in m.said or "YOLO" in m.said
    if m.refused:
        with pytest.raises(InputError) as error:
            of_import(folder, tmp_path / "out")
        assert m.refused in str(error.value)
        return
    imported, said = of_import(folder, tmp_path / "out")
    if not split:
        assert {row[1] for row in imported.values()} <= {"train", "val", "test"}
        imported = {n: (label, "", g, b) for n, (label, _, g, b) in imported.items()}
    assert imported == mended(expected, counted)
    assert m.said in said


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("a_misspelt_class_in_test", "cannot be used as it is: "),
        ("a_patient_in_two_splits", "1 patient has images in more than one"),
        ("an_image_listed_twice", "is there twice"),
        ("mura_as_published", ""),
    ],
)
def test_the_audit_is_of_what_was_read(name: str, verdict: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    m = LAYOUTS[name](Made(tmp_path / name))
    audit, source = audit_folder(m.root), read_source_folder(m.root)
    assert verdict in audit.verdict and m.refused in audit.verdict and (not verdict or not audit.clean)
    columns = ["file", "split", "label", "group"]
    expected = source.images[columns].assign(file=source.images["file"].map(printable))
    pd.testing.assert_frame_equal(audit.images[columns], expected)


def table(folder: Path) -> pd.DataFrame:
    """Images (fractured+not+unlabelled?), splits, patients and outlines of each layout, as each command sees them."""
    rows = []
    model = tiny_model(folder / "model.pt")

    def told(rows: dict[str, Row]) -> str:
        labels = [r[0] for r in rows.values()]
        splits = {s: sum(r[1] == s for r in rows.values()) for s in sorted({r[1] for r in rows.values()})}
        shown = "/".join(f"{n} {s or 'none'}" for s, n in splits.items())
        counts = f"{len(rows)}: {labels.count(1)}+{labels.count(0)}+{labels.count(None)}?"
        patients, outlines = len({r[2] for r in rows.values()}), sum(len(r[3]) for r in rows.values())
        return f"{counts}, {shown}, {patients} patients, {outlines} outlines"

    for name, make in LAYOUTS.items():
        (folder / name).mkdir()
        m = make(Made(folder / name))
        given = m.given or m.root
        row = {"layout": name, "truth": told(truth(m))}
        for command, look in {
            "audit": lambda: of_audit(given)[0],  # noqa: B023
            "import": lambda: of_import(given, folder / f"{name}-out")[0],  # noqa: B023
            "train": lambda: of_train(given)[0],  # noqa: B023
            "predict": lambda: of_predict(given, model),  # noqa: B023
        }.items():
            try:
                row[command] = told(look())
            except InputError as error:
                row[command] = "refused: " + str(error).replace(str(folder), "")[:60]
        rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        for record in table(Path(temporary)).to_dict("records"):
            print(record.pop("layout"))
            for who, what in record.items():
                print(f"    {who:8} {what}")


def test_patients_that_names_tell_stay_known_where_no_label_is(tmp_path: Path, model: Path) -> None:
    for patient in range(1, 5):
        for view in (1, 2):
            cv2.imwrite(str(tmp_path / f"P{patient:04d}_{view}.png"), radiograph(10 * patient + view))
    frame = predict_paths([tmp_path], model, progress=False)
    assert "label" not in frame and list(frame["group"]) == [f"p{i:04d}" for i in (1, 1, 2, 2, 3, 3, 4, 4)]
    for path in tmp_path.glob("*_2.png"):
        path.unlink()
    assert "group" not in predict_paths([tmp_path], model, progress=False)


def test_two_sets_may_have_files_of_one_name(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for hospital in ("A", "B"):
        (tmp_path / hospital / "Fractured").mkdir(parents=True)
        for i in (1, 2, 3):
            cv2.imwrite(str(tmp_path / hospital / "Fractured" / f"{i}.png"), radiograph(i))
    frame = predict_paths([tmp_path / "A", tmp_path / "B"], model, progress=False)
    assert frame["group"].is_unique and "guessed" not in capsys.readouterr().out


def test_patients_that_were_guessed_are_said(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("0930", "1015", "1100"):
        for day in range(1, 5):
            cv2.imwrite(str(tmp_path / f"2024010{day}_{name}.png"), radiograph(day))
    predict_paths([tmp_path], model, progress=False)
    assert "note: patients (column group) are guessed from the names of 12 files" in capsys.readouterr().out
