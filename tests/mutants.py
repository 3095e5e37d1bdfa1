"""Planted faults that the tests must notice: `make mutants`, or `python -m tests.mutants --only NAME`.

Each is one wrong line in a copy of the library, and the tests that have to fail for it. A fault that survives is a
missing test. One warm process forks for every fault, so that PyTorch is loaded once; fracturelib is loaded after that.
"""

import argparse
import compileall
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 60  # seconds, of the tests of one fault
PRELOADED = (
    "torch", "numpy", "pandas", "cv2", "PIL.Image", "scipy.stats", "scipy.optimize", "scipy.sparse.csgraph",
    "scipy.cluster.vq", "sklearn.model_selection", "sklearn.ensemble", "sklearn.linear_model", "sklearn.isotonic",
    "sklearn.metrics", "matplotlib.pyplot", "seaborn", "tqdm.auto", "pydicom", "pytest",
    "torch._dynamo", "torch.optim.swa_utils", "torch.nn.parallel", "torchvision", "captum.attr", "pytorch_grad_cam",
    "hypothesis.strategies", "threadpoolctl", "requests",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One wrong line.

    Attributes
    ----------
    name : str
        What is wrong, in plain words.
    file : str
        In fracturelib.
    old, new : str
        The text as it is, which stands in the file exactly once, and what it becomes.
    tests : str
        What must fail: files of tests or tests in them, and perhaps -k and a word.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str

    @property
    def path(self) -> str:
        return f"fracturelib/{self.file}"

    @property
    def arguments(self) -> list[str]:
        return [f"tests/{word}" if word.startswith("test_") else word for word in self.tests.split()]

    def planted(self, text: str) -> str:
        """The file's text with the fault in it. Raises ValueError unless the old text is there exactly once."""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"the old text is in {self.path} {found} times; expected once")
        return text.replace(self.old, self.new)


