"""A Hub on 127.0.0.1, as far as the client's create, push and pull need one; and a way to run tests against it.

    python loopback.py publish_cases.py FOLDER [options of pytest]

huggingface_hub reads its settings when it is imported, so the tests of a file run in a process of their own, in which
everything that the client keeps is in FOLDER. They get the server as the fixture `hub`.
"""

import base64
import hashlib
import json
import os
import re
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, unquote, urlsplit

WRITER, READER = "hf_canary" + "W" * 28, "hf_canary" + "R" * 28


@dataclass
class Repository:
    private: bool
    commits: dict = field(default_factory=dict)  # oid: {path: content}
    branches: dict = field(default_factory=dict)  # name: oid
    titles: list = field(default_factory=list)
    pull_requests: int = 0

    def commit(self, branch, files, title):
        oid = hashlib.sha1(f"{len(self.commits)} {title}".encode()).hexdigest()
        self.commits[oid] = files
        self.titles.append(title)
        self.branches[branch] = oid
        return oid

    def files(self, revision):
        return self.commits[self.branches.get(revision, revision)]


def is_large(path):
    return path.endswith((".safetensors", ".png"))


def object_id(path, content):
    """What the Hub calls a file's content: sha256 of large files, git's own of others."""
    if is_large(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Refusal(Exception):
    def __init__(self, status, message, code=None, detail=""):
        super().__init__(message)
        self.status, self.message, self.code, self.detail = status, message, code, detail


class LoopbackHub:
    def __init__(self):
        self.repositories, self.large, self.requests = {}, {}, []
        self.failures = []  # (regular expression of "METHOD /path", status): each refuses one request
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def fail_once(self, request, status):
        self.failures.append((request, status))

    def titles(self, repo_id):
        """Of all commits after the first, which is the Hub's own."""
        return self.repositories[repo_id].titles[1:]

    def files(self, repo_id, revision="main"):
        return self.repositories[repo_id].files(revision)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def answer(self, method, path, query, headers, body):
        """(status, headers, content) of a request."""
        for i, (pattern, status) in enumerate(self.failures):
            if re.search(pattern, f"{method} {path}"):
                del self.failures[i]
                raise Refusal(status, "made to fail")
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if token and token not in (WRITER, READER):
            # As unkind as a server can be: it repeats the token.
            raise Refusal(401, "Invalid credentials in Authorization header", detail=f": {token}")
        if method in ("POST", "PUT") and token != WRITER and not path.startswith("/large/"):
            raise Refusal(403, "You don't have the rights to do this with this token")
        for pattern, call in (
            (r"/api/repos/create", self._create),
            (r"/api/validate-yaml", lambda *_: {"errors": [], "warnings": []}),
            (r"/large/(.+)", self._put_large),
            (r"/(.+)\.git/info/lfs/objects/batch", self._batch),
            (r"/api/models/([^/]+/[^/]+)/preupload/(.+)", self._preupload),
            (r"/api/models/([^/]+/[^/]+)/commit/(.+)", self._commit),
            (r"/api/models/([^/]+/[^/]+)/branch/(.+)", self._branch),
            (r"/api/models/([^/]+/[^/]+)/tree/(.+)", self._tree),
            (r"/api/models/([^/]+/[^/]+)/revision/(.+)", self._info),
            (r"/api/models/([^/]+/[^/]+)", self._info),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
        ):
            found = re.fullmatch(pattern, path)
            if found:
                answer = call(body, query, *map(unquote, found.groups()))
                return answer if isinstance(answer, tuple) else (200, {}, json.dumps(answer).encode())
        raise Refusal(404, "no such page")

    def _repository(self, repo_id, revision="main"):
        repository = self.repositories.get(repo_id)
        if repository is None:
            raise Refusal(404, "Repository not found", "RepoNotFound")
        if revision not in repository.branches and revision not in repository.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return repository

    def _create(self, body, query):
        data = json.loads(body)
        repo_id = f"{data.get('organization') or 'someone'}/{data['name']}"
        exists = repo_id in self.repositories
        if not exists:
            private = data.get("visibility") == "private" or bool(data.get("private"))
            self.repositories[repo_id] = Repository(private)
            self.repositories[repo_id].commit("main", {".gitattributes": b""}, "initial commit")
        answer = {"url": f"{self.url}/{repo_id}", "name": repo_id}
        return 409 if exists else 200, {}, json.dumps(answer).encode()

    def _put_large(self, body, query, oid):
        assert hashlib.sha256(body).hexdigest() == oid
        self.large[oid] = body
        return {}

    def _batch(self, body, query, repo_id):
        objects = [{"oid": o["oid"], "size": o["size"]} for o in json.loads(body)["objects"]]
        for entry in objects:
            if entry["oid"] not in self.large:
                entry["actions"] = {"upload": {"href": f"{self.url}/large/{entry['oid']}"}}
        return {"transfer": "basic", "objects": objects}

    def _preupload(self, body, query, repo_id, revision):
        there = self._repository(repo_id, revision).files(revision)
        return {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if is_large(file["path"]) else "regular",
                    "shouldIgnore": False,
                    "oid": object_id(file["path"], there[file["path"]]) if file["path"] in there else None,
                }
                for file in json.loads(body)["files"]
            ]
        }

    def _commit(self, body, query, repo_id, revision):
        repository = self._repository(repo_id, revision)
        files, title, pull_request = dict(repository.files(revision)), None, None
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                title = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        if query.get("create_pr"):
            repository.pull_requests += 1
            revision = f"refs/pr/{repository.pull_requests}"
            pull_request = f"{self.url}/{repo_id}/discussions/{repository.pull_requests}"
        oid = repository.commit(revision, files, title)
        return {
            "commitUrl": f"{self.url}/{repo_id}/commit/{oid}",
            "commitOid": oid,
            "pullRequestUrl": pull_request,
        }

    def _branch(self, body, query, repo_id, branch):
        repository = self._repository(repo_id)
        repository.branches[branch] = repository.branches["main"]
        return {}

    def _info(self, body, query, repo_id, revision="main"):
        repository = self._repository(repo_id, revision)
        return {
            "id": repo_id,
            "sha": repository.branches.get(revision, revision),
            "private": repository.private,
            "siblings": [{"rfilename": path} for path in repository.files(revision)],
        }

    def _tree(self, body, query, repo_id, revision):
        files = self._repository(repo_id, revision.split("/")[0]).files(revision.split("/")[0])
        return [{"type": "file", "path": p, "oid": object_id(p, c), "size": len(c)} for p, c in files.items()]

    def _resolve(self, body, query, repo_id, revision, path):
        repository = self._repository(repo_id, revision)
        oid = repository.branches.get(revision, revision)
        if path not in repository.commits[oid]:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        content = repository.commits[oid][path]
        return 200, {"X-Repo-Commit": oid, "ETag": f'"{object_id(path, content)}"'}, content


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def _handle(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        self.hub.requests.append(f"{self.command} {url.path}")
        try:
            status, headers, content = self.hub.answer(self.command, url.path, parse_qs(url.query), self.headers, body)
        except Refusal as refusal:
            status, content = refusal.status, json.dumps({"error": refusal.message + refusal.detail}).encode()
            headers = {"X-Error-Message": refusal.message}
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def log_message(self, *args):
        pass


def main(cases, folder, *options):
    folder = Path(folder)
    with LoopbackHub().running() as hub:
        os.environ |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": WRITER, "HF_HOME": str(folder / "home")}
        os.environ |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
        os.environ.pop("HF_HUB_OFFLINE", None)
        import pytest

        plugin = ModuleType("loopback_plugin")
        plugin.fixture = pytest.fixture(name="hub", scope="session")(lambda: hub)

        quiet = ["-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib", "--show-capture=no"]
        log = [f"--log-file={folder / 'log.txt'}", "--log-file-level=DEBUG", f"--basetemp={folder / 'pytest'}"]
        return pytest.main([cases, *quiet, *log, *options], plugins=[plugin])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
