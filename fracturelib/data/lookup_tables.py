"""The grey scale of a DICOM image: PS3.3 C.7.6.3 (pixels), C.11.1 (modality LUT), C.11.2 (VOI LUT) and C.11.6."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracturelib.data.pixels import blocks, luma


def keeps_bits(syntax: Any) -> bool:
    """Whether the bits above and below a value are as they were: where pixels are not compressed, or as RLE."""
    return not syntax.is_encapsulated or syntax.name.startswith("RLE")


class Grey:
    """From the stored values of one image to its grey values."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.bits = int(dataset.BitsStored)
        self.unused = int(dataset.HighBit) - self.bits + 1  # bits below the value
        self.signed = int(dataset.PixelRepresentation) == 1
        shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
        self.inverse = str(dataset.PhotometricInterpretation) == "MONOCHROME1" or shape == "INVERSE"

    def of(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        """(h, w) of any type -> (h, w) uint8."""
        if stored.dtype.itemsize <= 2 and stored.dtype.kind in "ui":
            return self._by_table(stored)
        if self.dataset.PhotometricInterpretation == "PALETTE COLOR":
            raise ValueError("a palette of more than 16 bits")
        padded = self._padding(stored)
        stored = self.without_unused(stored)
        limits: Any = np.finfo(stored.dtype) if stored.dtype.kind == "f" else np.iinfo(stored.dtype)
        low, high = (
            float(f(where=~padded, initial=i)) for f, i in ((stored.min, limits.max), (stored.max, limits.min))
        )
        ends = np.array([low, high])
        span = self._span(self._modality(ends)) if (~padded).any() else (0.0, 0.0)
        grey = np.empty(stored.shape, np.uint8)
        for rows in blocks(*stored.shape):
            grey[rows] = self._shown(stored[rows].astype(np.float64), padded[rows], span)
        return grey

    def measured(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """The numbers that are meant: (h, w) of any type -> (h, w) float32; where there is no image, the least."""
        padded = self._padding(stored)
        values = np.asarray(self._modality(self.without_unused(stored)), np.float32)
        values = -values if self.inverse else values
        return (
            np.where(padded, values.min(where=~padded, initial=np.float32(np.inf)), values)
            if not padded.all()
            else (np.zeros_like(values))
        )

    def _by_table(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        """By what each of the 256 or 65,536 values becomes: fast, and no wide copy of the image is made."""
        size = 8 * stored.dtype.itemsize
        codes = np.ascontiguousarray(stored).view(f"u{stored.dtype.itemsize}")
        raw = np.arange(2**size, dtype=codes.dtype).view(stored.dtype)
        there = np.zeros(2**size, bool)
        for rows in blocks(*codes.shape):
            there[codes[rows]] = True
        values = self._meant(raw.astype(np.int64) & (2**size - 1), size)
        padded = self._padding(raw)
        first = self.dataset.get("PixelPaddingValue")
        if isinstance(first, int) and -(2 ** (self.bits - 1)) <= first < 2**self.bits:  # also where bits around differ
            code = first & (2**self.bits - 1)
            padded |= values == (code - 2**self.bits if self.signed and code >= 2 ** (self.bits - 1) else code)
        if self.dataset.PhotometricInterpretation == "PALETTE COLOR":
            table = self._palette(values)
        else:
            modality = self._modality(values)
            counted = modality[there & ~padded]
            table = self._shown(values, padded, self._span(counted) if counted.size else (0.0, 0.0))
        grey = np.empty(codes.shape, np.uint8)
        for rows in blocks(*codes.shape):
            grey[rows] = table[codes[rows]]
        return grey

    def _meant(self, codes: NDArray[np.int64], size: int) -> NDArray[np.int64]:
        """The value in each code: the bits from HighBit down; above and below may be overlays, or nothing."""
        if self.bits < size and keeps_bits(self.dataset.file_meta.TransferSyntaxUID):
            codes = (codes >> max(self.unused, 0)) & (2**self.bits - 1)
            size = self.bits
        return np.where(codes >= 2 ** (size - 1), codes - 2**size, codes) if self.signed else codes

    def without_unused(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Values without the bits that do not belong to them; in their own type."""
        size = 8 * stored.dtype.itemsize
        if stored.dtype.kind == "f" or self.bits >= size:
            return stored
        meant = np.empty_like(stored)
        for rows in blocks(*stored.shape[:2]):
            meant[rows] = self._meant(stored[rows].astype(np.int64) & (2**size - 1), size)
        return meant

    def _padding(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Where there is no image: the value is PixelPaddingValue, or from there to its limit."""
        kind = {"f4": "Float", "f8": "DoubleFloat"}.get(values.dtype.str[1:], "")
        first, last = (self.dataset.get(f"{kind}PixelPadding{end}") for end in ("Value", "RangeLimit"))
        if not isinstance(first, float if kind else int):
            return np.zeros(values.shape, bool)
        # Written with the wrong sign by some, so both are taken to the type of the pixels.
        ends = np.array([first, first if last is None else last]).astype(values.dtype)
        return (values >= ends.min()) & (values <= ends.max())

    def _modality(self, values: NDArray[Any]) -> NDArray[Any]:
        from pydicom.pixels import apply_modality_lut

        if sequence := self.dataset.get("ModalityLUTSequence"):
            return self._lookup(sequence[0], values)[0]
        if self.dataset.get("RescaleSlope") is None or self.dataset.get("RescaleIntercept") is None:
            return values
        return np.asarray(apply_modality_lut(values, self.dataset))

    def _shown(self, values: NDArray[Any], padded: NDArray[np.bool_], span: tuple[float, float]) -> NDArray[np.uint8]:
        """Stored values as grey values; `span` is black and white where there is neither VOI LUT nor window."""
        values = self._modality(values)
        lut = next((item for item in self.dataset.get("VOILUTSequence") or [] if "LUTData" in item), None)
        if lut is not None and "LUTDescriptor" in lut:
            entries, white = self._lookup(lut, values)
            shown = entries / white
        elif self._has_window():
            shown = self._window(values)
        else:
            shown = (values - span[0]) / max(span[1] - span[0], 1e-300)
        if not np.isfinite(shown).all():
            raise ValueError("grey values that are not numbers")
        shown = np.round(np.clip(shown, 0, 1) * 255)
        return np.where(padded, 0, 255 - shown if self.inverse else shown).astype(np.uint8)

    def _span(self, counted: NDArray[Any]) -> tuple[float, float]:
        return float(counted.min()), float(counted.max())

    def _has_window(self) -> bool:
        if any(self.dataset.get(name) in (None, "", []) for name in ("WindowCenter", "WindowWidth")):
            return False
        width = self.dataset.WindowWidth
        width = float(width[0] if hasattr(width, "__len__") else width)
        if not self.dataset.get("VOILUTFunction"):
            self.dataset.VOILUTFunction = "LINEAR"
        return width >= 1 if self.dataset.VOILUTFunction.upper() == "LINEAR" else width > 0

    def _window(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Black as 0 and white as 1: pydicom puts the window on the range that the values may have."""
        from pydicom.pixels import apply_windowing

        black, white = apply_windowing(np.array([-1e30, 1e30]), self.dataset)
        return (np.asarray(apply_windowing(values, self.dataset)) - black) / (white - black)

    def _lookup(self, item: Any, values: NDArray[Any]) -> tuple[NDArray[Any], int]:
        """What a LUT gives for values, and its white; beyond its ends the first and the last entry.

        pydicom 3.0 refuses modality LUTs of 9 to 15 bits, and looks up VOI LUTs of 8 bits by numbers cut to 8 bits.
        """
        if any(name not in item for name in ("LUTDescriptor", "LUTData")):
            raise ValueError("a lookup table without descriptor or data")
        count, first, depth = (int(v) for v in item.LUTDescriptor)
        count = count & 0xFFFF or 2**16
        if first > 0x7FFF and values.min() < 0:  # a negative number, read as one without sign
            first -= 2**16
        data = item.LUTData
        if isinstance(data, bytes):
            little = self.dataset.original_encoding[1] is not False
            entries = np.frombuffer(data, np.uint8 if len(data) <= count else "<u2" if little else ">u2")
        else:
            entries = np.atleast_1d(np.asarray(data)).astype(np.int64) & 0xFFFF
            if depth <= 8 and len(entries) == (count + 1) // 2:  # two entries in a word
                entries = entries.astype("<u2").view(np.uint8)
        entries = entries[:count]
        place = np.clip(np.round(values) - first, 0, len(entries) - 1).astype(np.int64)
        return entries[place], 2 ** min(max(depth, 1), 16) - 1

    def _palette(self, values: NDArray[np.int64]) -> NDArray[np.uint8]:
        from pydicom.pixels import apply_color_lut

        colours = np.asarray(apply_color_lut(values[None], self.dataset))
        white = 255 if colours.max() <= 255 else 65535  # 8-bit colours are declared as 16 bits by some
        return np.round(luma(colours)[0] / white * 255).astype(np.uint8)