# fmt: off
FAULTS = (
    # data
    Fault("the EXIF orientation is not applied", "data/decode.py",
          "grey = _upright(_grey(image, path, tiff), turned)",
          "grey = _grey(image, path, tiff)",
          "test_images.py::test_the_exif_orientation_is_applied"),
    Fault("orientation 6 is turned the other way", "data/decode.py",
          "direction in (3, 4, 7, 8), direction in (2, 3, 6, 7)",
          "direction in (3, 4, 6, 7), direction in (2, 3, 7, 8)",
          "test_decode.py::test_exif_of_every_format"),
    Fault("the size of a turned image is that of the stored one", "data/decode.py",
          "return image.size[::-1] if _orientation(image)[0] in TURNED else image.size",
          "return image.size",
          "test_images.py::test_the_exif_orientation_is_applied test_decode.py::test_exif_of_every_format"),
    Fault("transparent parts are white", "data/decode.py",
          "colour.size, (0, 0, 0, 255)",
          "colour.size, (255,) * 4",
          "test_images.py::test_transparent_parts_are_black test_decode.py::test_a_palette_with_transparency"),
    Fault("12 bits in 16 are shown as 16", "data/pixels.py",
          "part = part / 2.0 ** (max(8, int(high).bit_length()) - 8)",
          "part = part / 256",
          "test_images.py::test_more_than_8_bits test_decode.py::test_12_bits_in_16_bit_colour"),
    Fault("white is zero is not heeded", "data/pixels.py",
          "return 255 - grey if white_is_zero else grey",
          "return grey",
          "test_decode.py::test_tiff_of_every_type_of_number"),
    Fault("red and blue are swapped in deep colours", "data/tiff.py",
          "luma(values, order=(2, 1, 0))",
          "luma(values)",
          "test_decode.py::test_deep_colours_have_the_luma_of_their_8_bits"),
    Fault("MONOCHROME1 is not inverted", "data/lookup_tables.py",
          'str(dataset.PhotometricInterpretation) == "MONOCHROME1" or shape',
          "shape",
          "test_dicom.py::test_black_and_white_are_turned_about_once"),
    Fault("the padding of DICOM stretches its grey values", "data/lookup_tables.py",
          "counted = modality[there & ~padded]",
          "counted = modality[there]",
          "test_dicom.py::test_padding_is_not_counted_and_black"),
    Fault("the window comes before the modality LUT", "data/lookup_tables.py",
          "        values = self._modality(values)\n        lut",
          "        lut",
          "test_dicom.py::test_a_modality_lut_comes_before_the_window"),
    Fault("images are not centred in their squares", "data/images.py",
          "scale, (size - w) // 2, (size - h) // 2)",
          "scale, 0, 0)",
          "test_images.py::test_to_square_pads_the_short_side"),
    Fault("from the square to the image the padding stays", "data/images.py",
          "(np.asarray(points, dtype=np.float64) - [self.left, self.top]) * factor",
          "np.asarray(points, dtype=np.float64) * factor",
          "test_images.py::test_the_geometry_goes_there_and_back"),
    Fault("a thin fracture vanishes from its mask", "data/masks.py",
          "if mask.any() and not square.any():",
          "if False:",
          "test_images.py::test_a_thin_mask_never_vanishes"),
    Fault("the masks of all images are those of the first", "data/masks.py",
          "masks[i] = mask_to_square(mask, size)",
          "masks[0] = mask_to_square(mask, size)",
          "test_commands.py::test_an_outline_lies_where_the_image_shows_it"),
    Fault("the mask has x and y swapped", "data/coco.py",
          "[np.round(points).astype(np.int32)]",
          "[np.round(points[:, ::-1]).astype(np.int32)]",
          "test_data.py::test_annotations_and_masks"),
    Fault("run lengths begin with the fracture", "data/coco.py",
          "zip(ends[1::2], ends[2::2], strict=False)",
          "zip(ends[::2], ends[1::2], strict=False)",
          "test_coco.py::test_run_lengths_both_ways"),
    Fault("counts of run lengths differ from the one before", "data/coco.py",
          "counts[-2] if len(counts) > 2",
          "counts[-1] if len(counts) > 2",
          "test_coco.py::test_run_lengths_both_ways"),
    Fault("every category of COCO is a fracture", "data/coco.py",
          "_id(category) not in taken:",
          '_id(category) == "nothing":',
          "test_coco.py::test_only_fractures_are_taken_and_it_is_said"),
    Fault("outlines are turned the other way than their image", "data/coco.py",
          "6: (bottom, x)",
          "6: (y, right)",
          "test_importer.py::test_annotations_are_turned_with_the_image"),
    Fault("the middle of a YOLO box is taken for its corner", "data/yolo.py",
          "box = (x - w / 2) * width, (y - h / 2) * height",
          "box = x * width, y * height",
          "test_layouts_agree.py -k yolo_beside"),
    Fault("a split parts images of one patient", "data/groups.py",
          "splitter.split(np.zeros(len(groups)), strata, groups)",
          "splitter.split(np.zeros(len(groups)), strata, np.arange(len(groups)))",
          "test_importer.py::test_a_split_shares_out_each_stratum"),
    Fault("strata are not shared out alike", "data/groups.py",
          "strata = strata.where(~rare, classes)",
          "strata = classes",
          "test_importer.py::test_a_region_of_few_images_is_shared_out_as_well"),
    Fault("groups in two splits of the source stay there", "data/groups.py",
          "shared = spread.index[spread > 1]",
          "shared = spread.index[spread > 2]",
          "test_importer.py::test_a_leak_in_the_source_is_said "
          "test_audit.py::test_an_import_moves_leaks_out_of_test"),
    Fault("shared groups are moved into test", "data/groups.py",
          '(part["split"] == "train").any() else "val"',
          '(part["split"] == "train").any() else "test"',
          "test_importer.py::test_groups_in_two_splits_go_to_train_or_else_to_val"),
    Fault("groups are joined directly only, by one link", "data/groups.py",
          "return [first[int(component[i])] for i in g]",
          "return [str(g_names[min(g[o == o[k]])]) for k in range(len(g))]",
          "test_importer.py::test_joined_groups_are_the_connected_ones"),
    Fault("no fracture means fracture", "data/labels.py",
          '_NO = frozenset(["no", ',
          '_NO = frozenset([',
          "test_coco.py::test_categories_that_mean_fracture"),
    Fault("the folder called valid is a test split", "data/labels.py",
          '"valset", "validationset"), "val")',
          '"valset", "validationset"), "test")',
          "test_importer.py::test_class_folders_with_splits_keep_them"),
    Fault("unfractured is read as fractured", "data/labels.py",
          '("fractured", "fracture", "fractures", "positive",',
          '("unfractured", "fractured", "fracture", "fractures",',
          "test_coco.py::test_categories_that_mean_fracture"),
    Fault("a manifest against its folders is not reported", "data/manifest.py",
          "pd.Series(told).notna()).fillna(False)",
          "pd.Series(told).isna()).fillna(False)",
          "test_audit.py::test_patients_in_two_splits"),
    Fault("an image may be twice in a manifest", "data/manifest.py",
          "if key and key in seen:",
          "if not key:",
          "test_data.py::test_a_manifest_that_breaks_the_contract"),
    Fault("a manifest may name files outside of its folder", "data/manifest.py",
          'PureWindowsPath(text).drive or ".." in PureWindowsPath(text).parts',
          "PureWindowsPath(text).drive",
          "test_data.py::test_a_manifest_that_breaks_the_contract"),
    Fault("the fingerprint does not know of patients", "data/dataset.py",
          'frame.sort_values("file")[["file", "split", "label", "group",',
          'frame.sort_values("file")[["file", "split", "label",',
          "test_data.py::test_each_column_of_the_contract_is_in_the_fingerprint"),
    Fault("an image without a patient shares one with all such", "data/predictions.py",
          'frame["group"].fillna(frame["file"])',
          'frame["group"].fillna("unknown")',
          "test_predictions.py::test_an_image_without_a_patient_is_its_own"),
    Fault("percentages pass for scores", "data/predictions.py",
          "bad = ~((score >= 0) & (score <= 1))",
          "bad = ~((score >= 0) & (score <= 100))",
          "test_predictions.py::test_tables_that_break_the_contract"),
    Fault("an image may be twice in a table of scores", "data/predictions.py",
          'if frame["file"].duplicated().any():',
          'if frame["file"].duplicated().all():',
          "test_predictions.py::test_tables_that_break_the_contract"),
    # training
    Fault("augmented() returns noise", "training/augment.py",
          "return ((moved - 127) * contrast + 127 + brightness).clamp(0, 255).byte()",
          "return (torch.rand(moved.shape, generator=generator) * 255).byte()",
          "test_train.py::test_augmented_images_are_moved_as_is_said"),
    Fault("augmented images are upside down", "training/augment.py",
          "return ((moved - 127) * contrast",
          "return ((moved.flip(1) - 127) * contrast",
          "test_train.py::test_augmented_images_are_moved_as_is_said"),
    Fault("augmented images are turned twice as far", "training/augment.py",
          "angle = (u[1] - 0.5) * math.radians(16)",
          "angle = (u[1] - 0.5) * math.radians(32)",
          "test_train.py::test_augmented_images_are_moved_as_is_said"),
    Fault("masks are moved as another image is", "training/augment.py",
          "masks[outlined].unsqueeze(1).float(), grid[outlined]",
          "masks[outlined].unsqueeze(1).float(), grid[: int(outlined.sum())]",
          "test_finetune.py::test_a_mask_moves_with_its_image"),
    Fault("the display curve of augmentation is no power", "training/augment.py",
          "shown = 255 * (moved / 255) ** curve",
          "shown = moved * curve",
          "test_finetune.py::test_the_display_curve_is_a_power"),
    Fault("the focal loss heeds the easy places", "training/losses.py",
          "weight * missed**gamma * plain",
          "weight * (1 - missed) ** gamma * plain",
          "test_localizer.py::test_focal_loss_by_definition"),
    Fault("the focal loss weighs its classes the wrong way", "training/losses.py",
          "weight = positive * truth + (1 - positive) * (1 - truth)",
          "weight = (1 - positive) * truth + positive * (1 - truth)",
          "test_localizer.py::test_focal_loss_by_definition"),
    Fault("the peak loss wants the peak beside the fracture", "training/losses.py",
          "masked_fill(~inside[known]",
          "masked_fill(inside[known]",
          "test_localizer.py::test_point_loss_by_definition"),
    Fault("small fractures vanish from the grid", "training/losses.py",
          "F.adaptive_max_pool2d(masks[:, None].float(), grid)[:, 0]",
          "F.adaptive_avg_pool2d(masks[:, None].float(), grid)[:, 0].round()",
          "test_localizer.py::test_the_grid_keeps_the_smallest_fracture"),
    Fault("the weakest place counts as the peak", "training/losses.py",
          "best = cells.flatten(1).argmax(dim=1)",
          "best = cells.flatten(1).argmin(dim=1)",
          "test_localizer.py::test_peak_hits"),
    Fault("unknown labels count in the mean of several", "training/multilabel.py",
          "known.sum().clamp(min=1)",
          "max(len(known), 1)",
          "test_multilabel.py::test_an_unknown_label_counts_nothing_and_gets_no_gradient"),
    Fault("images of a batch get the labels of others", "training/train.py",
          "torch.from_numpy(radiographs.labels[chosen])",
          "torch.from_numpy(radiographs.labels[order[start : start + config.batch]])",
          "test_train.py::test_an_image_keeps_its_label_in_a_batch"),
    Fault("it is trained on validation", "training/train.py",
          "in training_batches(train, config, epoch)",
          "in training_batches(val, config, epoch)",
          "test_train.py::test_weights_are_learnt_from_train_alone"),
    Fault("a fold's patients are in its training, too", "training/folds.py",
          'split = np.where(number == fold, "test", "train")',
          'split = np.where((number == fold) & (np.arange(len(number)) % 2 == 0), "test", "train")',
          "test_folds.py::test_nobody_is_judged_by_a_network_that_met_them"),
    Fault("folds are calibrated as if they had one temperature", "training/folds.py",
          'scores["fold"].map(temperature)',
          "float(np.mean(list(temperature.values())))",
          "test_folds.py::test_each_fold_has_its_temperature"),
    Fault("an average is its first network", "training/soup.py",
          "torch.stack([state[name] for state in states]).mean(dim=0)",
          "states[0][name]",
          "test_soup.py::test_each_weight_is_the_mean"),
    Fault("a fold's average is that of networks that learnt from all images", "training/soup.py",
          'path.parent / f"fold-{fold}" / path.name',
          "path",
          "test_soup.py::test_a_fold_is_averaged_from_networks_of_that_fold"),
    Fault("RadImageNet's features see grey values as ImageNet's do", "models/backbones.py",
          "    if medical:\n",
          "    if not medical:\n",
          "test_backbones.py::test_radimagenet"),
    Fault("a backbone's batch statistics move while its heads learn", "models/backbones.py",
          "getattr(self, name).eval()",
          "getattr(self, name).train(mode)",
          "test_backbones.py::test_nothing_depends_on_the_batch"),
    Fault("a network without outlines claims to localize", "models/classifier.py",
          "and weights != [0, 0]",
          "",
          "test_backbones.py::test_without_outlines"),
    Fault("what lies far along no axis is familiar", "models/familiarity.py",
          "+ across / self.rest**2",
          "",
          "test_familiarity.py::test_far_in_any_direction_is_unlike"),
    Fault("negatives are scored as they are", "models/doubts.py",
          "judged.logits[i], judged.thresholds[i], doubts[i] = again.logits[k], again.thresholds[k], NEGATIVE",
          "doubts[i] = NEGATIVE",
          "test_familiarity.py::test_predict_says_what_is_strange"),
    Fault("the last epoch is kept, not the best", "training/train.py",
          "if val is None or state.best_epoch == epoch:",
          "if True:",
          "test_train.py::test_early_stopping_keeps_the_best_epoch"),
    Fault("early stopping waits an epoch too long", "training/train.py",
          ">= config.patience:",
          "> config.patience:",
          "test_train.py::test_early_stopping_keeps_the_best_epoch"),
    Fault("among equal epochs the worst loss is kept", "training/config.py",
          "(val_auc[i], -val_loss[i])",
          "(val_auc[i], val_loss[i])",
          "test_train.py::test_of_equal_epochs_the_one_with_the_lowest_loss_is_kept"),
    Fault("the normalisation is that of validation", "training/train.py",
          "_Learner.begun(train.images, ",
          "_Learner.begun(val.images, ",
          "test_train.py::test_weights_are_learnt_from_train_alone"),
    Fault("thresholds are chosen on scores without temperature", "training/train.py",
          "thresholds_of(scores_from_logits(logits, temperature), labels)",
          "thresholds_of(scores_from_logits(logits), labels)",
          "test_train.py::test_the_threshold_keeps_its_promise_on_validation"),
    Fault("the threshold for 0.90 is that for 0.80", "training/train.py",
          "threshold_for_sensitivity(labels, scores, 0.90)",
          "threshold_for_sensitivity(labels, scores, 0.80)",
          "test_train.py::test_the_threshold_keeps_its_promise_on_validation"),
    # models
    Fault("scores are those of not fractured", "models/classifier.py",
          "softmax(logits / temperature, axis=1)[:, 1]",
          "softmax(logits / temperature, axis=1)[:, 0]",
          "test_checkpoint.py::test_a_score_is_the_softmax_of_logits_over_the_temperature"),
    Fault("the temperature multiplies", "models/classifier.py",
          "softmax(logits / temperature, axis=1)",
          "softmax(logits * temperature, axis=1)",
          "test_checkpoint.py::test_a_score_is_the_softmax_of_logits_over_the_temperature"),
    Fault("the temperature is fitted upside down", "models/classifier.py",
          "return float(np.exp(best.x))",
          "return float(np.exp(-best.x))",
          "test_checkpoint.py::test_the_temperature_is_found_again"),
    Fault("a score at the threshold is not fractured", "models/classifier.py",
          "self.classes[int(s >= t)]",
          "self.classes[int(s > t)]",
          "test_checkpoint.py::test_no_decision_without_a_score"),
    Fault("the mean is taken before the division by 255", "models/classifier.py",
          "(images.float() / 255 - mean) / std",
          "(images.float() - mean) / 255 / std",
          "test_train.py::test_the_normalisation_is_that_of_the_training_set"),
    Fault("a damaged checkpoint is loaded", "models/classifier.py",
          "    require_undamaged(path, expected=expected)\n",
          "",
          "test_checkpoint.py::test_a_changed_byte_is_noticed"),
    Fault("a checkpoint may have its classes in any order", "models/checkpoint_checks.py",
          'tuple(values["classes"]) != classes',
          'set(values["classes"]) != set(classes)',
          "test_checkpoint.py::test_what_means_nothing_is_refused_in_one_line"),
    Fault("a checkpoint's threshold may be any number", "models/checkpoint_checks.py",
          "if not (_number(value) and 0 <= value <= 1)",
          "if not (_number(value) and value >= 0)",
          "test_checkpoint.py::test_what_means_nothing_is_refused_in_one_line"),
    Fault("a checkpoint may decide by a rule without threshold", "models/checkpoint_checks.py",
          "    if rule not in thresholds:",
          '    if rule == "":',
          "test_checkpoint.py::test_what_means_nothing_is_refused_in_one_line"),
    Fault("weights that are no numbers are loaded", "models/checkpoint_checks.py",
          "if value.is_floating_point() and not bool(torch.isfinite(value).all()):",
          "if value.is_floating_point() and bool(torch.isnan(value).all()):",
          "test_checkpoint.py::test_a_network_of_nan_is_not_written "
          "test_checkpoint.py::test_what_means_nothing_is_refused_in_one_line"),
    Fault("each part of a batch counts as a whole one", "training/finetune.py",
          'reduction="sum") / shared',
          'reduction="sum") / (shared / len(parts))',
          "test_finetune.py::test_gradients_of_parts_add_up_to_those_of_the_batch"),
    Fault("steep gradients are not held", "training/finetune.py",
          "            if config.unfreeze in WITH_IMAGES:\n",
          "            if config.unfreeze in ():\n",
          "test_finetune.py::test_a_steep_gradient_is_held_where_features_learn"),
    Fault("the closer look looks at another place", "models/closer_look.py",
          "(np.array([[column, row]], np.float64) + 0.5)",
          "(np.array([[row, column]], np.float64) + 0.5)",
          "test_closer_look.py::test_the_cut_shows_the_place_that_the_map_means"),
    Fault("the closer look does not count", "models/closer_look.py",
          "+ of_second * np.asarray(second, np.float64)",
          "+ 0 * np.asarray(second, np.float64)",
          "test_closer_look.py::test_both_looks_make_one_score"),
    Fault("the closer map lies beside its cut", "models/closer_look.py",
          "begin[1] + step[1] / 2 - 0.5]",
          "begin[0] + step[1] / 2 - 0.5]",
          "test_closer_look.py::test_the_closer_map_lies_where_its_cut_was"),
    Fault("the threshold moves the wrong way", "models/regions.py",
          "unbroken.groupby(\"region\")[\"evidence\"].mean() - unbroken",
          "-unbroken.groupby(\"region\")[\"evidence\"].mean() + unbroken",
          "test_regions.py::test_shifts_are_half_of_how_much_more_suspicious_unbroken_images_are"),
    Fault("the region decides nothing", "models/classifier.py",
          "return self.by_region.thresholds(self.threshold, region)",
          "return self.by_region.thresholds(self.threshold, 0 * region)",
          "test_regions.py::test_the_commands_decide_as_the_training_did"),
    Fault("thresholds are chosen as if they did not move", "training/train.py",
          "thresholds_of(expit(moved), labels)",
          "thresholds_of(expit(evidence), labels)",
          "test_regions.py::test_thresholds_are_chosen_on_moved_scores"),
    Fault("rates are not of the decisions", "metrics/evaluate.py",
          "return (score >= pd.to_numeric(frame[\"threshold\"]).to_numpy(float)).astype(float), 0.5",
          "return score, 0.5",
          "test_regions.py::test_each_image_is_judged_at_its_own_threshold"),
    Fault("the map's strongest place alone decides", "models/localizer.py",
          "dim=1).values.mean(dim=1)",
          "dim=1).values.amax(dim=1)",
          "test_localizer.py::test_the_logit_is_the_class_head_and_the_strongest_places"),
    Fault("the places raise the logit of not fractured", "models/localizer.py",
          "[logits[:, 0], logits[:, 1] + self.trust * strongest]",
          "[logits[:, 0] + self.trust * strongest, logits[:, 1]]",
          "test_localizer.py::test_the_logit_is_the_class_head_and_the_strongest_places"),
    # metrics
    Fault("ties count as won in the AUC", "metrics/classification.py",
          "(tp + np.append(0, tp[:-1]))",
          "(2 * tp)",
          "test_metrics.py::test_all_scores_equal_is_a_coin"),
    Fault("a score at the threshold is not called", "metrics/classification.py",
          "predicted = scores >= threshold\n",
          "predicted = scores > threshold\n",
          "test_metrics.py::test_every_row_of_the_sweep_is_the_confusion_there"),
    Fault("the NPV is over all negatives", "metrics/classification.py",
          "ratio(self.tn, self.tn + self.fn)",
          "ratio(self.tn, self.tn + self.fp + self.fn)",
          "test_metrics.py::test_every_row_of_the_sweep_is_the_confusion_there"),
    Fault("what is undefined is 0", "metrics/classification.py",
          'return float(above / below) if below else float("nan")',
          "return float(above / below) if below else 0.0",
          "test_metrics.py::test_one_class_is_undefined_and_says_why "
          "test_metrics.py::test_undefined_figures_say_why"),
    Fault("McClish's chance is a square", "metrics/classification.py",
          "chance = most**2 / 2",
          "chance = most**2",
          "test_metrics.py::test_a_corrected_part_is_a_half_for_a_coin_and_one_for_perfection"),
    Fault("average precision is over the images, not the fractures", "metrics/classification.py",
          "(tp / (tp + fp))).sum() / tp[-1])",
          "(tp / (tp + fp))).sum() / (tp + fp)[-1])",
          "test_metrics.py::test_small_published_case"),
    Fault("Wilson's interval is another one", "metrics/limits.py",
          'method="wilson"',
          'method="exact"',
          "test_metrics_intervals.py::test_wilson_is_its_formula"),
    Fault("Newcombe's interval of an AUC has a pair too many", "metrics/limits.py",
          "more = (fractured + negative) / 2 - 1",
          "more = (fractured + negative) / 2",
          "test_metrics_intervals.py::test_newcombes_auc_limits"),
    Fault("DeLong's variance divides both classes by one number", "metrics/intervals.py",
          "np.cov(negative).reshape(k, k) / n",
          "np.cov(negative).reshape(k, k) / m",
          "test_metrics_intervals.py::test_delong_of_two_rankings_by_its_definition"),
    Fault("DeLong's paired test takes rankings as unpaired", "metrics/intervals.py",
          " - 2 * covariance[0, 1])",
          ")",
          "test_metrics_intervals.py::test_delong_of_two_rankings_by_its_definition"),
    Fault("DeLong's interval is one-sided", "metrics/intervals.py",
          "half = norm.ppf((1 + level) / 2) * spread",
          "half = norm.ppf(level) * spread",
          "test_metrics_intervals.py::test_delong_of_two_rankings_by_its_definition"),
    Fault("a perfect ranking is certain by DeLong", "metrics/intervals.py",
          "spread < 1e-9:",
          "spread < -1:",
          "test_metrics_intervals.py::test_delong_where_it_is_undefined"),
    Fault("McNemar's test counts the concordant images", "metrics/intervals.py",
          "binomtest(only_a, discordant)",
          "binomtest(only_a, n)",
          "test_metrics_intervals.py::test_mcnemar_counts_what_only_one_gets_right"),
    Fault("the bootstrap draws images, not patients", "metrics/bootstrap.py",
          "    groups = int(codes.max()) + 1\n    own = ",
          "    codes = np.arange(len(codes))\n    groups = len(codes)\n    own = ",
          "test_metrics_intervals.py::test_groups_widen_the_interval "
          "test_metrics_intervals.py::test_whole_groups_are_drawn"),
    Fault("the bootstrap draws without replacement", "metrics/bootstrap.py",
          "rng.integers(0, groups, groups)",
          "rng.permutation(groups)",
          "test_metrics_intervals.py::test_samples_are_drawn_with_replacement"),
    Fault("the weighted AUC of the bootstrap loses ties", "metrics/bootstrap.py",
          "total[fewer] + total[as_many] if tied else 2 * total[fewer]",
          "2 * total[fewer]",
          "test_metrics_intervals.py::test_weights_give_what_the_sample_gives"),
    Fault("percentile limits are one-sided", "metrics/bootstrap.py",
          "    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])\n",
          "    low, high = np.quantile(values, [1 - level, level])\n",
          "test_metrics_intervals.py::test_percentile_limits_leave_out_as_much_on_either_side"),
    Fault("a perfect figure is certain by bootstrap", "metrics/bootstrap.py",
          "    if unvarying(defined, value):\n        (low",
          "    if False:\n        (low",
          "test_metrics_intervals.py::test_a_perfect_score_is_as_sure_as_its_patients_allow"),
    Fault("the paired p value is one-sided", "metrics/bootstrap.py",
          "min(1.0, 2 * side)",
          "min(1.0, side)",
          "test_metrics_intervals.py::test_the_paired_p_value_has_two_sides"),
    Fault("the threshold for a sensitivity is one too low", "metrics/operating_point.py",
          "np.argmax(tp >= self.value * positive - CLOSE)",
          "np.argmax(tp > self.value * positive - CLOSE + 2 * CLOSE)",
          "test_metrics_thresholds.py::test_sensitivity_and_specificity"),
    Fault("the threshold for a specificity is the highest", "metrics/operating_point.py",
          "threshold[np.flatnonzero(reached)[-1]]",
          "threshold[np.flatnonzero(reached)[0]]",
          "test_metrics_thresholds.py::test_sensitivity_and_specificity"),
    Fault("the alert budget is passed by one", "metrics/operating_point.py",
          "tp + fp <= self.value * (positive + negative) + CLOSE",
          "tp + fp - 1 <= self.value * (positive + negative) + CLOSE",
          "test_metrics_thresholds.py::test_alert_budget"),
    Fault("false alarms are weighed by the prevalence", "metrics/operating_point.py",
          "alarms = self.false_alarm * (1 - share)",
          "alarms = self.false_alarm * share",
          "test_metrics_thresholds.py::test_cost"),
    Fault("judging on the images of the choice gives no warning", "metrics/operating_point.py",
          'if same and not self.rule.startswith("score="):',
          'if same and self.rule.startswith("score="):',
          "test_metrics_thresholds.py::test_judging_it_on_its_own_images_warns"),
    Fault("a score on an edge is in the bin above", "metrics/calibration.py",
          'np.searchsorted(edges, score, "left")',
          'np.searchsorted(edges, score, "right")',
          "test_metrics_calibration.py::test_a_score_on_an_edge_is_in_the_bin_below"),
    Fault("the calibration error is not weighed by images", "metrics/calibration.py",
          "gap.sum() / len(labels))",
          "(gap / np.maximum(np.bincount(place, minlength=bins), 1)).mean())",
          "test_metrics_calibration.py::test_published_calibration_errors"),
    Fault("resolution is not squared", "metrics/calibration.py",
          "(images * (observed - share) ** 2)",
          "(images * np.abs(observed - share))",
          "test_metrics_calibration.py::test_brier_is_scikit_learns_and_its_parts_add_up"),
    Fault("the calibrator's temperature multiplies", "metrics/calibration.py",
          "slope=float(np.exp(-best.x))",
          "slope=float(np.exp(best.x))",
          "test_metrics_calibration.py::test_temperature_is_found_again"),
    Fault("Platt fits plain labels", "metrics/calibration.py",
          "(m + 1) / (m + 2), 1 / (n + 2))",
          "1.0, 0.0)",
          "test_metrics_calibration.py::test_platt_fits_his_smoothed_targets"),
    Fault("calibration in the large has its own slope", "metrics/calibration.py",
          "slope, intercept = float(both[0][1]), float(large[0][0])",
          "slope, intercept = float(both[0][1]), float(both[0][0])",
          "test_metrics_calibration.py::test_slope_and_intercept_are_found_again"),
    Fault("the limits of a slope do not know of patients", "metrics/calibration.py",
          "    if codes is not None:\n        sums",
          "    if codes is not None and len(codes) < 0:\n        sums",
          "test_metrics_calibration.py::test_slope_is_robust_to_groups"),
    Fault("net benefit exchanges false alarms at the threshold", "metrics/decision_curve.py",
          "rate = t / (1 - t)",
          "rate = t",
          "test_metrics_utility.py::test_net_benefit_is_counted"),
    Fault("net benefit does not call a score at the threshold", "metrics/decision_curve.py",
          'np.searchsorted(t[order], score, "right")',
          'np.searchsorted(t[order], score, "left")',
          "test_metrics_utility.py::test_net_benefit_is_counted"),
    Fault("the gain is over calling everybody only", "metrics/decision_curve.py",
          "model - np.maximum(everybody, 0)",
          "model - everybody",
          "test_metrics_utility.py::test_gain_is_over_the_better_of_everybody_and_nobody"),
    Fault("predictive values take false alarms among the fractured", "metrics/classification.py",
          "(1 - sp) * (1 - share)\n",
          "(1 - sp) * share\n",
          "test_metrics_utility.py::test_predictive_values_are_counted"),
    Fault("the prior is shifted back", "metrics/decision_curve.py",
          "scores * share / before,",
          "scores * before / share,",
          "test_metrics_utility.py::test_prior_shift_goes_back_and_keeps_the_order "
          "test_metrics_utility.py::test_prevalence_is_found_without_labels"),
    # explain
    Fault("Grad-CAM keeps evidence against the target", "explain/gradcam.py",
          "(raw.relu() if relu else raw).float()",
          "raw.float()",
          "test_gradcam.py::test_it_is_grad_cam_by_definition"),
    Fault("fractured explains the other logit", "explain/gradcam.py",
          '{"fractured": {1: 1.0}',
          '{"fractured": {0: 1.0}',
          "test_gradcam.py::test_targets_of_two_logits test_gradcam.py::test_it_is_grad_cam_by_definition"),
    Fault("Grad-CAM adds gradients up, where it should average", "explain/cam_methods.py",
          "gradient.flatten(2).mean(dim=2)",
          "gradient.flatten(2).sum(dim=2)",
          "test_gradcam.py::test_it_is_grad_cam_by_definition"),
    Fault("rows and columns of Grad-CAM are swapped", "explain/cam_methods.py",
          ".squeeze(1).unflatten(1, activation.shape[2:])",
          ".squeeze(1).unflatten(1, activation.shape[2:]).mT",
          "test_gradcam.py::test_it_is_grad_cam_by_definition test_cam_methods.py::test_grad_cam_is_that_of_grad_cam"),
    Fault("LayerCAM keeps negative weights", "explain/cam_methods.py",
          "(gradient.relu() * activation).sum(dim=1)",
          "(gradient * activation).sum(dim=1)",
          "test_cam_methods.py::test_other_methods_are_those_of_grad_cam"),
    Fault("Grad-CAM++ keeps negative weights", "explain/cam_methods.py",
          "(share * gradient.relu())",
          "(share * gradient)",
          "test_cam_methods.py::test_other_methods_are_those_of_grad_cam"),
    Fault("Eigen-CAM has its sign the wrong way", "explain/cam_methods.py",
          "torch.where(leaning < 0,",
          "torch.where(leaning > 0,",
          "test_cam_methods.py::test_eigen_cam_is_the_first_principal_component"),
    Fault("channels last are turned on their side", "explain/gradcam.py",
          "return output.permute(0, 3, 1, 2)",
          "return output.permute(0, 3, 2, 1)",
          "test_cam_methods.py::test_channels_last_are_seen_as_captum_sees_them_first"),
    Fault("maps are enlarged in blocks", "explain/overlay.py",
          "(width, height), interpolation=cv2.INTER_LINEAR)",
          "(width, height), interpolation=cv2.INTER_NEAREST)",
          "test_gradcam.py::test_between_two_places_a_map_is_linear"),
    Fault("maps are enlarged with height and width swapped", "explain/overlay.py",
          "(width, height), interpolation=cv2",
          "(height, width), interpolation=cv2",
          "test_gradcam.py::test_upsampling_keeps_the_place "
          "test_gradcam.py::test_between_two_places_a_map_is_linear"),
    Fault("a map is stretched from its own minimum", "explain/overlay.py",
          "np.clip(heat / highest, 0, 1)",
          "np.clip((heat - heat.min()) / max(highest - heat.min(), 1e-9), 0, 1)",
          "test_gradcam.py::test_a_map_without_evidence_is_never_stretched "
          "test_gradcam.py::test_a_map_that_is_not_finite_is_not_without_evidence"),
    Fault("the overlay has red and blue swapped", "explain/overlay.py",
          "cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)",
          "cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2BGRA)[..., :3]",
          "test_gradcam.py::test_the_overlay_has_the_colours_of_matplotlib"),
    Fault("to_image shows maps upside down", "workflows.py",
          "    inside = heat[\n",
          "    inside = heat[::-1][\n",
          "test_commands.py::test_a_map_lies_on_the_image_as_it_lay_on_the_square"),
    Fault("the peak has row and column swapped", "explain/localization.py",
          "return int(row), int(column)",
          "return int(column), int(row)",
          "test_localization.py::test_the_peak test_localization.py::test_the_pointing_game"),
    Fault("an empty map points right", "explain/localization.py",
          "return place is not None and bool(",
          "return place is None or bool(",
          "test_localization.py::test_an_empty_map_is_a_miss_and_not_an_error"),
    Fault("the tolerance is a square", "explain/localization.py",
          "cv2.MORPH_ELLIPSE",
          "cv2.MORPH_RECT",
          "test_localization.py::test_growing_is_by_distance"),
    Fault("negative evidence counts as energy", "explain/localization.py",
          "positive = np.clip(heat, 0, None)",
          "positive = np.abs(heat)",
          "test_localization.py::test_energy_is_a_share_of_the_positive_evidence"),
    Fault("the union counts the intersection twice", "explain/localization.py",
          "union = int((region | inside).sum())",
          "union = int(region.sum()) + int(inside.sum())",
          "test_localization.py::test_overlap_is_jaccards"),
    Fault("a part that touches a fracture finds it", "explain/localization.py",
          "any(iou(parts[i], f) >= 0.5 for",
          "any(iou(parts[i], f) > 0 for",
          "test_localization.py::test_a_part_finds_a_fracture_of_half_its_overlap"),
    Fault("the cut is no proportion of the map's maximum", "explain/localization.py",
          "np.asarray(heat > cut * top)",
          "np.asarray(heat > cut)",
          "test_localization.py::test_marked_is_a_share_of_the_own_maximum"),
    Fault("equal pixels at the edge all count", "explain/localization.py",
          "left * float(inside[level].mean())",
          "min(left, float(inside[level].sum()))",
          "test_localization.py::test_rank_accuracy_is_the_mean_over_orders_of_equal_pixels"),
    Fault("pixels are deleted weakest first", "explain/perturbation.py",
          "np.argsort(-upsample(",
          "np.argsort(upsample(",
          "test_perturbation.py::test_deletion_and_insertion"),
    Fault("occlusion shows what is gained", "explain/perturbation.py",
          "(whole - found)",
          "(found - whole)",
          "test_perturbation.py::test_occlusion_loses_what_was_covered"),
    # studies
    Fault("split by study is split by slice", "training/leaks.py",
          'if split == "slice" else of',
          'if split in SPLITS else of',
          "test_studies.py::test_held_out_slices"),
    Fault("random labels are the true ones", "training/leaks.py",
          'known = dealt if labels == "random" else studies.labels',
          "known = studies.labels",
          "test_studies.py::test_random_labels_are_dealt_out_anew"),
    Fault("a slice that speaks against a tear decides", "explain/slices.py",
          "evidence[0] - evidence[1:]",
          "evidence[1:] - evidence[0]",
          "test_studies.py::test_evidence_adds_up"),
    Fault("maps lie beside what was read", "explain/slices.py",
          "read[place] = upsample(heat, read.shape[1:])",
          "maps[place] = upsample(heat, maps.shape[1:])",
          "test_studies.py::test_maps_through_the_slices"),
    Fault("a study's slices are turned over, not their order", "training/augment.py",
          "studies.flip(1)",
          "studies.flip(2)",
          "test_studies.py::test_augmented_studies_keep_empty_slices_and_their_slices_together"),
    Fault("a network of images learns from studies", "training/runs.py",
          "if learns != holds:",
          "if False:",
          "test_studies.py::test_images_and_studies_are_not_mixed_up"),
    Fault("slices are ordered by their instance numbers", "data/dicom_series.py",
          "key=lambda i: (places[i], _echo(slices[i]), _uid(slices[i])))",
          "key=lambda i: int(slices[i].header.InstanceNumber))",
          "test_dicom_series.py::test_the_order_is_right_in_200_series"),
    Fault("a missing slice is not said", "data/dicom_series.py",
          "np.flatnonzero(steps > GAP * usual)",
          "np.flatnonzero(steps > 99 * usual)",
          "test_dicom_series.py::test_a_missing_slice_is_said"),
    Fault("MRNet's valid is validation", "data/study_sets.py",
          '"valid": "test"}',
          '"valid": "val"}',
          "test_study_sets.py::test_mrnet_is_imported_as_published"),
    Fault("a pickle is not told of", "data/volumes.py",
          "if low.endswith(PICKLES):",
          "if low.endswith('.p'):",
          "test_study_sets.py::test_a_file_that_is_cut_off_or_another_is_one_line"),
    Fault("studies with reversed slices are not sought", "curate/study_copies.py",
          "for reverse in (False, True):",
          "for reverse in (False,):",
          "test_study_sets.py::test_copies_are_found_and_strangers_are_not"),
    # curate
    Fault("a leak across two splits is not reported", "curate/audit.py",
          'len(set(split[g]) - {""}) > 1',
          'len(set(split[g]) - {""}) > 2',
          "test_audit.py::test_leaks_contradictions_and_broken_files"),
    Fault("copies with both labels are not reported", "curate/audit.py",
          "{0.0, 1.0} <= set(label[g])",
          "{0.0, 1.0} < set(label[g])",
          "test_audit.py::test_leaks_contradictions_and_broken_files"),
    Fault("patients in two splits are not reported", "curate/audit.py",
          "spread.index[spread > 1]",
          "spread.index[spread > 2]",
          "test_audit.py::test_patients_in_two_splits"),
    Fault("blank images are not reported", "curate/audit.py",
          '"contrast")] < 0.5',
          '"contrast")] < -1',
          "test_audit.py::test_leaks_contradictions_and_broken_files"),
    Fault("copies in val are not looked up", "curate/audit.py",
          '.isin(["train", "val"])',
          '.isin(["train"])',
          "test_audit.py::test_copies_in_train_and_in_val_are_looked_up"),
    Fault("a copy counts as a radiograph of its own", "curate/findings.py",
          'part["copy_group"].nunique()',
          "len(part)",
          "test_audit.py::test_the_splits_in_radiographs"),
    Fault("mirrored copies are laid on unmirrored", "curate/registration.py",
          "        points[:, 3] = 180 - points[:, 3]\n",
          "        points[:, 3] = points[:, 3]\n",
          "test_audit.py::test_leaks_contradictions_and_broken_files test_audit.py::test_json_is_as_documented"),
    Fault("mirrored copies are not searched for", "curate/registration.py",
          "CHANGED_BINS = np.stack([_BINS.ravel(), _MIRROR,",
          "CHANGED_BINS = np.stack([_BINS.ravel(), _BINS.ravel(),",
          "test_audit_copies.py::test_descriptors_under_mirror_and_inversion"),
    Fault("identical files are no copies", "curate/duplicates.py",
          "if first != i and look.small.size:",
          "if first > i:",
          "test_importer.py::test_byte_identical_images_share_a_group "
          "test_audit_copies.py::test_a_second_look_reads_nothing"),
    Fault("an import parts copies", "curate/importer.py",
          'joined(list(images["group"].astype(str)), list(images["import_copy"].astype(str)))',
          'list(images["group"].astype(str))',
          "test_importer.py::test_byte_identical_images_share_a_group "
          "test_audit.py::test_an_import_keeps_copies_together"),
    Fault("an import splits by file, not by patient", "curate/importer.py",
          'split=split_by_group(strata, images["group"], seed=seed)',
          'split=split_by_group(strata, images["key"], seed=seed)',
          "test_importer.py::test_patients_by_a_pattern_stay_together"),
    Fault("an import forgets the splits of its source", "curate/importer.py",
          '    if "split" in images:\n        images, notes',
          '    if "split" in images and False:\n        images, notes',
          "test_importer.py::test_class_folders_with_splits_keep_them"),
    Fault("of copies the smallest is kept", "curate/cleaning.py",
          "-pixels, ~annotated))",
          "pixels, ~annotated))",
          "test_audit.py::test_of_copies_the_annotated_one_is_kept_else_the_largest"),
    Fault("of copies with both labels one is kept", "curate/cleaning.py",
          'group["label"].nunique() > 1:',
          'group["label"].nunique() > 2:',
          "test_audit.py::test_an_import_repairs"),
    Fault("shortcuts are judged with patients in both folds", "curate/shortcuts.py",
          "splitter.split(np.zeros(len(y)), y, codes)",
          "splitter.split(np.zeros(len(y)), y, np.arange(len(y)))",
          "test_audit.py::test_groups_keep_a_shortcut_honest"),
    # shift
    Fault("the gap of distributions is looked for on one side", "shift/predictions.py",
          'ks_2samp(a, b, method="asymp")',
          'ks_2samp(a, b, "less", method="asymp")',
          "test_shift.py::test_permutation_sees_scores_that_rise_fall_or_spread"),
    Fault("the permutation test deals out images, not patients", "shift/predictions.py",
          "(group_codes(p.groups, len(p.scores)) for p in (self, other))",
          "(np.arange(len(p.scores)) for p in (self, other))",
          "test_shift.py::test_permutation_by_patients_is_honest_where_images_are_alike"),
    Fault("costs are gains", "shift/predictions.py",
          "there.scores, self.scores\n",
          "self.scores, there.scores\n",
          "test_shift.py::test_costs_are_paired_differences"),
    Fault("patients repair and judge", "shift/predictions.py",
          "np.flatnonzero(drawn), np.flatnonzero(~drawn)",
          "np.flatnonzero(drawn), np.arange(len(drawn))",
          "test_shift.py::test_no_patient_repairs_and_judges"),
    Fault("the display curve of a site is that of its inverse", "shift/acquisition.py",
          "** self.gamma)",
          "** (1 / self.gamma))",
          "test_acquisition.py::test_each_change_is_what_it_says"),
    Fault("inverting an image turns its padding white", "shift/hospital.py",
          "image = inside(images[i], box)\n",
          "image = images[i]\n",
          "test_harmonize.py::test_turning_leaves_the_padding_and_the_original_alone"),
    # viz
    Fault("a forest marks what holds the line", "viz/forest.py",
          "apart = (low > line) | (high < line)",
          "apart = (low < line) & (line < high)",
          "test_plots.py::test_marks_tell_what_leaves_the_line_out"),
    Fault("the ROC is drawn over specificity", "viz/figures.py",
          '1 - table["specificity"], table["sensitivity"], color=BLUE',
          'table["specificity"], table["sensitivity"], color=BLUE',
          "test_plots.py::test_the_operating_point_is_where_it_is"),
    Fault("the operating point of two models is their specificity", "viz/evaluation.py",
          "left.plot(1 - at.specificity, at.sensitivity,",
          "left.plot(at.specificity, at.sensitivity,",
          "test_plots.py::test_each_of_two_models_has_its_operating_point"),
    Fault("outlines have x and y swapped", "viz/figures.py",
          "ax.plot(points[:, 0], points[:, 1], color=OUTLINE",
          "ax.plot(points[:, 1], points[:, 0], color=OUTLINE",
          "test_plots.py::test_the_montage_outlines_what_is_masked"),
)
# fmt: on


