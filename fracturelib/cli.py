"""The command `fracture`: it reads the arguments, calls one function, and turns a user's mistake into one line."""

import argparse
import logging
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fracturelib import __version__
from fracturelib._io import NOTICE
from fracturelib._io.filenames import typed
from fracturelib._io.files import InputError, counted, may_replace, printable, require_place
from fracturelib._io.memory import keep_freed_memory
from fracturelib._io.terminal import Terminal, open_stream
from fracturelib._io.words import WORDS, words_of
from fracturelib._options import SEEDS, Formatter, Parser, path_of, real, whole
from fracturelib.models.poolings import POOLINGS
from fracturelib.models.shipped import PRETRAINED
from fracturelib.training.config import LIMITS, FineTuneConfig, StudyConfig, TrainConfig, best_epoch

if TYPE_CHECKING:
    import pandas as pd

    from fracturelib.training.folds import CrossValidation
MODEL_HELP = "a checkpoint, which looks closer where it learnt to; if not given, the shipped network for real images"


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = Parser(
        prog="fracture", description=f"From a folder of X-rays to a classifier that its owner can defend. {NOTICE}"
    )
    root.add_argument("--version", action="version", version=__version__)
    root.add_argument("--debug", action="store_true", help="show where in the program an error arose")
    commands = root.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    data = commands.add_parser("data", help="import, fetch or simulate a data set")
    data_commands = data.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    _add_import(data_commands)
    _add_fetch(data_commands)
    _add_simulate(data_commands)
    _add_audit(commands)
    _add_train(commands)
    _add_average(commands)
    _add_predict(commands)
    _add_evaluate(commands)
    _add_explain(commands)
    return root


def _command(
    commands: argparse._SubParsersAction,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    example: str,
    goes_on: bool = False,
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=f"example:\n  {example}",
        formatter_class=Formatter,
    )  # fmt: skip
    command.set_defaults(run=run, goes_on=goes_on)
    # A command's own default would undo what stands before the command.
    command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return command


def _quiet(command: argparse.ArgumentParser) -> None:
    command.add_argument("--quiet", action="store_true", help="no progress bar")


def _seed(command: argparse.ArgumentParser, help: str) -> None:
    command.add_argument("--seed", type=whole(SEEDS), default=0, help=help)


def _add_import(commands: argparse._SubParsersAction) -> None:
    c = _command(
        commands, "import", run_import, summary="bring a data set into the one layout, split by patient",
        example="fracture data import Downloads/FracAtlas.zip data/raw/fracatlas",
    )  # fmt: skip
    c.add_argument(
        "source",
        type=path_of("a folder or a zip file"),
        help="a folder or zip: class folders with or without splits, FracAtlas, MURA, GRAZPEDWRI-DX, COCO or YOLO; or "
        "studies of MRI: MRNet, KneeMRI, or folders called Torn and Whole with .npy, NIfTI or DICOM series",
    )
    c.add_argument("out", type=path_of("a folder to make"), help="the folder to make")
    _seed(c, "seed of the split")
    c.add_argument(
        "--group-pattern", default=None, metavar="REGEX", help="its first group, in a file's name, is the patient"
    )
    c.add_argument(
        "--splits",
        type=path_of("a table"),
        default=None,
        metavar="TABLE",
        help="name and split of images, as beside a checkpoint; what it leaves out or keeps is decided",
    )
    c.add_argument("--listed-only", action="store_true", help="leave out images that --splits does not name")
    c.add_argument("--drop-copies", action="store_true", help="keep one image of each radiograph")
    c.add_argument("--drop-contradictions", action="store_true", help="leave out radiographs that have both labels")
    c.add_argument(
        "--drop-broken", action="store_true", help="leave out blank images and those with boxes outside them"
    )
    _quiet(c)


