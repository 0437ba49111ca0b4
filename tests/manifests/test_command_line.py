"""What goes wrong in a command is told in lines that cannot steer the terminal, with the exit code of its kind."""

import errno

import pytest

from manifests.command_line import new_app, run_app
from manifests.errors import CorruptError, StoreError, UserError


@pytest.mark.parametrize(
    ("error", "told", "code"),
    [
        (UserError("seed is -1; expected 0 or more"), "seed is -1; expected 0 or more", 2),
        (UserError("one \x1b[2J\ntwo \u202e"), "one \\x1b[2J\ntwo \\u202e", 2),
        (CorruptError("a.tar is absent"), "a.tar is absent", 3),
        (StoreError("s3://b/x: reset"), "s3://b/x: reset", 6),
        (OSError(errno.ENOSPC, "full", "out/x"), "out/x: the disk is full: free some space and run the same", 6),
        (OSError(errno.EIO, "Input/output error"), "the file system: OSError: [Errno 5] Input/output error", 6),
    ],
)
def test_what_a_command_fails_at_is_told_without_a_traceback(
    error: Exception, told: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = new_app()

    @app.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["fail"])
    with pytest.raises(SystemExit) as left:
        run_app(app)
    assert left.value.code == code
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {told}")
    assert said.out == ""


def test_a_fault_of_our_own_keeps_its_traceback() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_app(broken)
