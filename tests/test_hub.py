"""A run goes to a repository and comes back the same; a stranger's repository is verified."""

import base64
import hashlib
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import types

import jax
import numpy as np
import pytest

import vae_jax
from vae_jax.cli.commands import export, push
from vae_jax.errors import StorageError, UsageError
from vae_jax.lab import card
from vae_jax.storage import exported, hub

ROOT = pathlib.Path(__file__).parents[1]
RUN = ROOT / "tests" / "fixtures" / "schema2" / "single"
REPO = "user/digits-vae"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that may be read by its path."""
    return shutil.copytree(RUN, tmp_path_factory.mktemp("run") / "digits")


def pushed(place, **values):
    push.main({**dict.fromkeys(push.FLAGS), "run": str(place), "repo": REPO, **values})


# --- Without a hub


def test_a_folder_gets_what_would_be_sent(run, tmp_path, capsys):
    pushed(run, to=str(tmp_path / "a" / "b"))
    folder = tmp_path / "a" / "b"
    assert f"in {folder}: model.safetensors, README.md" in capsys.readouterr().out
    loaded, original = vae_jax.load(folder / hub.MODEL), vae_jax.load(run)
    assert loaded.about["settings"]["dataset"] == "digits"
    for ours, theirs in zip(
        jax.tree.leaves(loaded.params), jax.tree.leaves(original.params), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    told = (folder / push.CARD).read_text()
    result = json.loads((run / "result.json").read_text())
    assert f"elbo {result['elbo']:.2f} ±" in told
    assert f'vae_jax.load("hf://{REPO}")' in told
    assert "| latent\\_dim | 2 |" in told


def test_a_card_holds_no_markup_of_the_data():
    hostile = "a|b\n---\nlicense: mit\n<script>alert(1)</script> ![x](http://x)`"
    settings = {"objective": "beta_vae", "dataset": hostile}
    about = {"settings": settings, "result": None, "data": {"name": hostile, "x": hostile}}
    text = card.text(REPO, about)
    assert text.splitlines().count("---") == 2
    assert "<script" not in text.replace("\\<", "")
    assert "![" not in text.replace("\\!", "").replace("\\[", "")
    (row,) = [line for line in text.splitlines() if line.startswith("| dataset")]
    assert row.replace("\\|", "").count("|") == 3


def test_settings_name_no_folder_of_this_machine():
    settings = {"dataset": "/home/me/a.csv", "test_data": "/home/me/b.csv", "beta": "4"}
    told = {"dataset": "a.csv", "test_data": "b.csv", "beta": "4"}
    assert export.without_folders(settings, "a") == told
    assert export.without_folders({"dataset": "digits"}, "digits") == {"dataset": "digits"}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://", "hf=: is no repository: write it as user/name"),
        ("hf://name", "hf=name: is no repository"),
        ("hf://../name", r"is no repository"),
        ("hf://user/na me", "is no repository"),
        ("hf://user/name/model.safetensors", "is no repository"),
        ("hf://user/name@", "names no revision after @: write hf://user/name@main"),
        ("hf://user/name@../../x", "names no revision"),
    ],
)
def test_an_address_that_is_none_is_one_line(address, message, monkeypatch):
    monkeypatch.setattr(hub, "_client", lambda: pytest.fail("nothing is asked for"))
    with pytest.raises(UsageError, match=message):
        vae_jax.load(address)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repo": None}, "--repo: is missing: give .*--repo=user/name"),
        ({"run": None}, "--run: is missing: give --run="),
        ({"repo": "name"}, "repo=name: is no repository: write it as user/name"),
        ({"private": "maybe"}, "must be yes or no"),
    ],
)
def test_flags_that_are_wrong_are_one_line(run, changes, message):
    with pytest.raises(UsageError, match=message):
        pushed(run, **changes)
    assert list(run.parent.iterdir()) == [run]


def test_the_client_is_an_extra_and_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for attempt in (lambda: vae_jax.load("hf://user/name"), lambda: pushed(run)):
        with pytest.raises(UsageError, match=r"pip install 'vae_jax\[hub\]'"):
            attempt()


def test_a_hub_that_cannot_be_reached_is_one_line(run, monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no route to host\n  at line 3")

    client = types.SimpleNamespace(
        hf_hub_download=fail,
        CommitOperationAdd=lambda **_: None,
        HfApi=lambda: types.SimpleNamespace(create_repo=fail),
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    told = r"ConnectionError: no route to host\): check the name, and run `hf auth login`"
    with pytest.raises(StorageError, match=told):
        vae_jax.load("hf://user/name")
    with pytest.raises(StorageError, match=told):
        pushed(run)


def test_what_a_repository_holds_is_verified(tmp_path, monkeypatch):
    """The client's cache links to the file, which is read as any exported one."""
    model = vae_jax.make_model((3,), latent_dim=2, network="linear", likelihood="gaussian")
    params = model.init(jax.random.key(0))
    exported.save(tmp_path / "blob", model, params)
    (tmp_path / hub.MODEL).symlink_to(tmp_path / "blob")
    asked = []

    def download(repo, name, revision):
        asked.append((repo, name, revision))
        return str(tmp_path / name)

    monkeypatch.setitem(
        sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=download)
    )
    assert vae_jax.load("hf://user/name@v1.0").model.latent_dim == 2
    vae_jax.load("hf://user/name")
    assert asked == [("user/name", hub.MODEL, "v1.0"), ("user/name", hub.MODEL, None)]
    raw = bytearray((tmp_path / "blob").read_bytes())
    raw[-1] ^= 1
    (tmp_path / "blob").write_bytes(raw)
    with pytest.raises(StorageError, match=r"damaged \(the SHA-256 of its content is another\)"):
        vae_jax.load("hf://user/name")
    (tmp_path / "blob").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(StorageError, match="is not a model as vae_jax exports it"):
        vae_jax.load("hf://user/name")