def run_import(args: argparse.Namespace) -> int:
    """`fracture data import`."""
    from fracturelib.curate.cleaning import Drop
    from fracturelib.curate.importer import import_dataset

    if args.listed_only and args.splits is None:
        raise InputError("--listed-only is given without --splits; expected the table that names the images")
    report = import_dataset(
        args.source,
        args.out,
        seed=args.seed,
        group_pattern=args.group_pattern,
        splits=args.splits,
        listed_only=args.listed_only,
        drop=Drop(args.drop_copies, args.drop_contradictions, args.drop_broken),
        progress=not args.quiet,
    )
    print(report.summary)
    return 0


def _add_fetch(commands: argparse._SubParsersAction) -> None:
    c = _command(
        commands, "fetch", run_fetch, summary="download a published data set, and check it",
        example="fracture data fetch fracatlas data/raw/published", goes_on=True,
    )  # fmt: skip
    c.add_argument("name", choices=["fracatlas"], help="which one")
    c.add_argument("out", type=path_of("a folder to make"), help="the folder to make")
    _quiet(c)


def run_fetch(args: argparse.Namespace) -> int:
    """`fracture data fetch`."""
    from fracturelib.curate.download import fetch_fracatlas

    folder = fetch_fracatlas(args.out, progress=not args.quiet)
    print(f"FracAtlas is in {folder}; next: {typed('fracture', 'data', 'import', folder, 'data/raw/fracatlas')}")
    return 0


def _add_simulate(commands: argparse._SubParsersAction) -> None:
    c = _command(
        commands, "simulate", run_simulate, summary="make radiographs whose truth is known to the pixel",
        example="fracture data simulate data/raw/biased --images 800 --seed 1 --shortcut marker=0.9", goes_on=True,
    )  # fmt: skip
    c.add_argument("out", type=path_of("a folder to make"), help="the folder to make")
    c.add_argument("--images", type=whole((1, 1_000_000)), default=1600, help="how many")
    _seed(c, "seed of everything that is drawn")
    c.add_argument("--size", type=whole((64, 2048)), default=320, help="long side, in pixels")
    c.add_argument("--regions", nargs="+", default=None, metavar="REGION", help="which parts of the body (all)")
    c.add_argument(
        "--shortcut",
        nargs="+",
        default=[],
        metavar="NAME=RATE",
        help="tie marker, cast or exposure to the label in train and val",
    )
    c.add_argument("--workers", type=whole((1, 1024)), help="processes; all cores if not given")
    _quiet(c)


def run_simulate(args: argparse.Namespace) -> int:
    """`fracture data simulate`."""
    from fracturelib.simulate.dataset import simulate_dataset
    from fracturelib.simulate.regions import REGIONS

    if args.out.exists() and not args.out.is_dir():
        raise InputError(f"{args.out}: is a file; expected a folder to make")
    if not args.out.exists():
        require_place(args.out)
    frame = simulate_dataset(
        args.out,
        images=args.images,
        seed=args.seed,
        size=args.size,
        regions=tuple(args.regions or REGIONS),
        shortcut=dict(_shortcut(text) for text in args.shortcut),
        workers=args.workers,
        progress=not args.quiet,
    )
    said = f"{counted(len(frame), 'image')} of {counted(frame['group'].nunique(), 'patient')}"
    print(f"{args.out}: {said}, {frame['label'].sum()} fractured")
    return 0


def _shortcut(text: str) -> tuple[str, float]:
    name, _, rate = text.partition("=")
    try:
        return name, float(rate)
    except ValueError:
        raise InputError(f"--shortcut is {text!r}; expected NAME=RATE, such as marker=0.9") from None


def _add_audit(commands: argparse._SubParsersAction) -> None:
    c = _command(
        commands, "audit", run_audit,
        summary="find copies, leaks, contradictions, broken files and shortcuts in any folder of X-rays; "
        "exit code 0 if clean, 1 if something was found, 2 if it cannot run",
        example="fracture audit data/demo --html audit.html --json audit.json",
    )  # fmt: skip
    c.add_argument(
        "folder",
        type=path_of("a folder"),
        help="images or studies in any layout, with or without splits, classes and tables",
    )
    c.add_argument(
        "--json",
        type=path_of("a file to write"),
        default=None,
        metavar="FILE",
        help="write all that was found for programs",
    )
    c.add_argument(
        "--html",
        type=path_of("a file to write"),
        default=None,
        metavar="FILE",
        help="write a page with pictures for people",
    )
    _seed(c, "seed of the folds and the bootstrap")
    _quiet(c)


