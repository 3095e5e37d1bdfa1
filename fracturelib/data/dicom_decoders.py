"""Compressed DICOM by codecs that raise on what is damaged, where GDCM, pydicom's first choice, ends Python."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels import get_decoder

BY_COSINES = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
CODECS = {
    **dict.fromkeys(BY_COSINES + LOSSLESS, "jpeg8_decode"),
    **dict.fromkeys(uid.JPEGLSTransferSyntaxes, "jpegls_decode"),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000), "jpeg2k_decode"),
}
CONTRADICTS = "its data are "  # in each message of what another decoder must not take either
DECODER_DEPENDENCIES = dict.fromkeys(CODECS, ("numpy", "imagecodecs"))  # pydicom asks for this name


def is_available(syntax: str) -> bool:
    """Whether there is a codec for it; pydicom asks for this name, too."""
    try:
        import imagecodecs
    except ImportError:
        return False
    return syntax in CODECS and hasattr(imagecodecs, CODECS[uid.UID(syntax)])


def plugins(syntax: Any, samples: int) -> tuple[str, ...]:
    """The names of the plugins that decode `syntax`, the first choice first; none where it is not read at all."""
    if syntax == uid.RLELossless:
        return ("pydicom",)
    if syntax not in BY_COSINES:
        return ("imagecodecs",) * (syntax in CODECS)
    return ("imagecodecs", "pillow") if samples == 1 else ("pillow", "imagecodecs")  # which knows what colours are


def decoded(frame: bytes, runner: Any) -> bytes:
    """The frame's samples as pydicom expects them of a plugin: colour by pixel, bytes each as `runner` is told."""
    import imagecodecs

    codec, options = CODECS[runner.transfer_syntax], {}
    turned = runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT")
    if codec == "jpeg8_decode":
        _require_scan(frame, runner)
        if runner.samples_per_pixel == 3:  # colours are what the data set says, and not what libjpeg guesses
            turned = runner.transfer_syntax in BY_COSINES and runner.photometric_interpretation != "RGB"
            options = {"colorspace": "YCBCR" if turned else "RGB", "outcolorspace": "RGB"}
    values = np.asarray(getattr(imagecodecs, codec)(frame, **options))
    expected = (runner.rows, runner.columns, *([runner.samples_per_pixel] if runner.samples_per_pixel > 1 else []))
    if values.shape != expected:
        raise ValueError(f"{CONTRADICTS}of {values.shape}, its header says {expected}")
    values = _of_stored_bits(values, runner)
    runner.set_option("bits_allocated", 8 * values.dtype.itemsize)
    if values.ndim == 3:
        runner.set_option("planar_configuration", 0)
        if turned:
            runner.set_option("photometric_interpretation", "RGB")
    return values.tobytes()


def _require_scan(frame: bytes, runner: Any) -> None:
    """Raise ValueError for a JPEG that is cut off: libjpeg fills what is missing, and only warns."""
    begins, ends = frame.find(b"\xff\xda"), frame.rfind(b"\xff\xd9")
    begins += 2 + int.from_bytes(frame[begins + 2 : begins + 4], "big")  # the scan's own header
    least = runner.rows * runner.columns // (8 if runner.transfer_syntax in LOSSLESS else 512)  # a bit a pixel or block
    if ends < begins or ends - begins < least:
        raise ValueError(f"{CONTRADICTS}cut off")


def _of_stored_bits(values: NDArray[Any], runner: Any) -> NDArray[Any]:
    """Values of BitsStored bits, negative ones filled up to the type's; refused if they need more than the header says.

    The data may be coded with more bits than are stored: then signs lie within BitsStored, as DICOM has them.
    """
    bits, size = runner.bits_stored, 8 * values.dtype.itemsize
    if runner.pixel_representation == 1 and bits < size:
        shift = size - bits
        return (values.view(f"i{values.dtype.itemsize}") << shift) >> shift
    if runner.pixel_representation == 0 and values.size and int(values.max()) >= 2**bits:
        raise ValueError(f"{CONTRADICTS}of {int(values.max()).bit_length()} bits, its header says {bits}")
    return values


for _syntax in CODECS:
    get_decoder(_syntax).add_plugin("imagecodecs", (__name__, "decoded"))
