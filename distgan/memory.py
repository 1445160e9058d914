"""The main memory that the buffers of a stage may take: one number per process, by which all blocks are
sized.

Blocks of series that are read, sorted, compared or written have a size for `USUAL_MIB` in all, and shrink and
grow with `engine.host_memory_mib`. Results do not depend on it. Not counted are mapped files, networks, and
the few numbers that a stage holds of every series (its id, its owner, its group).
"""

import ctypes

USUAL_MIB = 1024  # for which sizes of blocks are stated
TRIMMED_BYTES = 256 << 20  # of blocks that are read between two calls of `trim_heap`

_host_mib = USUAL_MIB


def set_host_memory(mib: int) -> None:
    """Set what engine.host_memory_mib asks for, for this process."""
    global _host_mib
    _host_mib = mib


def measure_host_memory() -> int:
    """Return the bytes that the buffers of a stage may take in this process."""
    return _host_mib << 20


def scale_buffer(usual: int) -> int:
    """Return the size of a buffer that has `usual` bytes (or values) where a stage may take `USUAL_MIB`."""
    return max(1, usual * _host_mib // USUAL_MIB)


def trim_heap() -> None:
    """Give memory that was freed in small pieces back to the system, where the C library can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class HeapTrimmer:
    """Return freed memory to the system while blocks are read, results of each of which are kept.

    Where small results lie between freed blocks, glibc may find no place there for the next block, and the
    heap grows with all that is read.
    """

    def __init__(self) -> None:
        self._read = 0

    def count(self, size: int) -> None:
        """Count the bytes of a block that was used, and trim the heap after `TRIMMED_BYTES` of them."""
        self._read += size
        if self._read >= scale_buffer(TRIMMED_BYTES):
            trim_heap()
            self._read = 0