def run_audit(args: argparse.Namespace) -> int:
    """`fracture audit`."""
    from fracturelib._io.files import atomic_path
    from fracturelib.curate.audit import audit_folder
    from fracturelib.curate.audit_report import OURS, to_html, to_json

    for path, mark in ((args.json, OURS["json"]), (args.html, OURS["html"])):
        if path is not None:
            may_replace(path, mark)
    if args.json is not None and args.html is not None and args.json.resolve() == args.html.resolve():
        raise InputError(f"--json and --html are both {args.json}; expected two files")
    if args.folder.exists() and not args.folder.is_dir():
        raise InputError(f"{args.folder}: is no folder; expected a folder of X-rays")
    audit = audit_folder(args.folder, progress=not args.quiet, seed=args.seed)
    for path, text in ((args.json, to_json), (args.html, to_html)):
        if path is not None:
            with atomic_path(path) as temporary:
                temporary.write_text(text(audit), encoding="utf-8")
    print(audit)
    return 0 if audit.clean else 1


def _add_train(commands: argparse._SubParsersAction) -> None:
    c = _command(
        commands, "train", run_train, summary="train a classifier of images or studies; a run that was stopped goes on",
        example="fracture train data/demo --out runs/first", goes_on=True,
    )  # fmt: skip
    c.add_argument("folder", type=path_of("a folder"), help="train/, val/ and perhaps test/, each with class folders")
    c.add_argument("--out", type=path_of("a folder"), required=True, help="folder of the run")
    c.add_argument(
        "--model",
        help=f"{TrainConfig.architecture}, or {FineTuneConfig.architecture}: pretrained features, and heads that learn "
        "to classify and to localize; its own defaults; or torchvision:NAME or timm:NAME, the same on features of that "
        f"network, which must be a plain convolutional one; or {StudyConfig.architecture}, for studies of many slices "
        f"({TrainConfig.architecture}; for a study set {StudyConfig.architecture})",
    )  # fmt: skip
    c.add_argument(
        "--start", type=path_of("a checkpoint"), metavar="MODEL",
        help="a checkpoint of the same network to begin with, for other images or another "
        "size (its closer look, if any, is not carried over); no image that it learnt from may be in val or test",
    )  # fmt: skip
    _add_pretrained(c)
    c.add_argument(
        "--pooling", choices=POOLINGS,
        help=f"of {StudyConfig.architecture}: how the slices of a study are put together ({StudyConfig.pooling})",
    )  # fmt: skip
    c.add_argument(
        "--folds", type=whole((2, 20)), metavar="N",
        help="cross-validation by patient: train once for each of N folds of train and val, so that each image is "
        "scored by a network that never met its patient; then once on all of them, calibrated by those scores",
    )  # fmt: skip
    c.add_argument(
        "--fold", type=whole((1, 20)), metavar="K",
        help="with --folds: train fold K alone, where several machines or processes share the work",
    )  # fmt: skip
    c.add_argument("--size", type=whole(LIMITS["size"]), help=f"side of the input, in pixels ({_defaults('size')})")
    c.add_argument("--epochs", type=whole(LIMITS["epochs"]), help=f"at most ({_defaults('epochs')})")
    c.add_argument(
        "--patience", type=whole(LIMITS["patience"]),
        help=f"of {TrainConfig.architecture}: stop after so many epochs without a better AUC ({TrainConfig.patience})",
    )  # fmt: skip
    c.add_argument("--batch", type=whole(LIMITS["batch"]), help=f"images in one step ({_defaults('batch')})")
    c.add_argument(
        "--learning-rate",
        type=real(LIMITS["learning_rate"]),
        help=f"of Adam ({_defaults('learning_rate')}); of what is tuned of pretrained features, a fifth",
    )
    c.add_argument(
        "--no-augment", action="store_true", help=f"of {TrainConfig.architecture}: show each image always as it is"
    )
    c.add_argument(
        "--precision", choices=("auto", "float32", "bfloat16"),
        help=f"while it trains ({_defaults('precision')}); auto: bfloat16 where the processor has it",
    )  # fmt: skip
    _seed(c, "seed of the weights, the order and the augmentation")
    c.add_argument("--attribution", help="whose data these are; kept in the checkpoint")
    _quiet(c)


