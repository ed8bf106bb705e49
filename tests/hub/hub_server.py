"""A small Hub on loopback: what `huggingface_hub` asks for to create, fill, tag and read model repositories.

Everything is in memory and speaks the Hub's HTTP: bearer tokens, `preupload`, git LFS with an upload by signed address
and a check of its hash, commits as one ndjson body that is applied whole or not at all, `resolve` with the Hub's
headers and a redirect for LFS, branches, tags, trees. Xet storage is a protocol of its own and not here: clients run
with `HF_HUB_DISABLE_XET=1`, as on machines without `hf_xet`.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results


LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".mp4", ".npz")  # as the Hub's default .gitattributes
REGULAR_LIMIT = 10 * 1024 * 1024  # the Hub takes no larger file outside LFS
GITATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES).encode()


@dataclass(frozen=True)
class Entry:
    """A file at a commit."""

    data: bytes
    lfs: bool

    @property
    def git_oid(self) -> str:
        content = self.pointer if self.lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def pointer(self) -> bytes:
        version = "version https://git-lfs.github.com/spec/v1"
        return f"{version}\noid sha256:{self.sha256}\nsize {len(self.data)}\n".encode()

    def listing(self, path: str) -> dict:
        lfs = {"oid": self.sha256, "size": len(self.data), "pointerSize": len(self.pointer)}
        item = {"type": "file", "path": path, "size": len(self.data), "oid": self.git_oid}
        return item | ({"lfs": lfs} if self.lfs else {})


@dataclass
class Repo:
    """Commits by their ids, and the names that point to them."""

    private: bool
    commits: dict[str, dict[str, Entry]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, Entry], message: str) -> str:
        parent = self.branches.get(branch)
        names = json.dumps([parent, message, sorted((path, entry.git_oid) for path, entry in files.items())])
        oid = hashlib.sha1(names.encode()).hexdigest()
        self.commits[oid], self.messages[oid], self.parents[oid] = files, message, parent
        self.branches[branch] = oid
        return oid

    def resolve(self, revision: str) -> str | None:
        return (
            self.branches.get(revision) or self.tags.get(revision) or (revision if revision in self.commits else None)
        )

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return {path: entry.data for path, entry in self.commits[self.resolve(revision)].items()}


class HubError(Exception):
    """An answer other than success, with the Hub's error code in its header."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str):
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers


