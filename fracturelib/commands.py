"""What the commands do, as functions: from a folder to a run, from films to scores, from films to pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from fracturelib._decode import decode, noted
from fracturelib._files import InputError, atomic_path
from fracturelib.checkpoint import Classifier, describe, load_classifier, save_classifier
from fracturelib.data import (
    IMAGE_SUFFIXES,
    fingerprint,
    fracture_mask,
    load_annotations,
    load_manifest,
    require_both_classes,
)
from fracturelib.explain_page import require_own_index, write_index
from fracturelib.finetune import fit_taught
from fracturelib.gradcam import GradCAM, normalise, overlay, upsample
from fracturelib.images import load_images, mask_to_square, square_geometry, to_square
from fracturelib.models import require_model, stages
from fracturelib.predictions import read_predictions, write_predictions
from fracturelib.ranks import Ranks
from fracturelib.recipe import Recipe, TransferRecipe
from fracturelib.taught import TaughtEnsemble, TaughtLite0, mean_of_weights
from fracturelib.train import Films, calibrated, calibrated_twice, fit

MODEL_FILE = "model.pt"
PREDICTIONS_FILE = "predictions.csv"
HISTORY_FILE = "history.csv"


@dataclass(frozen=True)
class Run:
    """A finished training: where it is, the classifier, one row an epoch, and the scores of val and test."""

    folder: Path
    classifier: Classifier
    history: pd.DataFrame
    predictions: pd.DataFrame


def open_run(out: Path) -> Run:
    """Read a finished run from its folder."""
    return Run(
        folder=out,
        classifier=load_classifier(out / MODEL_FILE),
        history=pd.read_csv(out / HISTORY_FILE),
        predictions=read_predictions(out / PREDICTIONS_FILE),
    )


def training_frame(folder: Path) -> pd.DataFrame:
    """The manifest of a folder that can be trained on.

    Raises
    ------
    InputError
        If there is no train or no val split, or one of them lacks a class.
    """
    frame = load_manifest(folder)
    for split in ("train", "val"):
        part = frame[frame["split"] == split]
        if part.empty:
            raise InputError(f"{folder}: has no {split} films; expected {folder / split}/{{Fractured,Not Fractured}}")
        require_both_classes(part, f"{folder}/{split}")
    return frame


def train_folder(
    folder: Path,
    out: Path,
    recipe: Recipe | TransferRecipe,
    *,
    start: Path | None = None,
    attribution: str = "",
    ranks: Ranks | None = None,
    progress: bool = True,
) -> Run:
    """Train on `folder`, and leave model.pt, history.csv and predictions.csv (val and test) in `out`.

    A run that was interrupted goes on. `start` is a checkpoint of the same network, whose weights are begun with; its
    films may have had another size. `attribution` says whose data these are, and is kept in the checkpoint. Of several
    `ranks` that train together, the first one writes.

    Raises
    ------
    InputError
        If the folder lacks what training needs, `start` is of another network, or `out` belongs to another training.
    """
    ranks = ranks or Ranks()
    require_model(recipe.architecture)
    frame = training_frame(folder)
    begun = None if start is None else load_start(start, recipe)
    if ranks.first:
        print_unreadable(frame)
    else:
        ranks.wait()  # the first decodes the films, and the others find them in the cache
    images = {
        split: load_images(folder, list(part["file"]), size=recipe.size, progress=progress and ranks.first)
        for split, part in frame.groupby("split")
    }
    if ranks.first:
        ranks.wait()
    films = {
        split: Films(images[split], np.array(frame.loc[frame["split"] == split, "label"], np.int64)) for split in images
    }
    if ranks.first:
        out.mkdir(parents=True, exist_ok=True)
    shared: dict[str, Any] = {"out": out, "ranks": ranks, "fingerprint": fingerprint(frame), "progress": progress}
    if isinstance(recipe, TransferRecipe):
        masks = outlines(folder, frame, recipe.size)
        network = begun.model if begun is not None and isinstance(begun.model, TaughtLite0) else None
        classifier, history = fit_taught(films["train"], films["val"], *masks, recipe, model=network, **shared)
    else:
        weights = None if begun is None else begun.model.state_dict()
        classifier, history = fit(films["train"], films["val"], recipe, initial=weights, **shared)
    if begun is not None:
        classifier.extra["start"] = {"recipe": begun.extra.get("recipe", {}), "data": begun.fingerprint}
        attribution = attribution or begun.extra.get("attribution", "")
    if attribution:
        classifier.extra["attribution"] = attribution
    if ranks.first:
        classifier = calibrated_twice(classifier, films["val"])
    predictions = pd.concat(
        [
            scored(classifier, frame[frame["split"] == split].reset_index(drop=True), images[split])
            for split in ("val", "test")
            if split in images
        ],
        ignore_index=True,
    )
    if ranks.first:
        write_predictions(predictions, out / PREDICTIONS_FILE)
        with atomic_path(out / HISTORY_FILE) as temporary:
            history.to_csv(temporary, index=False)
        with atomic_path(out / "recipe.json") as temporary:
            values = {"recipe": asdict(recipe), "model": describe(classifier)}
            temporary.write_text(json.dumps(values, indent=2) + "\n")
        save_classifier(classifier, out / MODEL_FILE)
    return Run(out, classifier, history, predictions)


def load_start(path: Path, recipe: Recipe | TransferRecipe) -> Classifier:
    """The checkpoint that a training begins with; of an ensemble, its first member.

    Raises
    ------
    InputError
        If it cannot be read, or is of another network than the recipe's.
    """
    begun = load_classifier(path)
    if isinstance(begun.model, TaughtEnsemble) and recipe.architecture == TransferRecipe.architecture:
        learnt = {"recipe": begun.extra.get("members", [{}])[0]}
        network = begun.model.member(0)
        begun = replace(begun, model=network, architecture={"name": recipe.architecture}, extra=begun.extra | learnt)
    if begun.architecture != {"name": recipe.architecture}:
        raise InputError(f"{path}: is {begun.architecture}; expected {recipe.architecture}, which is to be trained")
    return begun


def join_runs(
    folder: Path,
    models: Sequence[Path],
    out: Path,
    *,
    weights: bool = False,
    maps: int | None = None,
    progress: bool = True,
) -> Run:
    """Make one network of several taught ones that were trained on `folder`, calibrate it on val, leave it in `out`.

    With the means of their outputs (a deep ensemble, whose weights are stored as float16, and rounded before anything
    is measured), or, if `weights`, with the means of their weights (`mean_of_weights`), which costs no more than one of
    them. The map is the mean of those of the first `maps` networks, of all if not given. It leaves model.pt and
    predictions.csv (val and test), as `train_folder` does.

    Raises
    ------
    InputError
        If there are fewer than two, one of them is of another kind, size or data set, weights are to be averaged that
        did not begin alike, or `maps` is not between 1 and their number.
    """
    if len(models) < 2:
        raise InputError(f"{len(models)} model; expected two or more to make one network of")
    if maps is not None and (weights or not 1 <= maps <= len(models)):
        raise InputError(f"maps is {maps}; expected 1 to {len(models)}, and none where weights are averaged")
    frame = training_frame(folder)
    members = [load_classifier(path) for path in models]
    first, data = members[0], fingerprint(frame)
    for path, member in zip(models, members, strict=True):
        if not isinstance(member.model, TaughtLite0) or member.architecture != first.architecture:
            raise InputError(f"{path}: is {member.architecture}; expected networks of one kind that are taught where")
        if (member.size, member.mean, member.std) != (first.size, first.mean, first.std):
            raise InputError(f"{path}: reads films of {member.size} pixels; expected {first.size}, as {models[0]}")
        if member.fingerprint != data:
            raise InputError(f"{path}: was trained on other data than {folder}; expected the same films and splits")
        begun, seed = (m.extra.get("recipe", {}).get("seed") for m in (first, member))
        if weights and begun != seed:
            raise InputError(
                f"{path}: was begun with seed {seed}; expected {begun}, as {models[0]}, to average weights"
            )
    networks = [m.model for m in members if isinstance(m.model, TaughtLite0)]
    network: TaughtLite0 | TaughtEnsemble
    network = mean_of_weights(networks) if weights else TaughtEnsemble.of(networks, maps=maps).half().float()
    network = network.to(memory_format=torch.channels_last).eval()
    parts = {split: frame[frame["split"] == split].reset_index(drop=True) for split in ("val", "test")}
    images = {
        split: load_images(folder, list(part["file"]), size=first.size, progress=progress)
        for split, part in parts.items()
        if len(part)
    }
    val = Films(images["val"], np.array(parts["val"]["label"], np.int64))
    recipe = TransferRecipe(size=first.size)
    classifier = calibrated(network, recipe, val, mean=first.mean, std=first.std, fingerprint=data)
    options = {k: v for k, v in first.architecture.items() if k != "name"}
    extra = {"members": [m.extra.get("recipe", {}) for m in members]}
    if "attribution" in first.extra:
        extra["attribution"] = first.extra["attribution"]
    architecture = first.architecture
    if isinstance(network, TaughtEnsemble):
        own = {"members": len(members), "shared": network.shared, "maps": network.maps}
        architecture = {"name": "taught_ensemble", **own, **options}
    classifier = calibrated_twice(replace(classifier, architecture=architecture, extra=extra), val)
    scores = [scored(classifier, parts[split], images[split]) for split in images]
    predictions = pd.concat(scores, ignore_index=True)
    write_predictions(predictions, out / PREDICTIONS_FILE)
    save_classifier(classifier, out / MODEL_FILE, half=not weights)
    return Run(out, classifier, pd.DataFrame(), predictions)


def outlines(folder: Path, frame: pd.DataFrame, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the films of train and of val: two (n, size, size) uint8 of 0 and 1.

    Raises
    ------
    InputError
        If the folder has no annotations.
    """
    annotations = load_annotations(folder)
    if not annotations:
        raise InputError(f"{folder}: has no annotations.json; expected outlines of fractures to teach where")
    found = []
    for split in ("train", "val"):
        part = frame[frame["split"] == split]
        masks = np.zeros((len(part), size, size), np.uint8)
        for i, row in enumerate(part.to_dict("records")):
            if row["file"] in annotations:
                mask = fracture_mask(annotations[row["file"]], width=row["width"], height=row["height"])
                masks[i] = mask_to_square(mask, size)
        found.append(masks)
    return found[0], found[1]