def _add_pretrained(c: argparse.ArgumentParser) -> None:
    """The options of `train` for pretrained networks."""
    c.add_argument(
        "--weights", type=path_of("a file of weights"), metavar="FILE",
        help="of torchvision:NAME or timm:NAME: weights of the features, by the names of these libraries, of "
        "RadImageNet or of torchxrayvision; nothing in the file is run",
    )  # fmt: skip
    c.add_argument(
        "--unfreeze", choices=("heads", "last", "most", "all"),
        help=f"of {FineTuneConfig.architecture}: what learns besides the heads ({FineTuneConfig.unfreeze}, so nothing; "
        "the last stage; most stages; all)",
    )  # fmt: skip
    c.add_argument(
        "--peak-loss-weight", type=real(LIMITS["peak_loss_weight"]), metavar="WEIGHT",
        help=f"of {FineTuneConfig.architecture}: weight of the loss of the map's peak "
        f"({FineTuneConfig.peak_loss_weight})",
    )  # fmt: skip
    c.add_argument(
        "--closer-look", action="store_true",
        help=f"of {FineTuneConfig.architecture} and the like: teach a second network to judge the place that the first "
        "one suspects most, cut from the image as it is stored; half as much training again, and 1.44 times the pixels "
        "to score",
    )  # fmt: skip
    c.add_argument(
        "--by-region", action="store_true",
        help="a threshold for each region that an image can show, as the network judges it, which learns that from the "
        "column region of manifest.csv; of networks of images",
    )  # fmt: skip
    c.add_argument(
        "--no-outlines", action="store_true",
        help=f"of {FineTuneConfig.architecture}: learn whether, from labels alone, not where; its maps are Grad-CAM",
    )  # fmt: skip


def _defaults(name: str) -> str:
    """What a setting is if it is not given, for each network."""
    first, *others = (getattr(config, name) for config in (TrainConfig, FineTuneConfig, StudyConfig))
    named = zip((FineTuneConfig.architecture, StudyConfig.architecture), others, strict=True)
    return "; ".join([f"{first}", *(f"{network}: {value}" for network, value in named if value != first)])


def _config(args: argparse.Namespace) -> TrainConfig | FineTuneConfig:
    """What the options of `train` come to; those of the other network are an error."""
    transfer = args.model == FineTuneConfig.architecture or ":" in args.model
    if args.pooling is not None and args.model != StudyConfig.architecture:
        raise InputError(f"--pooling {args.pooling} is given; expected --model {StudyConfig.architecture}")
    own = {True: ("unfreeze", "peak_loss_weight", "closer_look", "no_outlines"), False: ("patience", "no_augment")}
    for name in own[not transfer]:
        if getattr(args, name) not in (None, False):
            needed = "another --model than" if transfer else "--model"
            given = getattr(args, name)
            option, value = name.replace("_", "-"), "" if given is True else f" {given}"
            raise InputError(f"--{option}{value} is given; expected {needed} {FineTuneConfig.architecture}")
    names = ("size", "epochs", "batch", "learning_rate", "precision", *own[transfer])
    asked = {n: getattr(args, n) for n in names}
    given = {n: value for n, value in asked.items() if value is not None and not isinstance(value, bool)}
    if args.model == StudyConfig.architecture:
        given |= {} if args.pooling is None else {"pooling": args.pooling}
        return StudyConfig(augment=not args.no_augment, seed=args.seed, **given)
    if not transfer:
        return TrainConfig(architecture=args.model, augment=not args.no_augment, seed=args.seed, **given)
    if args.no_outlines:
        if args.peak_loss_weight:
            raise InputError(f"--peak-loss-weight {args.peak_loss_weight} with --no-outlines; expected one of them")
        if args.closer_look:
            raise InputError("--closer-look with --no-outlines; expected one of them, since outlines teach it")
        given |= {"mask_loss_weight": 0.0, "peak_loss_weight": 0.0}
    if args.learning_rate is not None:
        given["features_rate"] = args.learning_rate * FineTuneConfig.features_rate / FineTuneConfig.learning_rate
    return FineTuneConfig(architecture=args.model, seed=args.seed, **given)


