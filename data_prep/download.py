"""Download a file politely: at a limited rate, again when the server is busy, on from where it stopped.

Bytes go to ``NAME.part``, which is renamed when it is complete; ``NAME.part.json`` beside it holds the size
and the version (``ETag`` or ``Last-Modified``) that the server announced. An interrupted download asks for
the rest (``Range``) of that very version (``If-Range``), and starts anew where the server sends the whole
file, or another one. Status 429 and 5xx, and lost connections, are tried again after ``Retry-After``, or
after a wait that doubles each time (RFC 9110). A file is complete when it has the size that was announced.

The key goes to the host that it is meant for and to its sub-domains only; redirections elsewhere lose it.
"""

import contextlib
import dataclasses
import email.message
import email.utils
import functools
import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from synergy.errors import InputError
from synergy.io.atomic import write_bytes

_BLOCK = 1 << 16
_TEXT = ("text/html", "application/json")


class MissingFileError(InputError):
    """The server has no such file (status 404 or 410)."""


@dataclasses.dataclass(frozen=True)
class Politeness:
    """How a server is treated.

    Parameters
    ----------
    rate
        Most requests per second.
    attempts
        Attempts without progress before giving up.
    backoff
        Seconds before the second attempt; doubled before each further one.
    longest
        Longest wait, seconds; when the server asks for more, it is left alone.
    timeout
        Seconds of silence that count as a lost connection.
    """

    rate: float = 2.0
    attempts: int = 6
    backoff: float = 2.0
    longest: float = 600.0
    timeout: float = 60.0


POLITE = Politeness()


