"""The compiled kernels against numpy in float64, written down independently, and their cache."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_exact import PLACES

from glacierflow.host import compiled_cache
from glacierflow.imagery.kernels import free_cells, paste


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("predicted", [True, False])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (-3, -5), (7, 9), (-3, 9), (40, 0), (0, -50)])
def test_a_block_lands_where_it_belongs(dtype: Any, predicted: bool, top: int, left: int) -> None:
    pixels: NDArray[Any] = np.random.default_rng(3).integers(0, 255, (20, 30)).astype(dtype)
    block = pixels.copy()
    if predicted:
        block[:, 1:] = pixels[:, 1:] - pixels[:, :-1]
    window = np.zeros((24, 33), np.uint16)
    paste(block, window, top, left, predicted)
    wide = np.zeros((200, 200), np.uint16)
    wide[100 + top : 120 + top, 100 + left : 130 + left] = pixels
    np.testing.assert_array_equal(window, wide[100:124, 100:133])


def test_free_cells_are_those_with_a_zero() -> None:
    out = np.ones((130, 140), np.uint16)
    out[0, 0] = out[100, 139] = 0
    # the geobox begins 10 rows and 20 columns inside its first cell
    free = free_cells(out, 10, 20, 3, 3)
    assert np.argwhere(free).tolist() == [[0, 0], [1, 2]]


def test_an_images_compiled_kernels_are_used_by_the_next_process(tmp_path: Path) -> None:
    name = "glacierflow.imagery.kernels"
    code = f"from {name} import compile_all, resample as f; compile_all(); print(f.stats.cache_hits)"
    environment = {**os.environ, "GLACIERFLOW_COMPILED": str(tmp_path / "brought")}
    environment.pop("NUMBA_CACHE_DIR", None)

    def hits() -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=120
        ).stdout.strip()

    assert hits() == "Counter()"
    assert hits().endswith(": 1})")


def test_everything_a_read_uses_is_compiled_beforehand(tmp_path: Path) -> None:
    """In a process of its own: here, other tests have compiled for whatever types they needed."""
    scene = PLACES["one tile"][0].write(tmp_path / "a.tif")
    (tmp_path / "scene.json").write_text(scene.model_dump_json())
    code = """
import sys
from pathlib import Path
from test_exact import WIDE
from glacierflow.cloud import Cloud
from glacierflow.imagery import kernels
from glacierflow.imagery.mosaic import Imagery
from glacierflow.model.records import Scene, StepSettings

compiled = [kernels.paste, kernels.free_cells, kernels.resample]
kernels.compile_all()
before = [len(each.signatures) for each in compiled]
scene = Scene.model_validate_json(Path(sys.argv[1]).read_text())
assert Imagery(Cloud(), StepSettings()).mosaic([scene], WIDE).any()
print(before, [len(each.signatures) for each in compiled])
"""
    command = [sys.executable, "-c", code, str(tmp_path / "scene.json")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    printed = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert printed.stdout.strip() == "[2, 1, 1] [2, 1, 1]"


def test_a_read_only_folder_of_compiled_kernels_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought = tmp_path / "brought"
    brought.mkdir()
    (brought / "kernels.nbi").write_bytes(b"compiled")
    monkeypatch.setenv("GLACIERFLOW_COMPILED", str(brought))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert compiled_cache() == brought
    # root may write anywhere, so only the answer is changed
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != brought)
    folder = compiled_cache()
    assert folder is not None
    assert folder != brought
    assert (folder / "kernels.nbi").read_bytes() == b"compiled"


@pytest.mark.parametrize("fault", ["somebody else's", "writable by others", "a link", "full"])
def test_a_cache_that_is_not_our_own_or_full_is_not_used_and_ends_nothing(fault: str, tmp_path: Path) -> None:
    """A process of its own: its home cannot be used, and what is in its temporary folder is at fault."""
    code = """
import os, resource, signal, sys, tempfile
from pathlib import Path
fault, folder = sys.argv[1], Path(tempfile.gettempdir()) / f"glacierflow-compiled-{os.getuid()}"
if fault == "a link":
    (Path(tempfile.gettempdir()) / "theirs").mkdir()
    folder.symlink_to("theirs")
elif fault != "full":
    folder.mkdir(mode=0o777 if fault == "writable by others" else 0o700)
    os.chmod(folder, 0o777 if fault == "writable by others" else 0o700)
if fault == "somebody else's":
    uid = os.getuid()
    os.getuid = lambda: uid + 1
    folder.rename(folder.with_name(f"glacierflow-compiled-{uid + 1}"))
if fault == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from glacierflow.host import compiled_cache
assert compiled_cache() is None
import numpy as np
from glacierflow.imagery import kernels
out = np.ones((130, 140), np.uint16)
out[0, 0] = 0
assert kernels.free_cells(out, 10, 20, 3, 3)[0, 0]
"""
    (tmp_path / "home").write_text("no folder")
    (tmp_path / "tmp").mkdir()
    home, temporary = str(tmp_path / "home"), str(tmp_path / "tmp")
    environ = os.environ | {"HOME": home, "XDG_CACHE_HOME": f"{home}/cache", "TMPDIR": temporary}
    subprocess.run([sys.executable, "-B", "-c", code, fault], check=True, env=environ)
    left = [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]
    assert left == []