def run_train(args: argparse.Namespace) -> int:
    """`fracture train`."""
    from fracturelib.data.studies import holds_studies
    from fracturelib.metrics.classification import roc_auc
    from fracturelib.training.distributed import together
    from fracturelib.training.folds import train_folds
    from fracturelib.training.runs import MODEL_FILE, train_folder

    if args.model is None:
        studies = args.folder.is_dir() and holds_studies(args.folder)
        args.model = (StudyConfig if studies else TrainConfig).architecture
    config = _config(args)
    if args.start:
        _require_file("--start", args.start, "a checkpoint")
    if args.weights:
        _require_file("--weights", args.weights, "a file of weights")
    if args.fold is not None and args.folds is None:
        raise InputError(f"--fold is {args.fold} without --folds; expected the number of folds")
    with together() as ranks:
        shared = {
            "start": args.start, "weights": args.weights, "attribution": args.attribution or "", "ranks": ranks,
            "closer_look": args.closer_look, "by_region": args.by_region, "progress": not args.quiet,
        }  # fmt: skip
        if args.folds is not None:
            found = train_folds(args.folder, args.out, config, folds=args.folds, only=args.fold, **shared)
            return _print_folds(args, found) if ranks.first else 0
        run = train_folder(args.folder, args.out, config, **shared)
    if not ranks.first:
        return 0
    kept = len(run.history) - 1  # of a pretrained network, the average of the weights at the end
    if isinstance(config, TrainConfig):
        kept = best_epoch(list(run.history["val_auc"]), list(run.history["val_loss"]))
    best = run.history.iloc[kept]
    closer = ""
    if args.closer_look:
        val = run.predictions[run.predictions["split"] == "val"]
        closer = f", {roc_auc(val['label'], val['score']):.3f} with a closer look, whose weight was fitted on them"
    print(
        f"{args.out / MODEL_FILE}: validation AUC {best['val_auc']:.3f} after epoch {best['epoch']:.0f} "
        f"of {len(run.history)}{closer}; threshold {run.classifier.with_closer_look().threshold_in_words} "
        f"({run.classifier.default_rule})"
    )
    print(next_step(args.out, run.classifier.default_rule if run.classifier.regions is None else None))
    return 0


def _add_average(commands: argparse._SubParsersAction) -> None:
    c = _command(
        commands, "average", run_average,
        summary="average the weights of cross-validations that began differently, into one network and its folds",
        example="fracture average data/raw/fracatlas runs/one runs/two --out runs/both", goes_on=True,
    )  # fmt: skip
    c.add_argument("folder", type=path_of("a folder"), help="the images that they learnt from")
    c.add_argument(
        "runs", type=path_of("a folder"), nargs="+", metavar="RUN",
        help=f"two or more folders that `fracture train --folds` left, of {FineTuneConfig.architecture} or the like; "
        "trained with the same settings, but each from a different --start (one may have none)",
    )  # fmt: skip
    c.add_argument("--out", type=path_of("a folder"), required=True, help="folder of the averaged run")
    _quiet(c)


def run_average(args: argparse.Namespace) -> int:
    """`fracture average`."""
    from fracturelib.training.folds import average_folds

    return _print_folds(args, average_folds(args.folder, args.runs, args.out, progress=not args.quiet))


