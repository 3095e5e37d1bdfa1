"""A checkpoint that means nothing is refused in one line, early and in little memory; no decision without a score."""

import io
import math
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fracturelib._io.files import InputError
from fracturelib.cli import main
from fracturelib.data.labels import CLASSES
from fracturelib.models.checkpoint_checks import from_older_version
from fracturelib.models.classifier import (
    FORMAT,
    Classifier,
    fit_temperature,
    load_classifier,
    load_payload,
    save_classifier,
)
from fracturelib.models.registry import build_model
from fracturelib.models.shipped import PRETRAINED
from fracturelib.models.tensor_file import DEEPEST, MOST_VALUES
from fracturelib.training.config import TrainConfig
from fracturelib.training.runs import load_start
from fracturelib.training.train import Images, fit
from fracturelib.workflows import predict_paths
from tests.conftest import ROOT
from tests.radiographs import plain_folder, radiograph, save

NAN, INF = float("nan"), float("inf")
CLOSER = {"weights": [1.0, 0.5, 0.0], "thresholds": {"score=0.5": 0.5}}
Change = Callable[[dict[str, Any]], None]


def made(**changes: Any) -> Classifier:
    values: dict[str, Any] = {"architecture": {"name": "small_cnn", "width": 4}, "size": 64, "mean": 0.4, "std": 0.2}
    return Classifier(model=build_model("small_cnn", width=4, seed=0).eval(), **{**values, **changes})


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "good.pt"
    save_classifier(made(extra={"config": {"seed": 3}}), path)
    return path


def changed(good: Path, path: Path, change: Change) -> Path:
    payload = torch.load(good, weights_only=True)
    change(payload)
    torch.save(payload, path)
    return path


def value(name: str, new: Any) -> Change:
    return lambda payload: payload["values"].update({name: new})


def net(name: str, **options: Any) -> Change:
    return value("architecture", {"name": name, **options})


def weight(name: str, change: Callable[[torch.Tensor], Any]) -> Change:
    return lambda payload: payload["weights"].update({name: change(payload["weights"][name])})


