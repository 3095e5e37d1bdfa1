"""What the commands do with a trained network: from images to scores, and from images to pictures."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from fracturelib._io.filenames import distinct_names, safe_name
from fracturelib._io.files import InputError, atomic_path, counted, may_replace, printable, table_mark
from fracturelib._io.pages import beginning
from fracturelib._io.words import STUDY, WORDS
from fracturelib.data.coco import Annotation, fracture_mask
from fracturelib.data.decode import decode
from fracturelib.data.found import Found
from fracturelib.data.images import square_geometry, to_square
from fracturelib.data.layouts import known_files, read_folder
from fracturelib.data.pixels import noted
from fracturelib.data.studies import padded
from fracturelib.data.volumes import FORMATS, PICKLE, PICKLES, study_input
from fracturelib.explain.gradcam import GradCAM
from fracturelib.explain.overlay import normalise, overlay, upsample
from fracturelib.models.classifier import Classifier, Judged, load_classifier, looked, scores_from_logits
from fracturelib.models.closer_look import CUT, corner, strongest_place
from fracturelib.models.doubts import NEGATIVE, doubted
from fracturelib.models.registry import stages
from fracturelib.training.train import JUDGED_ON
from fracturelib.viz.explain_page import INDEX, write_index
from fracturelib.viz.explain_page import MARK as INDEX_MARK

NO_NUMBER = "the network gives no number for it; expected a score in 0..1"
SCORES_MARK = table_mark(
    "file,score,decision,reason(,threshold)?(,doubt)?(,region)?(,label,group(,split)?|,group)?"
)  # of `predict_paths`
PICTURE_MARK = "fracture explain"
CHUNK = 16  # images that are scored together


@dataclass(frozen=True)
class Source:
    """An image to look at: where it is, what it is called in results, and what the reader of its folder knows of it."""

    path: Path
    name: str
    file: str  # its place in the set that it is of
    label: int | None = None
    group: str = ""  # the patient, if known
    guessed: bool = False  # from its name
    split: str = ""
    annotations: tuple[Annotation, ...] = ()
    noun: str = "image"


def collect(paths: Sequence[Path], *, noun: str = "image") -> list[Source]:
    """The images or studies of files and folders, folders searched to the bottom, in the order of their names.

    Folders of which two hold an image of one name stand before its name. What a folder holds besides is counted in a
    line that is printed. `noun`, image or study, is what messages ask for.

    Raises
    ------
    InputError
        If a path does not exist or is no image, a folder has no image, or an image is given twice.
    """
    found: list[tuple[Path, str, Source]] = []  # what was given, the name below it, the image
    parents: dict[Path, list[str]] = {}
    words = WORDS[noun]
    for path in paths:
        if path.name.lower().endswith(PICKLES) and path.is_file():
            raise InputError(f"{printable(path)}: {PICKLE}")
        if path.is_file():
            parents.setdefault(path.parent, []).append(path.name)
    known = {
        (parent, source.path.name): source
        for parent, names in parents.items()
        for source in _sources(known_files(parent, list(dict.fromkeys(names)), noun=noun))
    }
    for path in paths:
        if path.is_dir():
            holds = read_folder(path, inside=True)
            if line := holds.not_taken(unlabelled=False):
                print(f"{printable(path)}: {line}")
            if holds.images.empty:
                holds.require()
                expected = FORMATS if noun == STUDY else "expected files such as .jpg, .png or .dcm"
                raise InputError(f"{printable(path)}: has no {words.one}; {expected}")
            whole = Path(os.path.abspath(path))
            if list(holds.images["path"]) == [whole]:  # the folder is one study
                found += [(whole.parent, whole.name, s) for s in _sources(known_files(whole.parent, [whole.name]))]
                continue
            base = whole if holds.folder != path else os.fspath(path)
            found += [(path, s.path.relative_to(base).as_posix(), s) for s in _sources(holds)]
        elif path.is_file():
            found.append((path.parent, path.name, known[path.parent, path.name]))
        else:
            what = "neither a file nor a folder" if path.exists() else "no such file or folder"
            raise InputError(f"{printable(path)}: {what}; expected {words.many}")
    images = [image for image in found if not _is_picture(image[2].path)]
    if made := len(found) - len(images):
        if not images:
            raise InputError(
                f"{printable(paths[0])}: has only pictures that fracture explain made; expected {words.many}"
            )
        print(f"{counted(made, 'picture')} that fracture explain made: left out")
    found = images
    places = pd.Series([os.path.realpath(source.path) for _, _, source in found])
    if places.duplicated().any():
        twice = found[int(places.duplicated().argmax())][1]
        raise InputError(f"{printable(twice)}: given twice; expected each {words.one} once")
    names = _distinct([(path, name) for path, name, _ in found])
    return [replace(source, name=name) for name, (_, _, source) in zip(names, found, strict=True)]


def _sources(found: Found) -> list[Source]:
    columns = ["path", "file", "label", "group", "split"]
    return [
        Source(path, file, file, None if pd.isna(label) else int(label), group, found.guessed, split,
               tuple(found.annotations.get(file, ())), found.noun)
        for path, file, label, group, split in found.images[columns].itertuples(index=False)
    ]  # fmt: skip


def _distinct(given: Sequence[tuple[Path, str]]) -> list[str]:
    """Names below what was given, with as many of its last folders before them as keep them apart."""
    names = [name for _, name in given]
    depth = 0
    while len(set(names)) < len(names) and depth < 64:
        depth += 1
        names = ["/".join([*Path(os.path.abspath(path)).parts[1:][-depth:], name]) for path, name in given]
    return names


def predict_paths(paths: Sequence[Path], model: Path, *, strict: bool = False, progress: bool = True) -> pd.DataFrame:
    """Score images, with a closer look where the network learnt to take one (`Classifier.with_closer_look`).

    An image that is unlike those of the training, but whose negative is like them, is scored as its negative. With
    `strict`, other unlike images have no score.

    Returns
    -------
    DataFrame
        file (relative to the folder that was given), score (P(Fractured), 0..1), decision ("Fractured" or "Not
        Fractured" at the image's threshold), reason (why an image has no score, else empty), threshold (that of
        the checkpoint, or of the image's region, for `fracture evaluate`), doubt (what is strange about an image, else
        empty); region (what the network takes an image to show), where thresholds depend on it; and label, group
        (the patient) and split where folders or names say them.
        `attrs["threshold"]` says what decided, and how it was chosen; `attrs["noun"]`, whether rows are images or
        studies.

    Raises
    ------
    InputError
        If a path or the checkpoint is missing or not what it should be, or two images would have one name; if a network
        is to be `strict` that cannot say what is strange to it.
    """
    classifier = load_classifier(model).with_closer_look()
    if strict and classifier.familiarity is None:
        which = "a network of studies" if classifier.noun == STUDY else "an older checkpoint"
        many = WORDS[classifier.noun].many
        raise InputError(
            f"{model}: cannot say what is unlike the {many} that it learnt from, being {which}; expected no --strict"
        )
    sources = collect(paths, noun=classifier.noun)
    _require_noun(sources, classifier, model)
    rows: list[dict[str, object]] = []
    notes: dict[str, tuple[str, ...]] = {}
    bar = tqdm(total=len(sources), desc="predicting", unit=classifier.noun, disable=not progress)
    for start in range(0, len(sources), CHUNK):
        part = sources[start : start + CHUNK]
        rows += _scored_rows(classifier, part, notes, strict=strict)
        bar.update(len(part))
    bar.close()
    print_notes(notes, classifier.noun)
    frame = pd.DataFrame(rows)
    print_doubts(frame, strict=strict)
    frame = with_known_labels(frame, sources)
    if guessed := sum(source.guessed for source in sources):
        print(f"note: patients (column group) are guessed from the names of {counted(guessed, 'file')}")
    frame.attrs.update(threshold=decided_by(classifier), noun=classifier.noun)
    return frame


def _require_noun(sources: Sequence[Source], classifier: Classifier, model: Path) -> None:
    """Raise InputError unless a network of studies is given studies, and one of images images."""
    own = classifier.noun
    other = [source for source in sources if source.noun != own]
    if other:
        known, given = WORDS[own].many, f"{'a' if own == STUDY else 'an'} {own}"
        raise InputError(
            f"{printable(other[0].path)}: is no {own}, and {model} is a network of {known}; expected {given}"
        )


def _as_input(source: Source, classifier: Classifier) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """What the network sees of an image, (s, s) uint8, and the image; of a study, (slices, s, s), twice; its notes."""
    size = classifier.size
    if source.noun == STUDY:
        slices, notes = study_input(source.path, size)
        return slices, slices, notes
    seen = decode(source.path)
    return to_square(seen.grey, size), seen.grey, seen.notes


def _scored_rows(
    classifier: Classifier, sources: Sequence[Source], notes: dict[str, tuple[str, ...]], *, strict: bool
) -> list[dict[str, object]]:
    """Lines of the table for a few images, scored together; what there is to say of how they were read, in `notes`."""
    rows = [_row(source.name, classifier) for source in sources]
    squares, stored, good = [], [], []
    for row, source in zip(rows, sources, strict=True):
        try:
            square, grey, notes[source.name] = _as_input(source, classifier)
            squares.append(square)
            stored.append(grey)
            good.append((row, source.path))
        except InputError as error:
            row["reason"] = str(error)
    if not good:
        return rows
    seen = padded(squares) if sources[0].noun == STUDY else np.stack(squares)
    judged, doubts = doubted(classifier, seen, stored, [path for _, path in good])
    scores = scores_from_logits(judged.logits, classifier.temperature)
    decisions = classifier.decide(scores, judged.thresholds)
    for i, ((row, _), score, decision, doubt) in enumerate(zip(good, scores, decisions, doubts, strict=True)):
        row.update(doubt=doubt, threshold=judged.thresholds[i])
        if judged.regions is not None:
            row["region"] = judged.regions[i]
        if strict and doubt not in ("", NEGATIVE):
            row["reason"] = f"{doubt.partition(':')[0]}: no score is given, by --strict"
        else:
            row.update(score=score, decision=decision, reason="" if decision else NO_NUMBER)
    return rows


def _row(name: str, classifier: Classifier) -> dict[str, object]:
    """A line of a table of scores, before anything is known of the image."""
    row = {"file": name, "score": np.nan, "decision": "", "reason": "", "threshold": classifier.threshold, "doubt": ""}
    return row if classifier.by_region is None else row | {"region": ""}


def print_doubts(frame: pd.DataFrame, *, strict: bool = False) -> None:
    """Say how many images of a table of scores are strange."""
    negative = int((frame["doubt"] == NEGATIVE).sum())
    strange = int((frame["doubt"] != "").sum()) - negative
    if negative:
        print(f"note: {counted(negative, 'image looks', 'images look')} inverted: scored as negatives")
    if strange:
        look = counted(strange, "image looks", "images look")
        scored = "no score is given there" if strict else "a score means little there"
        print(f"note: {look} unlike those that the network learnt from (column doubt): {scored}")


def decided_by(classifier: Classifier) -> str:
    """The threshold, the rule that chose it, and on how many images, in words."""
    chosen = f"threshold {classifier.threshold_in_words}"
    if classifier.default_rule.startswith("score="):
        return f"{chosen}, as fixed beforehand"
    count, many = classifier.extra.get(JUDGED_ON), WORDS[classifier.noun].many
    where = f"{count} validation {many}" if count else f"the validation {many} of its training"
    return f"{chosen}, chosen by {classifier.default_rule} on {where}"


def with_known_labels(scores: pd.DataFrame, sources: Sequence[Source]) -> pd.DataFrame:
    """Add label, group (the patient) and split, each where the folders or names of the images say it of any."""
    labelled = any(source.label is not None for source in sources)
    if labelled:
        scores = scores.assign(label=pd.array([source.label for source in sources], dtype="Int64"))
    if labelled or any(source.group for source in sources):
        files = Counter(source.file for source in sources)  # two sets may each have a 1.png
        own = [s.group or (s.file if files[s.file] == 1 else s.name) for s in sources]
        scores = scores.assign(group=own)
    return scores.assign(split=[s.split for s in sources]) if labelled and any(s.split for s in sources) else scores


def explain_paths(
    paths: Sequence[Path], model: Path, out: Path, *, layer: str | None = None, progress: bool = True
) -> pd.DataFrame:
    """For each image, leave it, its heat map and overlay side by side in `out` as a PNG of its name; and index.html.

    Where the image's folder has annotations, the fracture is outlined. Pictures that an earlier call left in `out` are
    no images, and may be replaced.

    Returns
    -------
    DataFrame
        As `predict_paths`, with the picture's name in the column picture.

    Raises
    ------
    InputError
        As `predict_paths`, or if a picture would replace a file that is none.
    """
    classifier = load_classifier(model).with_closer_look()
    if classifier.noun == STUDY:
        raise InputError(f"{model}: is a network of studies; expected one of images, whose maps are pictures")
    sources = collect(paths)
    _require_noun(sources, classifier, model)
    pictures = picture_names([s.name for s in sources])
    for picture in pictures:
        may_replace(out / picture, PICTURE_MARK)
    may_replace(out / INDEX, beginning(INDEX_MARK))
    layers = stages(classifier.model)
    name = layer or list(layers)[-1]
    if name not in layers:
        raise InputError(f"layer is {name!r}; expected one of {', '.join(layers)}")
    rows, notes = [], dict[str, tuple[str, ...]]()
    with GradCAM(classifier.model, layers[name]) as cam:
        bar = tqdm(sources, desc="explaining", unit="image", disable=not progress)
        for source, picture in zip(bar, pictures, strict=True):
            row = _row(source.name, classifier) | {"picture": ""}
            rows.append(row)
            try:
                decoded = decode(source.path)
            except InputError as error:
                row["reason"] = str(error)
                continue
            notes[source.name] = decoded.notes
            seen, judged, doubt = _seen(classifier, source, decoded.grey)
            found = _found(classifier, judged)
            if not np.isfinite(found["score"]):
                row["reason"] = NO_NUMBER
                continue
            of = f" for {found['region']}" if "region" in found else ""
            call = f"score {found['score']:.3f}, {found['decision']} (threshold {found['threshold']:.3f}{of})"
            heat = cam(classifier.tensor(seen.square[None]))[0]
            title = f"{source.name}: {call}, Grad-CAM of {name}" + (f"\n{doubt}" if doubt else "")
            _leave_picture(out / picture, seen, classifier, heat, title)
            row.update(doubt=doubt, picture=picture, **found)
    print_notes(notes)
    frame = pd.DataFrame(rows)
    print_doubts(frame)
    if (frame["picture"] != "").any():
        write_index(frame, out, classifier.threshold_in_words, classifier.default_rule)
    return frame


@dataclass(frozen=True, eq=False)
class _Seen:
    """An image that could be read: where it is from, its grey values, and the square that the network sees."""

    source: Source
    grey: np.ndarray
    square: np.ndarray


def _seen(classifier: Classifier, source: Source, grey: np.ndarray) -> tuple[_Seen, Judged, str]:
    """An image as the network sees it, as its negative where that is what it knows; what it makes of it; its doubt."""
    square = to_square(grey, classifier.size)
    judged, (doubt,) = doubted(classifier, square[None], [grey], [source.path])
    if doubt == NEGATIVE:
        grey = 255 - grey
        square = to_square(grey, classifier.size)
    return _Seen(source, grey, square), judged, doubt


def _found(classifier: Classifier, judged: Judged) -> dict[str, Any]:
    """Of one image: its score, decision and threshold, and its region where thresholds depend on it."""
    score = scores_from_logits(judged.logits, classifier.temperature)
    (decision,), at = classifier.decide(score, judged.thresholds), judged.thresholds[0]
    found = {"score": score[0], "decision": decision, "threshold": at}
    return found if judged.regions is None else found | {"region": str(judged.regions[0])}


def _leave_picture(path: Path, seen: _Seen, classifier: Classifier, heat: np.ndarray, title: str) -> None:
    """Draw an image, its map and both over each other; with what is known of it, and what was learnt of places."""
    # Here, since all that draws takes a second to load, and scoring does not need it.
    from fracturelib.viz.figures import triptych

    image, known = seen.grey, seen.source.annotations
    heat = to_image(upsample(heat, classifier.size), image)
    shown, positive = normalise(heat)
    marked = None
    if classifier.localizes:
        places = to_image(upsample(classifier.localize(seen.square[None], stored=[image])[0], classifier.size), image)
        marked = overlay(image, np.clip(places, 0, 1))
    note = "" if positive else "\nno evidence for a fracture in this layer: the map is empty"
    mask = fracture_mask(known, width=image.shape[1], height=image.shape[0]) if known else None
    closer = _looked_at_again(seen, classifier)
    figure = triptych(image, heat, overlay(image, shown), title=title + note, mask=mask, marked=marked, closer=closer)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, metadata={"Software": PICTURE_MARK})


def _looked_at_again(seen: _Seen, classifier: Classifier) -> tuple[int, int, int, int] | None:
    """What of an image the closer look saw, if there was one: left, top, width, height in pixels."""
    if not classifier.magnified:
        return None
    model: Any = classifier.model
    _, cells = looked(model, seen.square[None], mean=classifier.mean, std=classifier.std)
    height, width = seen.grey.shape
    left, top = corner(*strongest_place(cells[0], width, height, classifier.size), width, height)
    return left, top, min(CUT, width), min(CUT, height)


def print_notes(notes: Mapping[str, Sequence[str]], noun: str = "image") -> None:
    """Say of how many images or studies what is to be known of how they were read."""
    for line in noted(notes, nouns=WORDS[noun].nouns):
        print(f"note: {line}")


def picture_names(files: Sequence[str]) -> list[str]:
    """The PNG of each image, by names with /: a.jpg -> a.png, but a.jpg.png where there is an a.tif, too."""
    fit = [PurePosixPath(*map(safe_name, PurePosixPath(file).parts)) for file in files]
    short = [str(name.with_suffix(".png")) for name in fit]
    often = Counter(name.casefold() for name in short)
    return distinct_names(
        [s if often[s.casefold()] == 1 else str(n.with_name(f"{n.name}.png")) for s, n in zip(short, fit, strict=True)]
    )


def _is_picture(path: Path) -> bool:
    """Whether `explain_paths` made a file."""
    if path.suffix != ".png":
        return False
    try:
        with path.open("rb") as file:
            return f"Software\0{PICTURE_MARK}".encode() in file.read(4096)
    except OSError:  # which is said where it is decoded
        return False


def to_image(heat: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A map of the square, cut to the image and brought to its size: (s, s) float32 -> image.shape float32."""
    import cv2

    height, width = image.shape
    geometry = square_geometry(width, height, heat.shape[0])
    left, top = round(geometry.left), round(geometry.top)
    inside = heat[
        top : top + max(1, round(height * geometry.scale)), left : left + max(1, round(width * geometry.scale))
    ]
    return cv2.resize(inside, (width, height), interpolation=cv2.INTER_LINEAR)