def _print_folds(args: argparse.Namespace, found: "CrossValidation | None") -> int:
    """What a cross-validation came to, or how it goes on."""
    if found is None:
        print(f"{args.out / f'fold-{args.fold}'}: done; next: the same command with the next --fold, at last without")
        return 0
    held = found.run.predictions["fold"].notna()
    patients = found.run.predictions.loc[held, "group"].nunique()
    words = WORDS[found.run.classifier.noun]
    rows = f"{words.count(int(held.sum()))} of {counted(patients, 'patient')}"
    met = "did not learn from it" if patients == held.sum() else "never met its patient"
    print(f"{rows}, each scored by a network that {met}:")
    for name, interval in found.figures.items():
        print(f"  {name} {interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})")
    at = f"the threshold that each fold chose on validation {words.many} of its own"
    print(f"  (sensitivity and specificity at {at})")
    classifier = found.run.classifier.with_closer_look()
    at = f"threshold {classifier.threshold_in_words} ({classifier.default_rule})"
    print(f"{args.out / 'model.pt'}: learnt from all; {at}")
    print(next_step(args.out, classifier.default_rule if classifier.regions is None else None))
    return 0


def next_step(out: Path, rule: str | None) -> str:
    """The command that judges a run as it can be typed: at what a rule chose, or at each image's own threshold."""
    table = out / "predictions.csv"
    chosen = () if rule is None else ("--threshold-from", table, "--rule", rule)
    return f"next: {typed('fracture', 'evaluate', table, *chosen, '--out', out / 'report')}"


def chosen_model(args: argparse.Namespace) -> Path:
    """The checkpoint that was named; else the shipped one, and say so."""
    if args.model:
        _require_file("--model", args.model, "a checkpoint")
        return args.model
    if not PRETRAINED.is_file():
        raise InputError(f"--model is not given, and there is no {PRETRAINED}; expected a checkpoint")
    card = PRETRAINED.with_name("model_card.md")
    print(f"model: the shipped one for real images, {PRETRAINED.name}; read its model card, {card}")
    return PRETRAINED


def _require_file(argument: str, path: Path, expected: str) -> None:
    """Raise InputError if a folder or a device is given as a file; of one that is missing its reader tells."""
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise InputError(f"{path}: {argument} is {what}; expected {expected}")


def _add_predict(commands: argparse._SubParsersAction) -> None:
    c = _command(
        commands, "predict", run_predict, summary="score images or studies and write a table",
        example="fracture predict data/demo/test --model runs/first/model.pt --csv scores.csv",
    )  # fmt: skip
    c.add_argument(
        "paths", type=path_of("an image, a study or a folder"), nargs="+", metavar="PATH",
        help="images, or folders of images; with a network of studies, studies (.npy, NIfTI, a folder of DICOM files) "
        "or folders of them",
    )  # fmt: skip
    c.add_argument("--model", type=path_of("a checkpoint"), default=None, help=MODEL_HELP)
    c.add_argument("--csv", type=path_of("a file to write"), required=True, help="the table to write")
    c.add_argument(
        "--strict", action="store_true",
        help="give no score to images unlike those that the network learnt from; not for studies",
    )  # fmt: skip
    _quiet(c)


def run_predict(args: argparse.Namespace) -> int:
    """`fracture predict`."""
    from fracturelib._io.tables import write_table
    from fracturelib.workflows import SCORES_MARK, predict_paths

    may_replace(args.csv, SCORES_MARK)
    frame = predict_paths(args.paths, chosen_model(args), strict=args.strict, progress=not args.quiet)
    _require_some(frame, args.paths[0])
    write_table(frame, args.csv)
    unread = int(frame["score"].isna().sum())
    words = words_of(frame)
    positive = words.classes[1]
    predicted = int((frame["decision"].str.lower() == positive).sum())
    print(
        f"{args.csv}: {words.count(len(frame))}, {predicted} predicted {positive}, "
        f"{unread} without a score; "
        f"{frame.attrs['threshold']}. {NOTICE}"
    )
    return 0


def _require_some(frame: "pd.DataFrame", path: Path) -> None:
    """Raise InputError if no image of a result could be read."""
    if frame["score"].isna().all():
        first = frame.iloc[0]
        rows, why = words_of(frame).count(len(frame)), _reason(first["file"], first["reason"])
        raise InputError(f"{path}: none of {rows} has a score ({first['file']}: {why})")