@dataclass(frozen=True)
class Outcome:
    """What pytest said: its exit status (negative: killed by that signal; None: over the limit), tests by outcome."""

    status: int | None
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Job:
    """Arguments of pytest, and the fault to plant before, if any."""

    arguments: Sequence[str]
    fault: Fault | None = None


class Recorder:
    """A plugin of pytest that remembers which tests passed, failed and were skipped."""

    def __init__(self) -> None:
        self.seen: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}

    def pytest_runtest_logreport(self, report: object) -> None:
        outcome, when, name = (getattr(report, a) for a in ("outcome", "when", "nodeid"))
        if when == "call" or outcome != "passed":
            self.seen[outcome].append(name)


class Copy:
    """A copy of the library and its tests, in which one job at a time runs in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        left_out = shutil.ignore_patterns("__pycache__", "pretrained")
        for name in ("fracturelib", "tests"):
            shutil.copytree(ROOT / name, folder / name, ignore=left_out)
        for name in ("pyproject.toml", "data", "fracturelib/models/pretrained"):  # large, and only read
            if (ROOT / name).exists():
                (folder / name).symlink_to(ROOT / name)
        compileall.compile_dir(folder / "fracturelib", quiet=2)
        self.pid = 0

    def start(self, job: Job) -> None:
        self.job, self.begun = job, time.monotonic()
        if fault := job.fault:
            target = self.folder / fault.path
            self.text = target.read_text(encoding="utf-8")
            target.write_text(fault.planted(self.text), encoding="utf-8")
            self._forget(target)
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            self._run(job)

    def _forget(self, target: Path) -> None:
        """Remove the compiled module: the file's size and time, to the second, may be the same."""
        for stale in (target.parent / "__pycache__").glob(f"{target.stem}.*"):
            stale.unlink()

    def _run(self, job: Job) -> None:
        """In the new process: pytest, its words into a file."""
        status = 70
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            sink = os.open(self.folder / "words.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            os.chdir(self.folder)
            sys.path[:] = [str(self.folder), *(p for p in sys.path if p and Path(p).resolve() != ROOT)]
            os.environ["PYTHONPATH"] = str(self.folder)
            for name in [n for n in sys.modules if n.split(".")[0] in ("tests", "fracturelib")]:
                del sys.modules[name]
            import pytest

            recorder = Recorder()
            options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", f"--basetemp={self.folder / 'tmp'}"]
            status = int(pytest.main([*options, *job.arguments], plugins=[recorder]))
            (self.folder / "seen.json").write_text(json.dumps(recorder.seen))
            sys.stdout.flush()
        finally:
            os._exit(status)

    def poll(self) -> Outcome | None:
        """What came of the job, once it is over; the copy is as it was then."""
        done, raw = os.waitpid(self.pid, os.WNOHANG)
        seconds = time.monotonic() - self.begun
        status: int | None = None
        if done:
            status = os.waitstatus_to_exitcode(raw)
        elif seconds < LIMIT * (1 if self.job.fault else 5):
            return None
        else:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.job.fault:
            target = self.folder / self.job.fault.path
            target.write_text(self.text, encoding="utf-8")
            self._forget(target)
        kept = self.folder / "seen.json"
        seen = json.loads(kept.read_text()) if kept.exists() else {}
        kept.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        self.pid = 0
        return Outcome(status, *(tuple(seen.get(k, ())) for k in ("passed", "failed", "skipped")), seconds)

    @property
    def words(self) -> str:
        """The end of what pytest said last."""
        return (self.folder / "words.txt").read_text(errors="replace")[-3000:]


def run_all(copies: Sequence[Copy], jobs: Sequence[Job], done: Callable[[Job, Outcome, str], None]) -> None:
    """Every job in whichever copy is free; `done` is told of each."""
    waiting = list(jobs)
    try:
        while waiting or any(copy.pid for copy in copies):
            for copy in copies:
                if copy.pid and (outcome := copy.poll()) is not None:
                    done(copy.job, outcome, copy.words)
                if not copy.pid and waiting:
                    copy.start(waiting.pop(0))
            time.sleep(0.02)
    finally:
        for copy in copies:
            if copy.pid:
                os.killpg(copy.pid, signal.SIGKILL)


def unmutated(faults: Sequence[Fault]) -> list[Job]:
    """The tests of all faults once, a process for each file of tests, and one for each -k."""
    by_file: dict[str, list[str]] = {}
    apart = []
    for fault in faults:
        if "-k" in fault.arguments:
            apart.append(tuple(fault.arguments))
            continue
        for node in fault.arguments:
            by_file.setdefault(node.split("::")[0], []).append(node)
    whole = [[file] if file in nodes else list(dict.fromkeys(nodes)) for file, nodes in by_file.items()]
    return [Job(arguments) for arguments in [*whole, *dict.fromkeys(apart)]]


def verdict(outcome: Outcome) -> str:
    """ "caught" if a test failed; "survived" if none did; else what went wrong with the fault itself."""
    if outcome.status is None:
        return f"over {LIMIT} s"
    if outcome.status == 1 and outcome.failed:
        return "caught"
    return "survived" if outcome.status == 0 else f"pytest ended with {outcome.status}"


def preload() -> None:
    """Load what takes long, but nothing of fracturelib, and start no thread."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ["MPLBACKEND"] = "Agg"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # nbval alone takes five seconds to load
    import importlib

    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            print(f"note: {name} is not installed; what needs it is skipped")
    if own := [name for name in sys.modules if name.split(".")[0] == "fracturelib"]:
        raise RuntimeError(f"{own[0]} was loaded too early; every fault has to load its own")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="faults at once (%(default)s)")
    parser.add_argument("--only", metavar="NAME", action="append", help="faults whose name or file holds this")
    parser.add_argument("--list", action="store_true", help="show the faults and end")
    options = parser.parse_args(words)
    faults = [f for f in FAULTS if not options.only or any(o in f.name or o in f.file for o in options.only)]
    if options.list:
        for fault in faults:
            print(f"{fault.file:32} {fault.name}\n{'':32} {fault.tests}")
        return 0
    if not faults or options.jobs < 1:
        parser.error("--jobs must be at least 1" if faults else f"no fault is called {' or '.join(options.only)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was forked ends, too
    begun, results, wrong = time.monotonic(), {}, []
    for fault in faults:
        try:
            fault.planted((ROOT / fault.path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            results[fault.name] = f"stale: {error}", 0.0, ""
    preload()
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        copies = [Copy(Path(place) / str(i)) for i in range(options.jobs)]

        def sound(job: Job, outcome: Outcome, said: str) -> None:
            if outcome.status != 0 or not outcome.passed:
                wrong.append(f"{' '.join(job.arguments)}\n{said}")
            passed.update(outcome.passed)

        passed: set[str] = set()
        run_all(copies, unmutated(faults), sound)
        if wrong:
            print("These tests do not pass as the library is, so that they can say nothing:\n\n" + "\n".join(wrong))
            return 1
        print(f"{len(passed)} tests pass without a fault, in {time.monotonic() - begun:.0f} s")
        for fault in faults:
            named = [a for a in fault.arguments if "::" in a]
            if named and not any(p.split("[")[0] == a for p in passed for a in named):
                results[fault.name] = f"skipped here: {named[0]}", 0.0, ""

        def judged(job: Job, outcome: Outcome, said: str) -> None:
            assert job.fault is not None
            by = outcome.failed[0].removeprefix("tests/") if outcome.failed else ""
            results[job.fault.name] = verdict(outcome), outcome.seconds, by
            if verdict(outcome) != "caught":
                print(f"NOT CAUGHT: {job.fault.name} ({job.fault.file}): {verdict(outcome)}")
                if verdict(outcome) != "survived":
                    print(said)

        run_all(copies, [Job(f.arguments, f) for f in faults if f.name not in results], judged)
    print(f"\n{'':9} {'s':>5}  {'file':28} {'fault':62} noticed by")
    for fault in faults:
        what, seconds, by = results[fault.name]
        print(f"{what[:9]:9} {seconds:5.1f}  {fault.file:28} {fault.name:62} {by if what == 'caught' else what}")
    caught = sum(what == "caught" for what, _, _ in results.values())
    print(f"\n{caught} of {len(faults)} faults caught, in {time.monotonic() - begun:.0f} s")
    return int(caught < len(faults))


if __name__ == "__main__":
    sys.exit(main())
