"""Where libraries keep what they make once, for a user without a folder of his own: a service, a container, a CI job.

Where another user installed the package, numba would refuse to compile, or put a folder called ~ wherever it runs;
matplotlib would look for the machine's fonts in every process anew.
"""

import os
import stat
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any


def numba_cache() -> str:
    """Choose a folder for numba's cache where it finds none; called before the first function is compiled.

    What numba was told, which is empty where it finds a place by itself.
    """
    config: Any = import_module("numba.core.config")  # imported by those who compile
    if not config.CACHE_DIR and not os.access(Path(__file__).parent, os.W_OK) and not _has_folder():
        config.CACHE_DIR = str(private_folder("numba"))
    return str(config.CACHE_DIR)


def matplotlib_cache() -> None:
    """Choose a folder for matplotlib's cache where it finds none; called before it is imported."""
    if not os.environ.get("MPLCONFIGDIR") and not _has_folder():
        os.environ["MPLCONFIGDIR"] = str(private_folder("matplotlib"))


def private_folder(purpose: str) -> Path:
    """A folder for temporary files that nobody but this user can write, the same one at each call where possible.

    Caches are code: what somebody else put there must not run.
    """
    folder = Path(tempfile.gettempdir()) / f"sessrec-{purpose}-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix=f"sessrec-{purpose}-"))
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
        return folder
    return Path(tempfile.mkdtemp(prefix=f"sessrec-{purpose}-"))


def _has_folder() -> bool:
    """Whether the user has a folder that can be written."""
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor an entry among the machine's users
        return False
    return home.is_dir() and os.access(home, os.W_OK)