def _reason(file: str, said: str) -> str:
    """Why a file has no score, without its place, with which what its reader said begins."""
    return re.sub(rf"^(?:.*?/)?{re.escape(printable(Path(file).name))}: ", "", said, count=1)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    c = _command(
        commands, "evaluate", run_evaluate, summary="judge a table of scores, anybody's",
        example="fracture evaluate runs/first/predictions.csv --threshold-from runs/first/predictions.csv "
        "--rule sensitivity=0.95 --out results/first",
    )  # fmt: skip
    c.add_argument(
        "predictions",
        type=path_of("a table of scores"),
        help="columns file, label, score, and perhaps group (the patient) and split",
    )
    c.add_argument(
        "--threshold",
        type=real((0, 1)),
        default=None,
        help="fractured, or torn, if the score is at least this; if not given, what `fracture predict` wrote, else 0.5",
    )
    c.add_argument(
        "--threshold-from", type=path_of("a table of scores"), default=None, metavar="VAL.csv",
        help="choose the threshold on these images: those of split val, or all if it has no splits",
    )  # fmt: skip
    c.add_argument(
        "--rule", default=None,
        help="how: sensitivity=0.9 (if not given), specificity=0.9, youden, f_beta=2, cost=10:1, alerts=0.2",
    )  # fmt: skip
    c.add_argument(
        "--compare",
        type=path_of("a table of scores"),
        default=None,
        metavar="OTHER.csv",
        help="another model's scores of the same images",
    )
    c.add_argument(
        "--out",
        type=path_of("a folder"),
        default=None,
        help="folder for page, JSON, tables and figures; only printed if not given",
    )
    _seed(c, "seed of the bootstrap")


def run_evaluate(args: argparse.Namespace) -> int:
    """`fracture evaluate`."""
    from fracturelib.data.predictions import read_predictions
    from fracturelib.metrics._format import format_table
    from fracturelib.metrics.evaluate import evaluate, point_from

    if args.threshold is not None and (args.threshold_from or args.rule is not None):
        raise InputError("--threshold is given together with --threshold-from or --rule; expected one or the other")
    if args.rule is not None and not args.threshold_from:
        raise InputError(
            f"--rule is {args.rule!r} without --threshold-from; expected images to choose the threshold on"
        )
    tables = {"predictions": args.predictions, "--compare": args.compare, "--threshold-from": args.threshold_from}
    for argument, path in tables.items():
        if path is not None:
            _require_file(argument, path, "a table of scores")
    frame = read_predictions(args.predictions)
    if left_out := frame.attrs["left_out"]:
        file, reason = left_out[0]
        some = printable(f"such as {file}: {_reason(file, reason)}")
        print(f"left out: {counted(len(left_out), 'row')} without a score or a label, {some}")
    other = read_predictions(args.compare) if args.compare else None
    threshold, rule, limit = args.threshold, "sensitivity=0.9" if args.rule is None else args.rule, None
    if args.threshold_from:
        if "threshold" in frame and frame["threshold"].nunique() > 1:
            said = "thresholds differ from image to image; without --threshold-from each counts"
            print(f"note: {args.predictions}: {said}")
        threshold = point_from(read_predictions(args.threshold_from), rule, seed=args.seed)
        # Each model has a scale of its own, so the other gets its own threshold where it brings images to choose it on.
        if other is not None and "split" in other and (other["split"] == "val").any():
            limit = point_from(other, rule, n=0).threshold
    options = {"threshold": threshold, "compare": other, "threshold_compare": limit, "seed": args.seed}
    if args.out:
        from fracturelib.viz.html_report import report

        result = report(frame, args.out, **options)
    else:
        result = evaluate(frame, **options)
    print(format_table(result, words_of(frame)))
    if args.out:
        print(f"{args.out / 'report.html'}: the whole picture on one page")
    return 0


