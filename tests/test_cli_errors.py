"""What nobody can help, and what the user can, is one line and an exit code in every command line."""

import importlib
from collections.abc import Callable

import pytest

from manifests.errors import StoreError, UserError


def raising(error: Exception) -> Callable[[], None]:
    def app() -> None:
        raise error

    return app


@pytest.mark.parametrize("package", ["manifests", "factory", "trainer"])
@pytest.mark.parametrize("kind", [UserError, StoreError])
def test_an_expected_error_is_one_line_and_its_exit_code(
    package: str,
    kind: type[UserError | StoreError],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = importlib.import_module(f"{package}.__main__")
    monkeypatch.setattr(module, "app", raising(kind("s3://b/x: reset")))
    with pytest.raises(SystemExit) as left:
        module.main()
    assert left.value.code == kind.exit_code
    assert capsys.readouterr().err == "error: s3://b/x: reset\n"
