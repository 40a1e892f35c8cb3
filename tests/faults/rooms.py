"""Where the suffering happens: folders in memory, small disks of their own, and the libraries that make calls fail."""

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 (a folder of our own is made in it)
_FIU: Final = tuple(
    Path(folder) / "fiu_posix_preload.so" for folder in ("/usr/lib/fiu", "/usr/local/lib/fiu", "/usr/lib64/fiu")
)
_MOUNTED: Final = 'mount -t tmpfs -o "size=$1,mode=700" tmpfs "$2" && shift 2 && exec "$@"'


def in_memory() -> Path:
    """A new folder, in memory where the machine has a file system there. Whoever asked removes it."""
    usable = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="rogatory-", dir=_MEMORY if usable else None))


def on_a_disk_of(size: str, folder: Path, command: list[str]) -> list[str]:
    """The command, run where `folder` is a disk of that size, which is gone when it ends."""
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--mount", *as_root, "sh", "-c", _MOUNTED, "sh", size, str(folder), *command]


@cache
def no_small_disks() -> str | None:
    """Why no small disk can be had here, or None."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return "no small disk without unshare and mount (util-linux)"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(on_a_disk_of("1m", Path(folder), ["true"]), capture_output=True, check=False)
    return None if done.returncode == 0 else "neither root nor a user namespace: no small disk can be mounted here"


def fiu() -> Path | None:
    """libfiu's preload library, or None: scripts/install-libfiu.sh."""
    return next((path for path in _FIU if path.exists()), None)