def scored(classifier: Classifier, frame: pd.DataFrame, images: np.ndarray) -> pd.DataFrame:
    """The manifest's rows with their scores: columns file, label, group, score, then the rest."""
    first = ["file", "label", "group"]
    rest = [c for c in frame.columns if c not in first]
    result = frame[first].assign(score=classifier.scores(images))
    return pd.concat([result, frame[rest]], axis=1)


def print_unreadable(frame: pd.DataFrame) -> None:
    """Say what was left out."""
    for file, reason in frame.attrs.get("unreadable", []):
        print(f"left out: {file}: {reason}")


@dataclass(frozen=True)
class Source:
    """A film to look at: where it is, and what it is called in results."""

    path: Path
    name: str
    folder: Path | None = None


def collect(paths: Sequence[Path]) -> list[Source]:
    """The films of files and folders, folders searched to the bottom, in the order of their names.

    Raises
    ------
    InputError
        If a path does not exist, a folder has no image, or two films would have one name.
    """
    sources: list[Source] = []
    for path in paths:
        if path.is_dir():
            found = sorted(
                p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file() and p.name[0] != "."
            )
            if not found:
                raise InputError(f"{path}: has no image; expected files such as .jpg, .png or .dcm")
            sources += [Source(p, p.relative_to(path).as_posix(), path) for p in found]
        elif path.is_file():
            sources.append(Source(path, path.name))
        else:
            raise InputError(f"{path}: no such file or folder; expected films")
    names = pd.Series([s.name for s in sources])
    if names.duplicated().any():
        raise InputError(f"{names[names.duplicated()].iloc[0]}: given twice; expected films of different names")
    return sources


