"""What is said of repositories of a hub."""

import sys
import types

import jax

import vae_jax
from vae_jax.storage import exported, hub

from ._cases import at, attempt, tries

HUB = "vae_jax/storage/hub.py"


def offered(folder, patch):
    """A hub with one private repository, user/name, which nobody may read without a login."""
    model = vae_jax.make_model((3,), latent_dim=2, network="linear", likelihood="gaussian")
    exported.save(folder / hub.MODEL, model, model.init(jax.random.key(0)))
    login = types.SimpleNamespace(is_done=False)

    def check(repo, **_):
        if repo != "user/name" or not login.is_done:
            raise LookupError("401 Client Error")

    def download(repo, name, revision):
        check(repo)
        return str(folder / name)

    client = types.SimpleNamespace(
        hf_hub_download=download,
        CommitOperationAdd=lambda **_: None,
        HfApi=lambda: types.SimpleNamespace(create_repo=check, create_commit=lambda *_, **__: None),
    )
    patch.setitem(sys.modules, "huggingface_hub", client)
    return login


def push(repo):
    """Sends a file."""
    return hub.push(repo, {"a": b""}, is_private=True, message="Add")


@tries(at(HUB, "check_name")("is no repository: write it as user/name"))
def a_name_that_is_no_repository(folder, patch):
    offered(folder, patch).is_done = True
    yield attempt(push, "name")
    yield attempt(push, "user/name")


@tries(at(HUB, "fetch")("names no revision after @: write hf://user/name@main"))
def an_address_without_a_revision(folder, patch):
    offered(folder, patch).is_done = True
    message = yield attempt(hub.fetch, "hf://user/name@")
    yield attempt(hub.fetch, message.rpartition("write ")[2])


@tries(at(HUB, "fetch")("cannot be fetched (…): check the name, and run"))
def a_repository_that_cannot_be_read(folder, patch):
    login = offered(folder, patch)
    yield attempt(hub.fetch, "hf://user/nmae")
    login.is_done = True
    yield attempt(hub.fetch, "hf://user/name")


@tries(at(HUB, "push")("cannot be written (…): check the name, and run"))
def a_repository_that_cannot_be_written(folder, patch):
    login = offered(folder, patch)
    yield attempt(push, "user/name")
    login.is_done = True
    yield attempt(push, "user/name")