def first(number: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def put(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[0] = number
        return tensor

    return put


def nested(depth: int) -> Any:
    inner: Any = 1
    for _ in range(depth):
        inner = [inner]
    return inner


CONV, VAR = "stage1.0.0.weight", "stage1.0.1.running_var"
REFUSED: dict[str, tuple[Change, str]] = {
    "weights NaN": (weight(CONV, first(NAN)), f"{CONV} is NaN or infinite in 1 of 36 places; expected numbers"),
    "weights infinite": (weight("head.bias", first(INF)), "head.bias is NaN or infinite in 1 of 2"),
    "weights too large for float32": (weight(CONV, lambda t: t.double() * 1e300), f"{CONV} is NaN or infinite"),
    "a buffer NaN": (weight("stage1.0.1.running_mean", first(NAN)), "running_mean is NaN or infinite"),
    "a variance below 0": (weight(VAR, first(-0.5)), f"{VAR} is negative (-0.5); expected variances of 0 or more"),
    "weights whole": (weight(CONV, lambda t: t.long()), f"{CONV} is of int64; expected float32"),
    "weights bool": (weight(CONV, lambda t: t > 0), f"{CONV} is of bool; expected float32"),
    "a count as a float": (weight("stage1.0.1.num_batches_tracked", lambda t: t.float()), "of float32; expected int64"),
    "weights complex": (weight(CONV, lambda t: t.to(torch.complex64)), "was not opened"),
    "weights float8": (weight(CONV, lambda t: t.to(torch.float8_e4m3fn)), "was not opened"),
    "weights sparse": (weight(CONV, lambda t: t.to_sparse()), "was not opened"),
    "weights quantised": (
        weight("head.weight", lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)), "was not opened",
    ),
    "weights expanded": (weight("head.weight", lambda t: torch.zeros(1).expand(2, 32)), "strides (0, 0) on 1 numbers"),
    "weights of 40 GB in 4 bytes": (
        weight("head.weight", lambda t: torch.zeros(1).expand(100_000, 100_000)), "strides (0, 0) on 1 numbers",
    ),
    "a weight that is none": (weight(CONV, lambda t: [1.0]), f"weights is without {CONV}"),
    "a weight more": (lambda p: p["weights"].update(more=torch.zeros(1)), "weights is with more; expected the 50"),
    "a weight less": (lambda p: p["weights"].pop("head.bias"), "weights is without head.bias"),
    "a weight by number": (lambda p: p["weights"].update({3: torch.zeros(1)}), "weights is with 3"),
    "other shapes": (weight("head.weight", lambda t: t[:, :3]), "head.weight is (2, 3); expected shape (2, 32)"),
    "weights as a list": (lambda p: p.update(weights=[1, 2]), "expected values and weights by name"),
    "no weights": (lambda p: p.pop("weights"), "expected format, format_version, values, weights, familiarity"),
    "something more": (lambda p: p.update(more=1), "expected format, format_version, values, weights, familiarity"),
    "a value less": (lambda p: p["values"].pop("mean"), "values is without mean"),
    "a value more": (value("model", 1), "values is with model"),
    "a value by number": (lambda p: p["values"].update({3: 1}), "values is with 3"),
    "temperature 0": (value("temperature", 0.0), "temperature is 0.0; expected a number in 0.001..1000"),
    "temperature negative": (value("temperature", -1.0), "temperature is -1.0"),
    "temperature NaN": (value("temperature", NAN), "temperature is nan"),
    "temperature infinite": (value("temperature", INF), "temperature is inf"),
    "temperature tiny": (value("temperature", 1e-300), "temperature is 1e-300"),
    "temperature True": (value("temperature", True), "temperature is True"),
    "temperature as text": (value("temperature", "1"), "temperature is '1'"),
    "temperature as a tensor": (value("temperature", torch.ones(1)), "temperature is TensorHeader"),
    "std 0": (value("std", 0.0), "std is 0.0; expected a number in 0.001..1"),
    "std NaN": (value("std", NAN), "std is nan"),
    "std of three": (value("std", [0.2, 0.2, 0.2]), "std is [0.2, 0.2, 0.2]; expected a number"),
    "mean NaN": (value("mean", NAN), "mean is nan; expected a number in 0..1"),
    "mean of three": (value("mean", (0.4, 0.4, 0.4)), "mean is (0.4, 0.4, 0.4); expected a number"),
    "threshold 7": (value("thresholds", {"score=0.5": 7}), "threshold of score=0.5 is 7; expected a score in 0..1"),
    "threshold NaN": (value("thresholds", {"score=0.5": NAN}), "threshold of score=0.5 is nan"),
    "threshold negative": (value("thresholds", {"score=0.5": -0.1}), "threshold of score=0.5 is -0.1"),
    "threshold minus infinity": (value("thresholds", {"score=0.5": -INF}), "threshold of score=0.5 is -inf"),
    "another threshold NaN": (value("thresholds", {"score=0.5": 0.5, "youden": NAN}), "threshold of youden is nan"),
    "no thresholds": (value("thresholds", {}), "thresholds is for no rule; expected one for score=0.5"),
    "thresholds as a list": (value("thresholds", [0.5]), "thresholds is [0.5]"),
    "threshold by number": (value("thresholds", {5: 0.5, "score=0.5": 0.5}), "expected a threshold for each rule"),
    "another rule": (value("default_rule", "youden"), "expected one for youden, which decides"),
    "a rule that is none": (value("default_rule", None), "default_rule is None"),
    "classes reversed": (value("classes", list(CLASSES[::-1])), "classes is ['Fractured', 'Not Fractured']; expected"),
    "classes of three": (value("classes", [*CLASSES, "Perhaps"]), "classes is"),
    "classes as a number": (value("classes", 2), "classes is 2"),
    **{
        f"size {size!r}": (value("size", size), f"size is {size!r}; expected 16 to 4096 pixels")
        for size in (0, -5, 7, 10**9, "64", True, 64.0, None, NAN)
    },
    "looks": (value("looks", 1), "values is with looks; expected"),
    "fingerprint as a number": (value("fingerprint", 7), "fingerprint is 7; expected text"),
    "fingerprint of a megabyte": (value("fingerprint", "a" * 10**6), "expected text of one line"),
    "version as a list": (value("version", ["1"]), "version is ['1']"),
    "no architecture": (net("resnet"), "architecture is 'resnet'; expected one of localizing"),
    "architecture as text": (value("architecture", "small_cnn"), "expected a name and options"),
    "an option too many": (net("small_cnn", seed=1), "small_cnn with seed; expected width"),
    "width 10**9": (net("small_cnn", width=10**9), "width is 1000000000; expected a whole"),
    "width True": (net("small_cnn", width=True), "width is True"),
    "width as text": (net("small_cnn", width="4"), "width is '4'"),
    "another width": (net("small_cnn", width=1024), "is (4, 1, 3, 3); expected shape (1024"),
    "closer of another network": (net("small_cnn", closer=True), "small_cnn with closer; expected width"),
    "a closer look without a network": (
        value("closer_look", CLOSER), "closer_look is {'weights'", 
    ),
    "extra as a list": (value("extra", [1]), "extra is [1]; expected plain values by name"),
    "extra with a tensor": (value("extra", {"a": {"b": torch.zeros(2)}}), "a value in extra is of type TensorHeader"),
    "extra by number": (value("extra", {"a": {1: 2}}), "a key in extra is 1; expected text"),
    "extra deep": (value("extra", {"a": nested(DEEPEST + 5)}), f"nested more than {DEEPEST} deep"),
    "extra rather deep": (value("extra", {"a": nested(20)}), "extra is nested more than 16 deep"),
    "extra long": (value("extra", {"a": [0.5] * (MOST_VALUES + 1)}), f"more than {MOST_VALUES} values"),
    "config as text": (value("extra", {"config": "good"}), "extra config is 'good'; expected values by name"),
    "format version as text": (lambda p: p.update(format_version="1"), "of version '1'; this fracturelib reads"),
    "format version True": (lambda p: p.update(format_version=True), "of version True; this fracturelib reads"),
    "a list": (lambda p: p.update(format=["fracturelib checkpoint"]), "saved by something else"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_means_nothing_is_refused_in_one_line(tmp_path: Path, good: Path, case: str) -> None:
    change, message = REFUSED[case]
    path = changed(good, tmp_path / "odd.pt", change)
    with pytest.raises(InputError) as error:
        load_classifier(path)
    line = str(error.value)
    assert message in line and line.startswith(f"{path}: ") and "\n" not in line and len(line) < 500


def test_what_means_something_is_read(tmp_path: Path, good: Path) -> None:
    """Among it a threshold at which nobody is predicted fractured, which a rule may find best."""

    def youden(threshold: float) -> Change:
        new = {"thresholds": {"youden": threshold}, "default_rule": "youden"}
        return lambda payload: payload["values"].update(new)

    classifier = load_classifier(changed(good, tmp_path / "never.pt", youden(INF)))
    assert classifier.threshold == INF and classifier.decide(np.array([0.0, 1.0])) == ["Not Fractured"] * 2
    for ends in (0, 1, 0.0, 1.0):
        assert load_classifier(changed(good, tmp_path / "ends.pt", youden(ends)))
    assert load_classifier(changed(good, tmp_path / "half.pt", weight(CONV, torch.Tensor.half)))
    assert load_classifier(PRETRAINED).localizes


MEASURED = """
import sys, time
from fracturelib._io.files import InputError
from fracturelib.models.classifier import load_classifier
from tests.fuzz.watch import peak_megabytes as peak

for path in sys.argv[1:]:
    before, start = peak(), time.process_time()
    try:
        load_classifier(path)
    except InputError as error:
        print(time.process_time() - start, peak() - before, error, sep="|")
"""


def zipped(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(f"model/{name}", content)
    return path


def with_storage_that_lies(good: Path, path: Path) -> Path:
    """A storage of 2 GB in a few bytes: what is read behind them would be other memory."""
    with zipfile.ZipFile(good) as archive:
        entries = {e.filename.partition("/")[2]: archive.read(e) for e in archive.infolist()}
    (said,) = (b"K\x24tq", b"J" + (2**29).to_bytes(4, "little") + b"tq")[:1]
    assert entries["data.pkl"].count(said) >= 1
    record = entries["data.pkl"].replace(said, b"J" + (2**29).to_bytes(4, "little") + b"tq", 1)
    return zipped(path, {**entries, "data.pkl": record})


def deflated(good: Path, path: Path) -> Path:
    """64 megabytes of zeros, packed to 64 kilobytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("model/data.pkl", "w") as entry:
        for _ in range(64):
            entry.write(bytes(2**20))
    return path


def far_memo(good: Path, path: Path) -> Path:
    """A value that asks to be remembered as number four billion, which a reader in C makes room for."""
    return zipped(path, {"data.pkl": b"\x80\x02Nr\xff\xff\xff\xff.", "version": b"3\n"})


def endless_hash(good: Path, path: Path) -> Path:
    """A key of tuples in tuples: each holds the one before it twice, so that its hash takes 2**40 steps."""
    record = b"\x80\x02}K\x01\x85" + b"".join(b"q%c" % i + b"h%c\x86" % i for i in range(40)) + b"K\x01s."
    return zipped(path, {"data.pkl": record, "version": b"3\n"})


def many_laughs(good: Path, path: Path) -> Path:
    """Lists of ten times the list before: few bytes that become 10**30 values for who walks them."""
    payload = torch.load(good, weights_only=True)
    laugh: Any = ["ha"]
    for _ in range(30):
        laugh = [laugh] * 10
    payload["values"]["extra"] = {"a": laugh}
    torch.save(payload, path)
    return path


def state_on_a_tensor(good: Path, path: Path) -> Path:
    """A tensor of four numbers that is told afterwards, by the instruction to restore a state, to have 10**10."""
    with zipfile.ZipFile(good) as archive:
        entries = {e.filename.partition("/")[2]: archive.read(e) for e in archive.infolist()}
    record = entries["data.pkl"]
    last = record.rindex(b"Rr") + 6  # the last tensor is made and remembered
    build = b"(K\x00J\x00\xe1\xf5\x05\x85K\x00\x85tb"
    return zipped(path, {**entries, "data.pkl": record[:last] + build + record[last:]})


HOSTILE: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "40 GB in 4 bytes": (
        lambda good, path: changed(good, path, weight(CONV, lambda t: torch.zeros(1).expand(10**5, 10**5))),
        "on 1 numbers",
    ),
    "a storage that lies": (with_storage_that_lies, "a storage of 536870912 x float32 has 144 bytes"),
    "deflated": (deflated, "compressed, or longer than the file"),
    "far memo": (far_memo, "saved by something else"),
    "endless hash": (endless_hash, "a key of type tuple"),
    "many laughs": (many_laughs, "values"),
    "a state for a tensor": (state_on_a_tensor, "a state for something that has none"),
}


def test_what_would_fill_memory_is_refused_early(tmp_path: Path, good: Path) -> None:
    paths = [str(make(good, tmp_path / f"{i}.pt")) for i, (make, _) in enumerate(HOSTILE.values())]
    command = [sys.executable, "-c", MEASURED, *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == len(HOSTILE), done.stderr[-2000:]
    for case, line in zip(HOSTILE, lines, strict=True):
        seconds, megabytes, words = line.split("|", 2)
        assert HOSTILE[case][1] in words and float(seconds) < 2 and float(megabytes) < 300, (case, line)


def test_a_changed_byte_is_noticed(tmp_path: Path, good: Path) -> None:
    """Also in a weight, where every value would still be a number."""
    content = bytearray(good.read_bytes())
    with zipfile.ZipFile(good) as archive:
        entry = max(archive.infolist(), key=lambda e: e.file_size)
    start = content.index(archive_bytes(good, entry.filename))
    content[start + entry.file_size // 2] ^= 1
    (tmp_path / "flipped.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"flipped\.pt: not a fracturelib checkpoint, or damaged"):
        load_classifier(tmp_path / "flipped.pt")


def archive_bytes(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def test_any_change_of_the_bytes_is_a_line(tmp_path: Path, good: Path) -> None:
    """Sixty files with bytes changed, cut or added: read as they were, or one line; never anything else."""
    content, rng = good.read_bytes(), np.random.default_rng(0)
    path = tmp_path / "odd.pt"
    for i in range(60):
        odd = bytearray(content)
        place = int(rng.integers(len(odd)))
        if i % 3 == 0:
            odd[place : place + 8] = rng.bytes(8)
        elif i % 3 == 1:
            del odd[place : place + int(rng.integers(1, 5000))]
        else:
            odd[place:place] = rng.bytes(int(rng.integers(1, 5000)))
        path.write_bytes(odd)
        try:
            load_classifier(path)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def test_objects_are_named_and_not_made(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "made",)

    stream = io.BytesIO()
    pickle.Pickler(stream, protocol=2).dump({"format": FORMAT, "x": Touch()})
    zipped(tmp_path / "odd.pt", {"data.pkl": stream.getvalue(), "version": b"3\n"})
    with pytest.raises(InputError, match=r"holds Python objects .* and was not opened; .*getattr\)"):
        load_classifier(tmp_path / "odd.pt")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("case", ["weights NaN", "temperature 0", "threshold 7", "classes reversed", "std 0"])
def test_every_way_to_a_checkpoint_refuses_it(
    tmp_path: Path, good: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    change, message = REFUSED[case]
    odd = changed(good, tmp_path / "odd.pt", change)
    folder = plain_folder(tmp_path / "data", splits={"train": 2, "val": 2})
    image = save(radiograph(1), tmp_path / "a.jpg")
    ways = [
        ["predict", image, "--model", odd, "--csv", tmp_path / "a.csv"],
        ["explain", image, "--model", odd, "--out", tmp_path / "maps"],
        ["train", folder, "--out", tmp_path / "run", "--start", odd],
    ]
    for way in ways:
        assert main([str(a) for a in way]) != 0
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert message in line and str(odd) in line, way[0]
    assert not (tmp_path / "a.csv").exists()
    with pytest.raises(InputError, match=r"odd\.pt: a checkpoint that does not fit together"):
        load_start(odd, TrainConfig())


def test_a_training_state_is_read_as_carefully(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"format": "a state", "format_version": 1, "x": torch.zeros(1).expand(10**5, 10**5)}, path)
    with pytest.raises(InputError, match=r"state\.pt: not a a state, or damaged \(a tensor of shape"):
        load_payload(path, expected="a state", version=1)
    torch.save({"format": "a state", "format_version": 1, "x": torch.ones(3)}, path)
    assert load_payload(path, expected="a state", version=1)["x"].sum() == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": NAN}, "temperature is nan"),
        ({"thresholds": {"score=0.5": NAN}}, "threshold of score=0.5 is nan"),
        ({"std": 0.0}, "std is 0.0"),
        ({"classes": CLASSES[::-1]}, "classes is"),
        ({"extra": {"odd": {1, 2}}}, "a value in extra is of type set"),
        ({"extra": {"result": np.float64(1.0)}}, "a value in extra is of type float64"),
    ],
)
def test_what_would_not_be_read_is_not_written(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"model\.pt: not written, because {message}"):
        save_classifier(made(**changes), tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())


def test_a_network_of_nan_is_not_written(tmp_path: Path) -> None:
    odd = made()
    with torch.no_grad():
        odd.model.head.weight[1, 3] = NAN  # type: ignore[union-attr,index]
    with pytest.raises(InputError, match=r"not written, because head\.weight is NaN or infinite in 1 of 64 places"):
        save_classifier(odd, tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())


def test_a_training_that_diverges_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    labels = np.arange(16) % 2
    images = np.stack([radiograph(i, fractured=bool(label), width=64, height=64) for i, label in enumerate(labels)])
    data = Images(images, labels.astype(np.int64))
    start = build_model("small_cnn", seed=0).state_dict()
    start["stage4.2.1.weight"].fill_(1e20)
    start["head.weight"].fill_(1e30)
    config = TrainConfig(size=64, epochs=4, batch=8, augment=False)
    with pytest.raises(InputError, match=r"epoch 1: the loss became nan and .* a lower learning rate than 0\.002"):
        fit(data, data, config, initial=start, out=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


# Never a decision without a finite score


def overflowing() -> Classifier:
    """Finite weights whose products are not: a checkpoint that is read, and gives no number for a bright image."""
    classifier = made()
    with torch.no_grad():
        classifier.model.stage4[-1][1].weight.fill_(1e20)  # type: ignore[union-attr,index]
        classifier.model.head.weight.fill_(1e30)  # type: ignore[union-attr]
        classifier.model.head.weight[0].neg_()  # type: ignore[union-attr,index]
    return classifier


def test_no_decision_without_a_score() -> None:
    classifier = made()
    assert classifier.decide(np.array([NAN, 0.9, INF, -INF])) == ["", "Fractured", "", ""]
    assert classifier.decide(np.array([0.5, np.nextafter(0.5, 0)])) == ["Fractured", "Not Fractured"]
    images = np.stack([radiograph(1, width=64, height=64)] * 2)
    with pytest.raises(InputError, match=r"\(small_cnn\) gives no number for 2 of 2 images, .* expected a score in"):
        overflowing().scores(images)
    with pytest.raises(InputError, match="logits are not finite for 1 of 2 images"):
        fit_temperature(np.array([[0.0, NAN], [1.0, 2.0]]), np.array([0, 1]))
    assert math.isfinite(float(classifier.scores(images)[0]))


def test_a_score_is_the_softmax_of_logits_over_the_temperature() -> None:
    images = np.stack([radiograph(i, width=64, height=64) for i in range(3)])
    warm = made(temperature=4.0)
    logits = warm.logits(images)
    expected = 1 / (1 + np.exp((logits[:, 0] - logits[:, 1]) / 4))
    np.testing.assert_allclose(warm.scores(images), expected, rtol=1e-12)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_is_found_again(temperature: float) -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 20_000)
    labels = (rng.random(len(honest)) < 1 / (1 + np.exp(-honest))).astype(np.int64)
    logits = temperature * np.stack([-honest / 2, honest / 2], axis=1)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_marks_are_the_sigmoid_of_what_the_network_marks() -> None:
    classifier = load_classifier(PRETRAINED)
    images = np.stack([radiograph(i, width=384, height=384) for i in range(2)])
    with torch.inference_mode():
        expected = 1 / (1 + np.exp(-classifier.model.mark(classifier.tensor(images)).numpy()))  # type: ignore[operator]
    np.testing.assert_allclose(classifier.localize(images), expected, atol=1e-6)


def test_a_row_without_a_score_has_a_reason(tmp_path: Path) -> None:
    save_classifier(overflowing(), tmp_path / "model.pt")
    save(radiograph(1), tmp_path / "in" / "a.jpg")
    rows = predict_paths([tmp_path / "in"], tmp_path / "model.pt", progress=False)
    assert rows["score"].isna().all() and list(rows["decision"]) == [""]
    assert "gives no number" in rows["reason"].iloc[0]
    main(["explain", str(tmp_path / "in"), "--model", str(tmp_path / "model.pt"), "--out", str(tmp_path / "m")])
    assert not list((tmp_path / "m").glob("*.png"))


def test_checkpoints_of_older_versions_are_read(good: Path, tmp_path: Path) -> None:
    """With their old names, and without what they could do besides."""
    now = load_classifier(good)
    payload = torch.load(good, weights_only=True)
    values = payload["values"]
    del values["closer_look"]
    twice = {"temperature": 1.5, "thresholds": {"score=0.5": 0.5}}
    for version in (2, 3):
        older = values | {"tta": False, "tta_calibration": twice}
        kept = payload if version == 3 else {k: v for k, v in payload.items() if k != "familiarity"}
        torch.save({**kept, "values": older, "format_version": version}, tmp_path / "old.pt")
        assert load_classifier(tmp_path / "old.pt").extra == now.extra
    torch.save({**payload, "values": older | {"tta": True}, "format_version": 3}, tmp_path / "old.pt")
    with pytest.raises(InputError, match=r"old\.pt: .* scores are means of two looks, .*; expected one look"):
        load_classifier(tmp_path / "old.pt")
    values["extra"] = {"recipe": values["extra"].pop("config"), "two looks": twice, **values["extra"]}
    del payload["familiarity"]
    torch.save({**payload, "format_version": 1}, tmp_path / "old.pt")
    assert load_classifier(tmp_path / "old.pt").extra == now.extra
    values["looks"] = 2
    torch.save({**payload, "format_version": 1}, tmp_path / "old.pt")
    with pytest.raises(InputError, match="expected one look"):
        load_classifier(tmp_path / "old.pt")
    older = from_older_version({"architecture": {"name": "taught_lite0"}}, 1)
    assert older["architecture"]["name"] == "localizing_efficientnet"