def predict_paths(
    paths: Sequence[Path], model: Path, *, looks: int = 1, chunk: int = 64, progress: bool = True
) -> pd.DataFrame:
    """Score films, with one look at each or with two (`Classifier.looking_twice`).

    Returns
    -------
    DataFrame
        file (relative to the folder that was given), score (P(Fractured), 0..1), decision ("Fractured" or "Not
        Fractured" at the checkpoint's threshold), reason (why a film has no score, else empty); and label, group and
        split where a folder says them.

    Raises
    ------
    InputError
        If a path or the checkpoint is missing or not what it should be, two films would have one name, `looks` is
        neither 1 nor 2, or the checkpoint was not calibrated for two.
    """
    classifier = load_classifier(model)
    if looks not in (1, 2):
        raise InputError(f"looks is {looks}; expected 1 or 2")
    if looks == 2:
        try:
            classifier = classifier.looking_twice()
        except InputError as error:
            raise InputError(f"{model}: {error}") from None
    sources = collect(paths)
    rows: list[dict[str, object]] = []
    notes: dict[str, tuple[str, ...]] = {}
    bar = tqdm(total=len(sources), desc="predicting", unit="film", disable=not progress)
    for start in range(0, len(sources), chunk):
        squares, good = [], []
        for source in sources[start : start + chunk]:
            row: dict[str, object] = {"file": source.name, "score": np.nan, "decision": "", "reason": ""}
            rows.append(row)
            try:
                seen = decode(source.path)
                squares.append(to_square(seen.grey, classifier.size))
                notes[source.name] = seen.notes
                good.append(row)
            except InputError as error:
                row["reason"] = str(error)
        if good:
            scores = classifier.scores(np.stack(squares))
            for row, score, decision in zip(good, scores, classifier.decide(scores), strict=True):
                row.update(score=score, decision=decision)
        bar.update(len(sources[start : start + chunk]))
    bar.close()
    print_notes(notes)
    return with_known_labels(pd.DataFrame(rows), paths)


