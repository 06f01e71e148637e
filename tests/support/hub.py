"""A server on the loopback address with what down- and uploads need of the hub's protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
SECRET = "Signature0123456789"


@dataclass
class Hub:
    """One repository, `org/bench`, of datasets or `models`; `requests` records what is asked of it.

    Files in `large` are kept as the hub keeps large files: known by their SHA-256 and served
    from a signed address. What is uploaded are `files` from then on. `cut` breaks the connection
    after so many bytes of a file's first answer, `corrupt` serves other bytes than are listed,
    `status` answers everything with it.
    """

    files: dict[str, bytes]
    large: frozenset[str] = frozenset()
    cut: dict[str, int] = field(default_factory=dict)
    corrupt: dict[str, bytes] = field(default_factory=dict)
    status: int | None = None
    error_code: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    address: str = ""
    models: bool = False
    uploaded: dict[str, bytes] = field(default_factory=dict)

    def count(self, method: str, part: str) -> int:
        """How many requests had a method and a part of a path."""
        return sum(asked == method and part in path for asked, path, _ in self.requests)

    def ranges(self) -> list[str]:
        return [header for _, _, header in self.requests if header]


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def listing(hub: Hub) -> list[dict[str, Any]]:
    """The answer of `api/datasets/<repo>/tree/<commit>?recursive=true`."""
    entries = []
    for name, content in sorted(hub.files.items()):
        git_id = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": git_id}
        if name in hub.large:
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
        entries.append(entry)
    return entries


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path, self.headers.get("Range", "")))
            api = f"/api/{'models' if hub.models else 'datasets'}/org/bench"
            resolve = f"{'' if hub.models else '/datasets'}/org/bench/resolve/{COMMIT}/"
            path = path.replace("/resolve/main/", f"/resolve/{COMMIT}/")
            if hub.status is not None:
                self._send(hub.status, b"{}", {"X-Error-Code": hub.error_code})
            elif path.startswith(f"{api}/revision/"):
                known = path.rpartition("/")[2] in ("main", COMMIT)
                if known:
                    self._json({"id": "org/bench", "sha": COMMIT, "siblings": []})
                else:
                    self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            elif path.startswith(f"{api}/tree/{COMMIT}") or path == f"{api}/tree/main":
                self._json(listing(hub))
            elif path.startswith(resolve) and path.removeprefix(resolve) in hub.files:
                self._resolve(path.removeprefix(resolve))
            elif path.startswith(resolve) or (hub.models and path.startswith(f"{api}/tree/")):
                self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            elif path.startswith("/storage/") and SECRET in self.path:
                self._content(path.removeprefix("/storage/"), {})
            else:
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            hub.uploaded[self.path.rpartition("/")[2]] = content
            self._json({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            path = urlsplit(self.path).path
            hub.requests.append((self.command, path, ""))
            if path == "/api/repos/create":
                self._json({"url": f"{hub.address}/org/bench"})
            elif path == "/api/validate-yaml":
                self._json({"errors": [], "warnings": []})
            elif path == "/api/models/org/bench/preupload/main":
                files = [{"path": file["path"]} for file in json.loads(body)["files"]]
                for file in files:
                    large = file["path"].endswith(".safetensors")
                    file |= {"uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
                self._json({"files": files})
            elif path == "/org/bench.git/info/lfs/objects/batch":
                objects = json.loads(body)["objects"]
                for item in objects:
                    item["actions"] = {"upload": {"href": f"{hub.address}/upload/{item['oid']}"}}
                self._json({"transfer": "basic", "objects": objects})
            elif path == "/api/models/org/bench/commit/main":
                self._commit([json.loads(line) for line in body.splitlines()])
            else:
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        def _commit(self, lines: list[dict[str, Any]]) -> None:
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    hub.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    hub.files[value["path"]] = hub.uploaded[value["oid"]]
                    hub.large |= {value["path"]}
                elif line["key"] == "deletedFile":
                    del hub.files[value["path"]]
            url = f"{hub.address}/org/bench/commit/{COMMIT}"
            self._json({"commitUrl": url, "commitOid": COMMIT})

        def _resolve(self, name: str) -> None:
            content = hub.files[name]
            digest = hashlib.sha256(content).hexdigest()
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest[:40]}"'}
            if name not in hub.large:
                self._content(name, headers)
                return
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            # Another host than the hub's, as the storage behind the real one is.
            storage = hub.address.replace("127.0.0.1", "localhost")
            headers["Location"] = f"{storage}/storage/{name}?X-Signature={SECRET}"
            self._send(302, b"", headers)

        def _content(self, name: str, headers: dict[str, str]) -> None:
            content = hub.corrupt.get(name, hub.files[name])
            asked = self.headers.get("Range", "")
            if asked:
                first = int(asked.removeprefix("bytes=").partition("-")[0])
                headers |= {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}
                content = content[first:]
            end = hub.cut.pop(name, None) if self.command == "GET" else None
            self._send(206 if asked else 200, content, headers, end)

        def _json(self, value: Any) -> None:
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _send(
            self, status: int, content: bytes, headers: dict[str, str], end: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[:end])
            if end is not None:
                self.close_connection = True

    return Handler
