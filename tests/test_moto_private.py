"""What moto keeps to itself is used in one module, which says at start-up what a release of moto lacks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import moto
import pytest

from glacierflow.errors import UsageError
from glacierflow.local import moto_private

LOCAL = Path(moto_private.__file__).parent


def members() -> set[str]:
    """Private names used in the one module, as attributes."""
    text = (LOCAL / "moto_private.py").read_text()
    return set(re.findall(r"\.(_[a-z]\w+)", text)) - {"_map"}


def test_this_moto_has_every_member() -> None:
    moto_private.check_moto()
    assert len(members()) > 20


def test_no_other_module_touches_one() -> None:
    pattern = re.compile(rf"\.({'|'.join(sorted(members()))})\b")
    found = {
        f"{path.relative_to(LOCAL)}: {one}"
        for path in LOCAL.rglob("*.py")
        if path.name != "moto_private.py"
        for one in pattern.findall(path.read_text())
    }
    assert found == set()


def test_a_member_that_is_gone_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "moto"
    shutil.copytree(
        Path(moto.__file__).parent, copy, ignore=shutil.ignore_patterns("*.json", "*.gz", "*.pyc")
    )
    models = copy / "batch" / "models.py"
    models.write_text(models.read_text().replace("_job_queues", "_queues_of_jobs"))
    monkeypatch.setattr(moto, "__file__", str(copy / "__init__.py"))
    with pytest.raises(UsageError, match=r"lacks .*moto\.batch\.models _job_queues$") as caught:
        moto_private.check_moto()
    assert "glacierflow[local]" in str(caught.value.next_step)