# --- The real client and a hub on this machine


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of a hub's interface that a commit and a download of small files need."""

    files, asked, commit = {}, [], "0" * 40

    def log_message(self, *_):
        pass

    def answer(self, content, *, code=200, headers=()):
        self.send_response(code)
        given = {"Content-Length": str(len(content)), **dict(headers)}
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append(f"POST {self.path}")
        where = f"http://{self.headers['Host']}/{REPO}"
        if self.path == "/api/repos/create":
            told = {"url": where, "id": REPO, "name": REPO}
        elif "/preupload/" in self.path:
            named = [file["path"] for file in json.loads(body)["files"]]
            told = {
                "files": [
                    {"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in named
                ]
            }
        elif "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.files[value["path"]] = base64.b64decode(value["content"])
            told = {"success": True, "commitUrl": f"{where}/commit/1", "commitOid": self.commit}
        else:  # the check of a card's head
            told = {"warnings": [], "errors": []}
        self.answer(json.dumps(told).encode(), headers={"Content-Type": "application/json"})

    def do_GET(self):
        self.asked.append(f"{self.command} {self.path}")
        name = self.path.partition("?")[0].rpartition("/")[2]
        if f"/{REPO}/resolve/" not in self.path or name not in self.files:
            headers = {"X-Error-Code": "RepoNotFound"}
            self.answer(b"{}", code=404, headers=headers)
            return
        content = self.files[name]
        tag = hashlib.sha256(content).hexdigest()
        self.answer(content, headers={"ETag": f'"{tag}"', "X-Repo-Commit": self.commit})

    def do_HEAD(self):
        self.do_GET()


PROGRAM = """
import json, sys
import numpy as np
import jax
import vae_jax
from vae_jax.cli.commands import export, push
from vae_jax.errors import StorageError
run, repo = sys.argv[1:]
push.main({**dict.fromkeys(push.FLAGS), "run": run, "repo": repo, "private": "yes"})
loaded, original = vae_jax.load(f"hf://{repo}"), vae_jax.load(run)
pairs = zip(jax.tree.leaves(loaded.params), jax.tree.leaves(original.params), strict=True)
same = all(np.array_equal(a, b) for a, b in pairs)
try:
    vae_jax.load("hf://user/other")
    refused = ""
except StorageError as error:
    refused = str(error)
print(json.dumps({"same": same, "refused": refused, "sampled": loaded.sample(3).shape[0]}))
"""


def test_a_run_is_pushed_and_loaded_through_a_hub(run, tmp_path):
    pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    own = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_" + "x" * 34,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
        "JAX_PLATFORMS": "cpu",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(run), REPO],
            capture_output=True,
            text=True,
            env={**os.environ, **own},
            cwd=ROOT,
            timeout=300,
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["same"]
    assert told["sampled"] == 3
    assert "hf://user/other: its model.safetensors cannot be fetched (" in told["refused"]
    assert set(Hub.files) == {hub.MODEL, push.CARD}
    fetched = {line.partition("?")[0] for line in Hub.asked if line.startswith(("GET", "HEAD"))}
    assert {line.rpartition("/")[2] for line in fetched} == {hub.MODEL}