def with_known_labels(scores: pd.DataFrame, paths: Sequence[Path]) -> pd.DataFrame:
    """Add label, group and split where a single folder was given that has them."""
    folder = paths[0]
    labelled = folder.is_dir() and ((folder / "manifest.csv").is_file() or (folder / "train").is_dir())
    if len(paths) != 1 or not labelled:
        return scores
    known = load_manifest(folder)[["file", "label", "group", "split"]]
    merged = scores.merge(known, on="file", how="left")
    return merged.astype({"label": "Int64"})


def explain_paths(
    paths: Sequence[Path], model: Path, out: Path, *, layer: str | None = None, progress: bool = True
) -> pd.DataFrame:
    """For each film, leave film, heat map and overlay side by side in `out` as a PNG of the same name; and index.html.

    Where the film's folder has annotations, the fracture is outlined.

    Returns
    -------
    DataFrame
        As `predict_paths`, with the picture's name in the column picture.
    """
    # Here, since all that draws takes a second to load, and scoring does not need it.
    from fracturelib.plots import triptych

    classifier = load_classifier(model)
    layers = stages(classifier.model)
    name = layer or list(layers)[-1]
    if name not in layers:
        raise InputError(f"layer is {name!r}; expected one of {', '.join(layers)}")
    sources = collect(paths)
    require_own_index(out)
    annotations = {f: load_annotations(f) for f in {s.folder for s in sources if s.folder is not None}}
    rows = []
    notes: dict[str, tuple[str, ...]] = {}
    with GradCAM(classifier.model, layers[name]) as cam:
        for source in tqdm(sources, desc="explaining", unit="film", disable=not progress):
            row: dict[str, object] = {"file": source.name, "score": np.nan, "decision": "", "reason": "", "picture": ""}
            rows.append(row)
            try:
                seen = decode(source.path)
            except InputError as error:
                row["reason"] = str(error)
                continue
            film, notes[source.name] = seen.grey, seen.notes
            square = to_square(film, classifier.size)
            score = classifier.scores(square[None])
            heat = to_film(upsample(cam(classifier.tensor(square[None]))[0], classifier.size), film)
            shown, positive = normalise(heat)
            known = annotations.get(source.folder, {}).get(source.name, []) if source.folder else []
            mask = fracture_mask(known, width=film.shape[1], height=film.shape[0]) if known else None
            note = "" if positive else "\nno evidence for a fracture in this layer: the map is empty"
            marked = None
            if classifier.is_taught:
                places = to_film(upsample(classifier.marks(square[None])[0], classifier.size), film)
                marked = overlay(film, np.clip(places, 0, 1))
            figure = triptych(
                film,
                heat,
                overlay(film, shown),
                title=f"{source.name}: score {score[0]:.3f}, {classifier.decide(score)[0]} "
                f"(threshold {classifier.threshold:.3f}), Grad-CAM of {name}{note}",
                mask=mask,
                marked=marked,
            )
            picture = (
                Path(source.name).with_suffix(".png") if len(Path(source.name).suffix) else Path(source.name + ".png")
            )
            with atomic_path(out / picture) as temporary:
                figure.savefig(temporary, dpi=100)
            row.update(score=score[0], decision=classifier.decide(score)[0], picture=picture.as_posix())
    print_notes(notes)
    frame = pd.DataFrame(rows)
    write_index(frame, out, classifier)
    return frame


def print_notes(notes: Mapping[str, Sequence[str]]) -> None:
    """Say of how many images what is to be known of how they were read."""
    for line in noted(notes):
        print(f"note: {line}")


def to_film(heat: np.ndarray, film: np.ndarray) -> np.ndarray:
    """A map of the square, cut to the film and brought to its size: (s, s) float32 -> film.shape float32."""
    import cv2

    height, width = film.shape
    geometry = square_geometry(width, height, heat.shape[0])
    left, top = round(geometry.left), round(geometry.top)
    inside = heat[
        top : top + max(1, round(height * geometry.scale)), left : left + max(1, round(width * geometry.scale))
    ]
    return cv2.resize(inside, (width, height), interpolation=cv2.INTER_LINEAR)
