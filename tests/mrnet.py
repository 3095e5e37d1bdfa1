"""A made-up tree as MRNet and KneeMRI are published, with smooth random volumes for knees."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter


def volume(seed: int, *, slices: int = 12, size: int = 64) -> NDArray[np.uint8]:
    """A smooth random volume with structure of several sizes."""
    rng = np.random.default_rng(seed)
    shape = (slices, size, size)
    parts = [weight * _unit(gaussian_filter(rng.normal(size=shape), (0.7, s, s))) for weight, s in ((1, 2), (1, 5))]
    return np.clip(128 + 40 * sum(parts), 0, 255).astype(np.uint8)


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x / x.std()


def make_mrnet(folder: Path, *, train: int = 40, valid: int = 8) -> Path:
    """MRNet-v1.0/train/sagittal/0000.npy ..., train-acl.csv, valid/..., valid-acl.csv, as published."""
    root = folder / "MRNet-v1.0"
    for part, exams in (("train", range(train)), ("valid", range(1130, 1130 + valid))):
        for plane in ("axial", "coronal", "sagittal"):
            (root / part / plane).mkdir(parents=True)
            for exam in exams:
                array = (
                    volume(exam, slices=8 + exam % 3, size=48) if plane == "sagittal" else np.ones((4, 16, 16), "u1")
                )
                np.save(root / part / plane / f"{exam:04d}.npy", array)
        for what in ("abnormal", "acl", "meniscus"):
            lines = [f"{exam:04d},{int(what == 'abnormal' or exam % 4 == 0)}\n" for exam in exams]
            (root / f"{part}-{what}.csv").write_text("".join(lines))
    return root


def make_kneemri(folder: Path, *, exams: int = 12) -> Path:
    """metadata.csv and vol01/NUMBER-SERIES.pck, of which each is a pickle."""
    lines = ["examId,seriesNo,aclDiagnosis,kneeLR,roiX,roiY,roiZ,roiHeight,roiWidth,roiDepth,volumeFilename\n"]
    for exam in range(exams):
        lines.append(f"{400000 + exam},5,{exam % 3},{exam % 2},1,1,1,9,9,3,{400000 + exam}-5.pck\n")
        path = folder / f"vol{exam % 2 + 1:02d}" / f"{400000 + exam}-5.pck"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")  # would run a program if anybody opened it
    (folder / "metadata.csv").write_text("".join(lines))
    return folder