class _TryAgainError(Exception):
    """Something that may pass; `wait` is what the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        self.wait = wait
        super().__init__(reason)


class Downloader:
    """Downloads files from one host, one at a time.

    Parameters
    ----------
    host
        Host that the secret headers are meant for.
    secrets
        Headers such as an API key; never shown.
    politeness
        How the server is treated.
    """

    def __init__(self, host: str, secrets: Mapping[str, str], politeness: Politeness) -> None:
        self._secrets, self._politeness = dict(secrets), politeness
        self._opener = urllib.request.build_opener(_Redirects(host, tuple(secrets)))
        self._next = 0.0

    def download(self, url: str, path: Path, report: Callable[[int, int | None], None]) -> None:
        """Download a file.

        Parameters
        ----------
        url
            Where it is.
        path
            Where it goes.
        report
            Called with the bytes that are there and their total, if that is known.

        Raises
        ------
        MissingFileError
            If there is no such file.
        InputError
            If the server refuses, sends a page of text, or fails too often, or the disk does.
        """
        part, note = (path.with_name(path.name + suffix) for suffix in (".part", ".part.json"))
        failures = 0
        while True:
            before = _size(part)
            try:
                self._attempt(url, part, note, report)
                break
            except _TryAgainError as trouble:
                failures = 1 if _size(part) > before else failures + 1
                wait = trouble.wait
                if wait is None:
                    wait = min(self._politeness.backoff * 2.0 ** (failures - 1), self._politeness.longest)
                if failures >= self._politeness.attempts or wait > self._politeness.longest:
                    asked = f", and a request to wait {wait:.0f} s" if trouble.wait else ""
                    raise InputError(
                        url,
                        f"{trouble} after {failures} attempts{asked}",
                        "the file",
                        "Run the same command again later: it goes on from here.",
                    ) from trouble
                time.sleep(wait)
        part.replace(path)
        note.unlink(missing_ok=True)

    def _attempt(self, url: str, part: Path, note: Path, report: Callable[[int, int | None], None]) -> None:
        """Make one request and write what comes."""
        known = _read_note(note, url)
        done = _size(part) if known else 0
        if done and done == known.get("total"):
            return
        headers = {"Accept-Encoding": "identity", "User-Agent": "synergy"} | self._secrets
        if done:
            headers["Range"] = f"bytes={done}-"
            if known.get("version"):
                headers["If-Range"] = known["version"]
        with self._open(urllib.request.Request(url, headers=headers), part) as response:
            total = _announced(response, done, known)
            if total is None and response.status == 206:
                part.unlink(missing_ok=True)
                raise _TryAgainError("another part than the one asked for", 0.0)
            if response.status == 200:
                done = 0
                if response.headers.get_content_type() in _TEXT:
                    raise InputError(
                        url,
                        "a page of text",
                        "a file",
                        "Check the names of simulation, snapshot and product.",
                    )
                part.unlink(missing_ok=True)  # first, lest an old part be taken for one of this version
                known = {"url": url, "version": _version(response.headers), "total": total}
                _to_disk(part, lambda: write_bytes(note, json.dumps(known).encode()))
            done = self._copy(response, part, "ab" if done else "wb", done, lambda n: report(n, total))
        if total is not None and done != total:
            if done > total:
                part.unlink()
            raise _TryAgainError(f"{done} of {total} bytes")

    def _open(self, request: urllib.request.Request, part: Path) -> http.client.HTTPResponse:
        time.sleep(max(self._next - time.monotonic(), 0.0))
        self._next = time.monotonic() + 1.0 / self._politeness.rate
        try:
            return self._opener.open(request, timeout=self._politeness.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # the file has become shorter than what is here
                part.unlink(missing_ok=True)
                raise _TryAgainError("a file that has changed", 0.0) from error
            if error.code in (408, 425, 429) or error.code >= 500:
                raise _TryAgainError(f"status {error.code}", _retry_after(error.headers)) from error
            raise _refusal(request.full_url, error.code) from error
        except (OSError, http.client.HTTPException) as error:
            raise _TryAgainError(_reason(error)) from error

    def _copy(
        self, response: http.client.HTTPResponse, part: Path, mode: str, done: int,
        report: Callable[[int], None],
    ) -> int:  # fmt: skip
        """Append what comes to the part, and return its size."""
        file = _to_disk(part, lambda: part.open(mode, buffering=0))  # no bytes left to write on closing
        with contextlib.closing(file):
            while True:
                try:
                    block = memoryview(response.read(_BLOCK))
                except (OSError, http.client.HTTPException) as error:
                    raise _TryAgainError(f"{_reason(error)} after {done} bytes") from error
                if not block:
                    return done
                while block:
                    written = _to_disk(part, functools.partial(file.write, block))
                    block, done = block[written:], done + written
                report(done)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirections, but keep secrets from other hosts and from unencrypted connections."""

    def __init__(self, host: str, secrets: tuple[str, ...]) -> None:
        self._host, self._secrets = host.removeprefix("www."), secrets

    def redirect_request(
        self, req: urllib.request.Request, fp: http.client.HTTPResponse, code: int, msg: str,
        headers: http.client.HTTPMessage, newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        """Return the request to make next."""
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            host = (urllib.parse.urlsplit(newurl).hostname or "").removeprefix("www.")
            ours = host == self._host or host.endswith("." + self._host)
            if not ours or (req.type == "https" and request.type != "https"):
                for name in self._secrets:
                    request.remove_header(name.capitalize())
        return request


def _refusal(url: str, code: int) -> InputError:
    if code in (401, 403):
        return InputError(
            url, f"status {code}: the key is refused", "a valid key", "Copy it again from your profile."
        )
    if code in (404, 410):
        return MissingFileError(url, f"status {code}", "a file", "Check the names in the address.")
    return InputError(url, f"status {code}", "a file", "Check the address.")


def _announced(response: http.client.HTTPResponse, done: int, known: dict[str, Any]) -> int | None:
    """Return the size of the whole file; None if it is not told, or the part is not the one asked for."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", "").strip())
        fits = match and int(match[1]) == done and known.get("total") in (None, int(match[2]))
        return int(match[2]) if match and fits else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _version(headers: email.message.Message) -> str | None:
    """Return a validator that `If-Range` accepts: weak tags are none."""
    tag = headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _retry_after(headers: email.message.Message) -> float | None:
    value = (headers.get("Retry-After") or "").strip()
    if value.isdigit():
        return float(value)
    try:
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    return f"no connection ({getattr(error, 'reason', None) or error or type(error).__name__})"


def _read_note(note: Path, url: str) -> dict[str, Any]:
    """Return what is known about the part; nothing if it is not of this address."""
    try:
        known = json.loads(note.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and known.get("url") == url else {}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _to_disk(path: Path, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except OSError as error:
        raise InputError(
            path, error.strerror or str(error), "room to write the file", "Free some space, and run it again."
        ) from error
