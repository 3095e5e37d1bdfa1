"""Compressed DICOM by codecs that raise on what is damaged, where GDCM, pydicom's first choice, ends Python."""

from typing import Any

from pydicom import uid
from pydicom.pixels import get_decoder

JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
CODECS = {
    **dict.fromkeys(JPEG, "jpeg8_decode"),
    **dict.fromkeys(uid.JPEGLSTransferSyntaxes, "jpegls_decode"),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000), "jpeg2k_decode"),
}
DECODER_DEPENDENCIES = dict.fromkeys(CODECS, ("numpy", "imagecodecs"))  # pydicom asks for this name


def is_available(syntax: str) -> bool:
    """Whether there is a codec for it; pydicom asks for this name, too."""
    try:
        import imagecodecs
    except ImportError:
        return False
    return syntax in CODECS and hasattr(imagecodecs, CODECS[uid.UID(syntax)])


def decoded(frame: bytes, runner: Any) -> bytes:
    """The frame's samples as pydicom expects them of a plugin: colour by pixel, bytes each as `runner` is told."""
    import imagecodecs

    values = getattr(imagecodecs, CODECS[runner.transfer_syntax])(frame)
    expected = (runner.rows, runner.columns, *([runner.samples_per_pixel] if runner.samples_per_pixel > 1 else []))
    if values.shape != expected:
        raise ValueError(f"its data are of {values.shape}, its header says {expected}")
    runner.set_option("bits_allocated", 8 * values.dtype.itemsize)
    if values.ndim == 3:
        runner.set_option("planar_configuration", 0)
        if runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
            runner.set_option("photometric_interpretation", "RGB")
    return values.tobytes()


def plugin(syntax: Any, bits: int) -> str:
    """The name of the plugin that decodes `syntax`; empty where none is installed."""
    if syntax == uid.RLELossless:
        return "pydicom"
    if syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit) and bits == 8:
        return "pillow"
    return "imagecodecs" if is_available(syntax) else ""


for _syntax in CODECS:
    get_decoder(_syntax).add_plugin("imagecodecs", (__name__, "decoded"))