def _add_explain(commands: argparse._SubParsersAction) -> None:
    c = _command(
        commands, "explain", run_explain, summary="show where the network looks: image, map and overlay side by side",
        example="fracture explain data/demo/test/Fractured --model runs/first/model.pt --out results/maps",
    )  # fmt: skip
    c.add_argument(
        "paths", type=path_of("an image or a folder"), nargs="+", metavar="PATH", help="images, or folders of images"
    )
    c.add_argument("--model", type=path_of("a checkpoint"), default=None, help=MODEL_HELP)
    c.add_argument("--out", type=path_of("a folder"), required=True, help="folder for the pictures")
    c.add_argument("--layer", default=None, help="stage1, stage2, ...; the last if not given")
    _quiet(c)


def run_explain(args: argparse.Namespace) -> int:
    """`fracture explain`."""
    from fracturelib.workflows import explain_paths

    frame = explain_paths(args.paths, chosen_model(args), args.out, layer=args.layer, progress=not args.quiet)
    _require_some(frame, args.paths[0])
    for row in frame[frame["reason"] != ""].itertuples():
        print(f"left out: {printable(row.reason)}")
    pictures = counted(int((frame["picture"] != "").sum()), "picture")
    print(f"{args.out}: {pictures}, to be leafed through in index.html. {NOTICE}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Exit code 0, 2 with one line on stderr for whatever goes wrong, or 130 if it was stopped; of `audit`, 1 if it found
    something.
    """
    streams = sys.stdout, sys.stderr
    terminal = Terminal(open_stream(sys.stdout))
    sys.stdout, sys.stderr = terminal, Terminal(open_stream(sys.stderr), steered=True)
    try:
        try:
            code = _run(parser().parse_args(arguments))
        except SystemExit as stopped:  # help, the version, or a mistake in the options
            code = int(stopped.code or 0)
        except KeyboardInterrupt:  # before the command has begun
            print("fracture: stopped", file=sys.stderr)
            code = 130
        terminal.flush()
        if terminal.lost:
            return _failed(f"the output cannot be written ({terminal.lost.strerror or terminal.lost})")
        return code
    finally:
        sys.stdout, sys.stderr = streams


def _run(args: argparse.Namespace) -> int:
    """Any error becomes one line: a mistake as it is, another one with the file that says where it arose."""
    try:
        with warnings.catch_warnings():
            if not args.debug:  # what concerns a user is said in words of our own
                warnings.simplefilter("ignore", UserWarning)
                logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
            if args.run in (run_train, run_average, run_predict, run_explain):
                keep_freed_memory()
            if args.run in (run_evaluate, run_explain):  # they draw for files
                os.environ.pop("MPLBACKEND", None)  # Matplotlib cannot be loaded where it names what there is not
            return args.run(args)
    except KeyboardInterrupt:
        again = "; the same command goes on from here" if args.goes_on else ""
        print(f"fracture: stopped{again}", file=sys.stderr)
        return 130
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        if isinstance(error, InputError):
            return _failed(str(error))
        if isinstance(error, OSError):
            return _failed(f"{error.filename or 'file system'}: {error.strerror or error}")
        if isinstance(error, MemoryError) or "not enough memory" in str(error):
            return _failed(f"not enough memory ({str(error) or 'no size is known'}); expected fewer or smaller images")
        if os.environ.get("FRACTURE_DEBUG"):  # for tests that must see it
            raise
        words = (str(error).strip().splitlines() or [""])[0][:200]
        where = "" if args.debug else f"; where it arose is in {_kept_traceback()}"
        return _failed(f"an error of the program itself, {type(error).__name__} ({words}){where}")


def _failed(line: str) -> int:
    print(f"fracture: error: {printable(line)}", file=sys.stderr)
    return 2


def _kept_traceback() -> str:
    """The name of a new file with the traceback; of none where it cannot be written."""
    try:
        number, name = tempfile.mkstemp(prefix="fracture-error-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exc(file=file)
    except OSError:
        return "no file, since none can be written; --debug shows it"
    return name


if __name__ == "__main__":
    sys.exit(main())
