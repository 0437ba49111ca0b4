"""Nothing hangs: whatever waits for another process says for how long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("factory", "learning", "manifests", "trainer")
WITH_TIMEOUT = ("subprocess.run", "subprocess.call", "subprocess.check_call", "subprocess.check_output")
WITH_TIMEOUT += ("ray.get", "ray.wait")


def unbounded(text: str) -> Iterator[str]:
    """Name the calls in a module's text that may wait for ever."""
    for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
        name, words = ast.unparse(call.func), {word.arg for word in call.keywords}
        if name in WITH_TIMEOUT and "timeout" not in words:
            yield f"{call.lineno}: {name} without a timeout"
        if name == "fcntl.flock" and not any(known in ast.unparse(call) for known in ("LOCK_NB", "LOCK_UN")):
            yield f"{call.lineno}: {name} without LOCK_NB"
        if name.endswith((".wait", ".communicate")) and not call.args and not words & {"timeout", "timeout_s"}:
            yield f"{call.lineno}: {name} without a timeout"


@pytest.mark.parametrize("package", PACKAGES)
def test_what_waits_for_another_process_has_a_bound(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    assert [f"{path.relative_to(ROOT)}:{one}" for path in files for one in unbounded(path.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("line", "is_bounded"),
    [
        ("ray.get(answer)", False),
        ("ray.get(answer, timeout=60)", True),
        ("fcntl.flock(file, how)", False),
        ("fcntl.flock(file, how | fcntl.LOCK_NB)", True),
        ("child.wait()", False),
        ("crew.wait(0.5)", True),
    ],
)
def test_the_check_itself_tells_them_apart(line: str, is_bounded: bool) -> None:
    assert (not list(unbounded(line))) == is_bounded