class Hub(ThreadingHTTPServer):
    """The server and its state; `drop` names the kind of request that is cut off next."""

    daemon_threads = True

    def __init__(self, tokens: dict[str, str]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.tokens = tokens
        self.repos: dict[str, Repo] = {}
        self.log: list[tuple[str, str, int]] = []  # method, path, bytes of the body
        self.drop: str | None = None
        self.lock = threading.RLock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def uploaded(self, since: int = 0) -> list[int]:
        """Sizes of the LFS uploads after the first `since` requests."""
        return [size for method, path, size in self.log[since:] if method == "PUT" and path.startswith("/lfs/")]


@contextmanager
def serve_hub(**tokens: str):
    """Serve a Hub whose users have these tokens: `serve_hub(alice="hf_alice")`."""
    hub = Hub({token: user for user, token in tokens.items()})
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


ROUTES = []


def route(method: str, pattern: str, kind: str = ""):
    """Register a handler's function for a path; groups of the pattern are its arguments."""

    def register(function):
        ROUTES.append((method, re.compile(pattern), function, kind))
        return function

    return register


REPO = r"(?P<repo>[^/]+/[^/]+)"


class Handler(BaseHTTPRequestHandler):
    """One request; errors are answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Hub

    def log_message(self, *args):
        pass

    def handle_any(self):
        address = urlsplit(self.path)
        self.query = parse_qs(address.query)
        command = self.command.replace("HEAD", "GET")
        matching = ((item, item[1].fullmatch(address.path)) for item in ROUTES if item[0] == command)
        (_, _, function, kind), found = next((x for x in matching if x[1]), ((None, None, None, ""), None))
        if kind and self.server.drop == kind:
            self.server.drop = None
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
            self.close_connection = True
            self.connection.close()
            return
        body = self.read_body()
        with self.server.lock:
            self.server.log.append((self.command, address.path, len(body)))
            try:
                if function is None:
                    raise HubError(404, f"Nothing is at {self.command} {address.path}")
                groups = {name: unquote(value or "") for name, value in found.groupdict().items()}
                answer = function(self, body=body, **groups)
            except HubError as error:
                headers = {"X-Error-Message": str(error), **error.headers}
                headers |= {"X-Error-Code": error.code} if error.code else {}
                answer = (error.status, headers, json.dumps({"error": str(error)}).encode())
        self.answer(*answer) if isinstance(answer, tuple) else self.answer(200, {}, json.dumps(answer).encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(content), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def user(self, required: bool = True) -> str | None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if given and given not in self.server.tokens:
            raise HubError(401, "Invalid credentials in Authorization header")
        if required and not given:
            raise HubError(401, "Invalid username or password.")
        return self.server.tokens.get(given)

    def find_repo(self, name: str, write: bool = False) -> Repo:
        """The repository, for who may read or write it."""
        user = self.user(required=write)
        repo, owner = self.server.repos.get(name), name.split("/")[0]
        if repo is None or (repo.private and user != owner):
            # To a stranger a private repository does not exist.
            raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
        if write and user != owner:
            raise HubError(403, f"You don't have the rights to write to {name}")
        return repo

    def find_commit(self, repo: Repo, revision: str) -> str:
        oid = repo.resolve(revision)
        if oid is None:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return oid

    # Accounts and repositories

    @route("GET", "/api/whoami-v2")
    def whoami(self, body):
        return {"type": "user", "name": self.user(), "orgs": [], "auth": {"type": "access_token"}}

    @route("POST", "/api/repos/create")
    def create(self, body):
        user, asked = self.user(), json.loads(body)
        owner = asked.get("organization") or user
        name = f"{owner}/{asked['name']}"
        if owner != user:
            raise HubError(403, f"You don't have the rights to create a model under the namespace {owner!r}")
        url = {"url": f"{self.server.endpoint}/{name}", "name": name}
        if name in self.server.repos:
            message = "You already created this model repo"
            return 409, {"X-Error-Message": message}, json.dumps({"error": message, **url}).encode()
        repo = Repo(private=asked.get("visibility") == "private" or bool(asked.get("private")))
        repo.commit("main", {".gitattributes": Entry(GITATTRIBUTES, False)}, "initial commit")
        self.server.repos[name] = repo
        return url

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self, body):
        """Check that metadata is YAML, and that the Hub can show the model index."""
        found = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], re.DOTALL)
        errors = []
        try:
            data = yaml.safe_load(found[1]) if found else {}
            if "model-index" in data:
                model_index_to_eval_results(data["model-index"])
            errors += [
                {"message": f'"{key}" must be a string'}
                for key in ("library_name", "pipeline_tag", "license")
                if not isinstance(data.get(key, ""), str)
            ]
        except (yaml.YAMLError, KeyError, TypeError) as error:
            errors.append({"message": f"{type(error).__name__}: {error}"})
        warnings = [] if found else [{"message": "empty or missing yaml metadata in repo card"}]
        return (400 if errors else 200), {}, json.dumps({"errors": errors, "warnings": warnings}).encode()

    # Writing

    @route("POST", f"/api/models/{REPO}/preupload/(?P<revision>[^/]+)")
    def preupload(self, body, repo, revision):
        repo = self.find_repo(repo, write=True)
        files = repo.commits[self.find_commit(repo, revision)]
        answers = []
        for item in json.loads(body)["files"]:
            path, entry = item["path"], files.get(item["path"])
            lfs = path.endswith(LFS_SUFFIXES) or item["size"] > REGULAR_LIMIT
            known = {"oid": entry.sha256 if entry.lfs else entry.git_oid} if entry else {}
            mode = "lfs" if lfs else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **known})
        return {"files": answers}

    @route("POST", rf"/{REPO}\.git/info/lfs/objects/batch")
    def lfs_batch(self, body, repo):
        name, repo = repo, self.find_repo(repo, write=True)
        objects = []
        for item in json.loads(body)["objects"]:
            oid = item["oid"]
            address = f"{self.server.endpoint}/lfs/{name}/{oid}"
            actions = {"upload": {"href": f"{address}?signature={self.sign(oid)}"}, "verify": {"href": address}}
            objects.append({**item, **({} if oid in repo.objects else {"actions": actions})})
        return {"transfer": "basic", "objects": objects}

    def sign(self, oid: str) -> str:
        """Sign a storage address, so that it can be used without a token, as in the Hub's storage."""
        return hashlib.sha256(f"{id(self.server)} {oid}".encode()).hexdigest()

    @route("PUT", f"/lfs/{REPO}/(?P<oid>[0-9a-f]+)", "lfs")
    def lfs_upload(self, body, repo, oid):
        if self.query.get("signature") != [self.sign(oid)]:
            raise HubError(403, "SignatureDoesNotMatch")
        if hashlib.sha256(body).hexdigest() != oid:
            raise HubError(400, "The content does not have this hash")
        self.server.repos[repo].objects[oid] = body
        return 200, {"ETag": f'"{oid}"'}, b""

    @route("POST", f"/lfs/{REPO}/(?P<oid>[0-9a-f]+)")
    def lfs_verify(self, body, repo, oid):
        found = self.find_repo(repo, write=True).objects.get(oid)
        if found is None or len(found) != json.loads(body)["size"]:
            raise HubError(404, f"The object {oid} was not uploaded whole")
        return {}

    @route("POST", f"/api/models/{REPO}/commit/(?P<revision>[^/]+)", "commit")
    def commit(self, body, repo, revision):
        name, repo = repo, self.find_repo(repo, write=True)
        if revision not in repo.branches:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        files, message = dict(repo.commits[repo.branches[revision]]), ""
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            path = value.get("path", "")
            if item["key"] == "header":
                message = value["summary"]
                if value.get("parentCommit", repo.branches[revision]) != repo.branches[revision]:
                    raise HubError(412, "A commit has happened since. Please refresh and try again.")
            elif item["key"] == "file":
                files[path] = Entry(base64.b64decode(value["content"]), False)
            elif item["key"] == "lfsFile":
                if value["oid"] not in repo.objects:
                    raise HubError(400, f"LFS pointer of {path} points to an object that was not uploaded")
                files[path] = Entry(repo.objects[value["oid"]], True)
            elif item["key"] == "deletedFile":
                if files.pop(path, None) is None:
                    raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
            else:
                raise HubError(400, f"Unknown operation {item['key']}")
        oid = repo.commit(revision, files, message)
        return {"commitUrl": f"{self.server.endpoint}/{name}/commit/{oid}", "commitOid": oid, "success": True}

    @route("POST", f"/api/models/{REPO}/branch/(?P<branch>[^/]+)")
    def create_branch(self, body, repo, branch):
        repo = self.find_repo(repo, write=True)
        if branch in repo.branches:
            raise HubError(409, f"Reference already exists: {branch}")
        repo.branches[branch] = self.find_commit(repo, (json.loads(body or b"{}")).get("startingPoint", "main"))
        return {}

    @route("POST", f"/api/models/{REPO}/tag/(?P<revision>[^/]+)")
    def create_tag(self, body, repo, revision):
        repo, tag = self.find_repo(repo, write=True), json.loads(body)["tag"]
        if tag in repo.tags:
            raise HubError(409, f"Tag reference exists already: {tag}")
        repo.tags[tag] = self.find_commit(repo, revision)
        return {}

    # Reading

    @route("GET", f"/api/models/{REPO}(/revision/(?P<revision>[^/]+))?")
    def info(self, body, repo, revision):
        name, repo = repo, self.find_repo(repo)
        oid = self.find_commit(repo, revision or "main")
        siblings = [{"rfilename": path} for path in sorted(repo.commits[oid])]
        return {"id": name, "modelId": name, "sha": oid, "private": repo.private, "siblings": siblings, "tags": []}

    @route("GET", f"/api/models/{REPO}/refs")
    def refs(self, body, repo):
        repo = self.find_repo(repo)
        listed = {
            kind: [{"name": name, "ref": f"refs/{place}/{name}", "targetCommit": oid} for name, oid in refs.items()]
            for kind, place, refs in (("branches", "heads", repo.branches), ("tags", "tags", repo.tags))
        }
        return {**listed, "converts": []}

    @route("GET", f"/api/models/{REPO}/tree/(?P<revision>[^/]+)(/(?P<folder>.+))?")
    def tree(self, body, repo, revision, folder):
        repo = self.find_repo(repo)
        files = repo.commits[self.find_commit(repo, revision)]
        prefix = f"{folder}/" if folder else ""
        inside = {path: entry for path, entry in sorted(files.items()) if path.startswith(prefix)}
        if prefix and not inside:
            raise HubError(404, f"{folder} does not exist on {revision!r}", "EntryNotFound")
        deep = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        folders = {
            path[: end.start()] for path in inside for end in re.finditer("/", path) if end.start() > len(prefix)
        }
        found = [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(folders)]
        found += [entry.listing(path) for path, entry in inside.items()]
        return [item for item in found if deep or "/" not in item["path"].removeprefix(prefix)]

    @route("POST", f"/api/models/{REPO}/paths-info/(?P<revision>[^/]+)")
    def paths_info(self, body, repo, revision):
        repo = self.find_repo(repo)
        files = repo.commits[self.find_commit(repo, revision)]
        paths = parse_qs(body.decode()).get("paths", [])
        return [files[path].listing(path) for path in paths if path in files]

    @route("GET", f"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
    def resolve(self, body, repo, revision, path):
        repo = self.find_repo(repo)
        oid = self.find_commit(repo, revision)
        entry, headers = repo.commits[oid].get(path), {"X-Repo-Commit": oid}
        if entry is None:
            raise HubError(404, f"Entry not found: {path}", "EntryNotFound", **headers)
        if not entry.lfs:
            return 200, {**headers, "ETag": f'"{entry.git_oid}"', "Content-Type": "text/plain"}, entry.data
        # Storage is another host, where a client must neither ask for the headers nor send its token.
        location = (
            f"http://localhost:{self.server.server_port}/storage/{entry.sha256}?signature={self.sign(entry.sha256)}"
        )
        headers |= {"Location": location, "X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": len(entry.data)}
        return 302, headers, b""

    @route("GET", "/storage/(?P<oid>[0-9a-f]+)")
    def storage(self, body, oid):
        if self.query.get("signature") != [self.sign(oid)]:
            raise HubError(403, "SignatureDoesNotMatch")
        data = next(repo.objects[oid] for repo in self.server.repos.values() if oid in repo.objects)
        start = int(re.sub(r"bytes=(\d+)-.*", r"\1", self.headers.get("Range", "bytes=0-")))
        span = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        return (206 if start else 200), {"ETag": f'"{oid}"', **span}, data[start:]
