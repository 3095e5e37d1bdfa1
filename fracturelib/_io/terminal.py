"""What commands print: no name in it steers the terminal, and nobody has to be reading it."""

import os
from typing import Any, TextIO

from fracturelib._io.filenames import writable


def open_stream(stream: TextIO | None) -> TextIO:
    """A stream that can be written to: Python has none where its owner closed it (`>&-`), and nobody reads this one."""
    # Opened with the lowest free number, the closed stream's own: no file of ours gets what a library prints.
    return open(os.devnull, "w", encoding="utf-8") if stream is None else stream  # noqa: PTH123


class Terminal:
    """A stream whose reader may have gone (`| head`), and which may not know every character.

    Parameters
    ----------
    stream : text stream
    steered : bool
        Whether control characters pass, as progress bars need them; else they are escaped, but for line ends.

    Attributes
    ----------
    lost : OSError or None
        Why something could not be written, such as for a full disk; that nobody reads any more is no loss.
    """

    def __init__(self, stream: TextIO, *, steered: bool = False) -> None:
        self.stream, self.steered = stream, steered
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        shown = text if self.steered else "\n".join(writable(line) for line in text.split("\n"))
        try:
            self.stream.write(shown)
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            self.stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._discard(error)
        return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError as error:
            self._discard(error)

    def _discard(self, error: OSError) -> None:
        """Let all that is still to come go nowhere, what waits in the buffer at the interpreter's exit, too."""
        if not isinstance(error, BrokenPipeError):
            self.lost = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
