"""The command line within the test's process."""

import sys

from synergy import cli


class CommandLine:
    """Run command lines: called with arguments, it returns (exit status, stdout, stderr)."""

    def __init__(self, monkeypatch, capsys):
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments):
        """Run one."""
        self._monkeypatch.setattr(sys, "argv", ["synergy", *map(str, arguments)])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        streams = self._capsys.readouterr()
        return status, streams.out, streams.err
